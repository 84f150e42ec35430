"""Training examples: reproducible, of one shape, image and label cut alike."""

from pathlib import Path

import numpy as np
import pytest

from segmenter.training import crops
from segmenter.training.crops import StageOptions, cut, example, fatty, random_crop, rebalanced, shortened, upside_down

SMALL = StageOptions(("left", "right"), 1.5, (16, 16, 16))


@pytest.fixture
def patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return three patients whose femur is a bright ball."""
    monkeypatch.setitem(crops.STAGES, "fine", SMALL)
    rng = np.random.default_rng(0)
    folders = []
    for n in range(3):
        folder = tmp_path / f"patient-{n}"
        folder.mkdir()
        for side in ("left", "right"):
            z, y, x = np.indices((24, 24, 24)) - rng.integers(10, 14, (3, 1, 1, 1))
            label = (z**2 + y**2 + x**2 < 36).astype(np.uint8)
            np.savez(folder / f"{side}.npz", hu=np.where(label, 900, 40).astype(np.int16), label=label)
        folders.append(folder)
    return folders


def test_examples_depend_on_seed_and_number_only(patients: list[Path]):
    path = patients[0] / "left.npz"
    one = example(path, SMALL, np.random.default_rng([1, 7]))
    two = example(path, SMALL, np.random.default_rng([1, 7]))
    other = example(path, SMALL, np.random.default_rng([1, 8]))
    assert (one[0] == two[0]).all()
    assert not np.array_equal(one[0], other[0])


def test_a_crop_has_its_shape_even_where_the_volume_ends():
    label = np.zeros((10, 12, 40), np.uint8)
    label[2:5, 3:6, 4:8] = 1
    hu = np.where(label, 500, 0).astype(np.int16)
    for seed in range(20):
        image, mask = random_crop(hu, label, (16, 16, 16), np.random.default_rng(seed))
        assert image.shape == mask.shape == (16, 16, 16)
        assert (image[mask > 0] == 500).all()
        assert set(np.unique(image)) <= {-1024, 0, 500}


def test_a_cut_takes_image_and_label_alike():
    image, label = cut(np.zeros((20, 20, 20), np.float32), np.ones((20, 20, 20), np.uint8), np.random.default_rng(3))
    assert ((image == -1024) == (label == 0)).all()
    assert 0 < label.sum() < label.size


def test_the_density_of_spongy_bone_is_drawn_apart_and_flesh_and_air_stay():
    hu = np.full((16, 16, 16), 40.0, np.float32)
    label = np.zeros(hu.shape, np.uint8)
    hu[:, :, :6], label[:, :, :6] = 200.0, 255
    hu[:, :, 10:] = 300.0
    hu[:2] = -1000.0
    changed = [rebalanced(hu, label, np.random.default_rng(seed)) for seed in range(40)]
    for image in changed:
        assert (image[2:, :, 6:10] == 40).all()
        assert (image[:2] == -1000).all()
    femur, pelvis = (np.array([image[2:, :, part].mean() for image in changed]) for part in (slice(6), slice(10, 16)))
    assert femur.min() < 200
    assert femur.max() > 400
    assert pelvis.min() < 300 < pelvis.max()
    assert abs(np.corrcoef(femur, pelvis)[0, 1]) < 0.5


def test_bright_trabeculae_end_in_fat_but_the_cortex_stays():
    label = np.zeros((40, 40, 40), np.uint8)
    label[5:35, 10:30, 10:30] = 255
    image = np.where(label > 0, np.float32(300), np.float32(40))
    image[5:35, 10:12, 10:30] = 1100
    share = fatty(image, label, np.random.default_rng(2))
    assert share.min() >= 0
    assert share.max() <= 1
    assert np.ptp(share[label > 0][image[label > 0] < 400]) > 0.5
    assert (share[image > 700] == 0).all()
    assert not fatty(image, np.zeros_like(label), np.random.default_rng(2)).any()


def test_a_truth_in_one_slice_can_be_cropped():
    label = np.zeros((9, 20, 20), np.uint8)
    label[4, 8:12, 8:12] = 255
    for seed in range(20):
        hu, _ = random_crop(np.zeros(label.shape, np.int16), label, (8, 8, 8), np.random.default_rng(seed))
        assert hu.shape == (8, 8, 8)


def test_a_body_on_its_head_has_shafts_but_no_hip():
    label = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    image, turned = upside_down(label.astype(np.float32), label)
    assert image[:, 0, 0].tolist() == [4, 3, 2, 1, 0]
    assert turned[:, 0, 0].tolist() == [4, 4, 2, 2, 0]


def test_a_short_scan_holds_the_hips_and_nothing_beyond():
    label = np.zeros((80, 8, 8), np.uint8)
    label[40:50] = 1
    for seed in range(10):
        image, kept = shortened(np.full(label.shape, 40, np.float32), label, np.random.default_rng(seed))
        height = (image[:, 0, 0] > 0).sum()
        assert 14 <= height <= 46
        assert (kept[image[:, 0, 0] < 0] == 0).all()
        assert 0 < kept.sum() <= label.sum()
