"""Metal and contrast medium are suspected where they are, and not where bone is merely dense or the scan noisy."""

import numpy as np
import pytest
from femur_model import Model, grid, tube

from segmenter.measure.axes import Head
from segmenter.measure.options import STANDARD
from segmenter.measure.suspicion import bright_vessels, metal_elsewhere, metal_near
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

GRID = grid((2.5, 2.0, 2.0), below_mm=100.0)
INDEX = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), -1)
POINTS = GRID.to_patient(INDEX)
HEAD = Head(np.zeros(3), 22.0, 0.3, 1.0)


@pytest.fixture(scope="module")
def bone() -> tuple[Femur, np.ndarray]:
    return Model().on(GRID)


@pytest.mark.parametrize(
    ("hu", "radius", "at", "suspected"),
    [
        (3000, 4.0, (42, 0, -60), True),  # a stem in the marrow
        (2600, 3.0, (0, -26, 10), True),  # a cup in front of the head
        (3000, 4.0, (-70, 50, 30), False),  # the other side's
        (1900, 9.0, (42, 0, -60), False),  # dense cortex
        (3000, 0.5, (42, 0, -60), False),  # a single voxel
    ],
)
def test_metal_is_a_bright_cluster_in_or_near_the_bone(bone, hu, radius, at, suspected):
    femur, volume = bone
    volume = volume.copy()
    volume[np.linalg.norm(POINTS - at, axis=-1) < radius] = hu
    assert metal_near(femur.mask, volume, GRID, STANDARD) is suspected


def test_noise_on_dense_cortex_is_no_metal(bone):
    femur, volume = bone
    noisy = np.where(femur.mask, 1900.0, 40.0) + np.random.default_rng(0).normal(0, 220, volume.shape)
    assert (noisy > STANDARD.metal_hu).sum() > 5
    assert not metal_near(femur.mask, noisy, GRID, STANDARD)


def test_metal_is_found_in_whole_numbers_at_the_edge_of_the_scan():
    geometry = Geometry.axial((20, 30, 30), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    mask = np.zeros(geometry.shape, bool)
    mask[0:12, 0:12, 0:12] = True
    volume = np.zeros(geometry.shape, np.int16)
    volume[0:4, 0:4, 0:4] = 3071
    assert metal_near(mask, volume, geometry, STANDARD)


FIELD = Geometry.axial((10, 20, 300), (2.0, 1.0, 1.0), (-150.0, -10.0, 0.0))
ON_THE_OTHER = "no {} femur was segmented, and there is metal on that side: an implant may be the reason"


def outlined(side: Side) -> Femur:
    mask = np.zeros(FIELD.shape, bool)
    middle = 250 if side is Side.LEFT else 50  # x = 100 or -100 mm
    mask[:, 5:15, middle - 10 : middle + 10] = True
    return Femur(side, mask, True)


def with_metal(x_mm: float, rows: int = 20) -> np.ndarray:
    volume = np.full(FIELD.shape, 40, np.int16)
    column = int(x_mm) + 150
    volume[:, :rows, column - 5 : column + 5] = 3071
    return volume


@pytest.mark.parametrize(
    ("sides", "x_mm", "said"),
    [
        ([Side.LEFT], -100, ON_THE_OTHER.format("right")),
        ([Side.RIGHT], 100, ON_THE_OTHER.format("left")),
        ([Side.LEFT], 100, ""),  # its own, told with its numbers
        ([Side.LEFT], 30, ""),  # in the middle of the pelvis
        ([Side.RIGHT], -140, ""),  # beside its own hip
        ([], 0, "no femur was segmented, and there is metal in the scan: an implant may be the reason"),
        ([Side.LEFT, Side.RIGHT], 100, ""),
    ],
)
def test_metal_where_no_femur_was_outlined_is_told(sides, x_mm, said):
    assert metal_elsewhere([outlined(side) for side in sides], with_metal(x_mm), FIELD, STANDARD) == said


def test_a_clip_is_no_implant_and_an_empty_mask_no_femur():
    assert metal_elsewhere([], with_metal(0, rows=2), FIELD, STANDARD) == ""
    empty = Femur(Side.LEFT, np.zeros(FIELD.shape, bool), False)
    assert metal_elsewhere([empty], with_metal(0), FIELD, STANDARD).startswith("no femur was segmented")


def vessel(
    volume: np.ndarray, hu: float, radius: float = 5.0, from_mm: float = 40.0, to_mm: float = -90.0
) -> np.ndarray:
    result = volume.copy()
    line = tube(POINTS, np.array([-12.0, -35, from_mm]), np.array([-8.0, -38, to_mm]), radius, radius)
    result[line < 0] = hu
    return result


@pytest.mark.parametrize(
    ("hu", "radius", "length", "suspected"),
    [
        (300, 5.0, 130, True),
        (200, 5.0, 130, True),
        (55, 5.0, 130, False),  # as without contrast medium
        (1100, 5.0, 130, False),  # too bright for blood
        (300, 15.0, 130, False),  # too thick for a vessel
        (300, 5.0, 6, False),  # a calcified node
    ],
)
def test_contrast_is_a_bright_tube_in_front_of_the_hip(bone, hu, radius, length, suspected):
    femur, volume = bone
    volume = vessel(volume, hu, radius, from_mm=40.0 if length > 100 else 0.0, to_mm=-90.0 if length > 100 else -length)
    assert bright_vessels(HEAD, femur, volume, GRID, STANDARD) is suspected


def test_a_tube_of_bone_is_no_vessel(bone):
    femur, volume = bone
    ramus = vessel(vessel(volume, 450, radius=8.0), 60, radius=5.0)  # bright wall, dark inside
    assert not bright_vessels(HEAD, femur, ramus, GRID, STANDARD)


def test_vessels_lie_medially_on_either_side():
    right, volume = Model(Side.RIGHT).on(GRID)
    mirrored = vessel(volume[:, :, ::-1], 300)[:, :, ::-1]
    assert bright_vessels(HEAD, right, mirrored, GRID, STANDARD)


def test_noise_alone_is_no_vessel(bone):
    femur, _ = bone
    noise = np.random.default_rng(0).normal(50, 45, GRID.shape).astype(np.float32)
    assert not bright_vessels(HEAD, femur, noise, GRID, STANDARD)


def test_a_scan_that_does_not_show_the_groin_suspects_nothing(bone):
    femur, volume = bone
    far = Head(np.array([0.0, 0.0, 900.0]), 22.0, 0.3, 1.0)
    assert not bright_vessels(far, femur, volume, GRID, STANDARD)
