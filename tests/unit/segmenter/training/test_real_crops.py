"""Crops of real scans: turned as one, blank beyond the scan, the same for the same dice."""

import numpy as np

from segmenter.training.crops import StageOptions, example
from segmenter.training.real_crops import real_crop

SHAPE = (24, 24, 24)


def hip() -> tuple[np.ndarray, np.ndarray]:
    z, y, x = np.indices((40, 40, 40)) - 20
    label = np.where(z**2 + y**2 + x**2 < 100, 255, 0).astype(np.uint8)
    hu = np.where(label, 500, 40).astype(np.int16)
    hu[:, :8], label[:, :8] = -1024, 0
    return hu, label


def test_image_and_label_are_turned_alike():
    hu, label = hip()
    for seed in range(6):
        image, inside = real_crop(hu, label, SHAPE, np.random.default_rng(seed))
        assert image.shape == inside.shape == SHAPE
        assert inside.dtype == np.uint8
        assert image[inside > 250].mean() > 300
        assert abs(np.median(image[(inside == 0) & (image > -900)]) - 40) < 60


def test_beyond_the_scan_there_is_air_and_no_femur():
    hu, label = hip()
    image, inside = real_crop(hu, label, SHAPE, np.random.default_rng(2))
    assert (inside[image < -1000] == 0).all()


def test_a_real_volume_in_the_pool_is_not_scanned_again(tmp_path):
    hu, label = hip()
    np.savez(tmp_path / "left.npz", hu=hu, label=label, scanned=True)
    options = StageOptions(("left", "right"), 1.5, SHAPE)
    one, two = (example(tmp_path / "left.npz", options, np.random.default_rng(4)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert one[0].shape == SHAPE
