"""Examples from real scans: turned and stretched, with a little noise or blur, some resampled."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from segmenter.synth.poor_scans import resampled_twice
from segmenter.vnet.grids import FINE_MM
from segmenter.volume.resample import OUTSIDE_HU

Shape = tuple[int, int, int]

TURN_DEGREES, STRETCH, SHEAR = 12.0, 0.12, 0.06
NEAR_HEAD = 0.7  # of the crops have their middle in the upper part of the bone that the scan holds
UPPER_VOXELS = 27  # 40 mm
SCALE, OFFSET_HU = 0.06, 20.0
WHOLE = 0.99
RESAMPLED = 0.35  # of the crops
STEP_MM = (FINE_MM,) * 3
NOISE_HU, BLUR_VOXELS = 35.0, 0.7


def real_crop(
    hu: NDArray[np.int16], label: NDArray[np.uint8], shape: Shape, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return a crop of a real hip as HU and label `(z, y, x)`; beyond the scan there is air and no femur."""
    bone = np.argwhere(label > 127)
    if rng.random() < NEAR_HEAD:
        bone = bone[bone[:, 0] >= bone[:, 0].max() - UPPER_VOXELS]
    centre = bone[rng.integers(len(bone))] + rng.integers(-12, 13, 3)
    turn = Rotation.from_rotvec(np.radians(rng.normal(0, TURN_DEGREES / 2, 3))).as_matrix()
    stretch = np.diag(np.exp(rng.uniform(-STRETCH, STRETCH, 3))) + rng.uniform(-SHEAR, SHEAR, (3, 3))
    matrix = turn @ stretch
    offset = centre - matrix @ (np.array(shape) / 2 + rng.uniform(-0.5, 0.5, 3))
    image = _taken(hu.astype(np.float32), matrix, offset, shape, OUTSIDE_HU)
    inside = _taken(label.astype(np.float32), matrix, offset, shape, 0.0)
    seen = _taken((hu > OUTSIDE_HU).astype(np.float32), matrix, offset, shape, 0.0) > WHOLE  # not half air
    if rng.random() < 0.5:
        image = ndimage.gaussian_filter(image, rng.uniform(0, BLUR_VOXELS, 3))
    if rng.random() < RESAMPLED:
        step = rng.uniform(2.0, 3.3)
        image = resampled_twice(np.where(seen, image, OUTSIDE_HU).astype(np.float32), STEP_MM, (step,) * 3, rng)
    image = image * rng.uniform(1 - SCALE, 1 + SCALE) + rng.uniform(-OFFSET_HU, OFFSET_HU)
    if rng.random() < 0.5:
        grain = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (0, 0.5, 0.5))
        image += rng.uniform(0, NOISE_HU) * grain / grain.std()
    return np.where(seen, image, OUTSIDE_HU).astype(np.float32), np.round(inside * seen).astype(np.uint8)


def _taken(
    volume: NDArray[np.float32], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: Shape, outside: float
) -> NDArray[np.float32]:
    result: NDArray[np.float32] = ndimage.affine_transform(
        volume, matrix, offset, output_shape=shape, order=1, mode="constant", cval=outside
    )
    return result
