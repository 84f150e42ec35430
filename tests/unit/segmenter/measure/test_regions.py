"""Volume, HU and density of regions: nothing is left out, nothing is counted twice, any grid gives the same."""

from functools import cache

import numpy as np
import pytest
from femur_model import CORTEX_HU, CORTEX_MM, MARROW_HU, NECK_MM, Model, grid

from segmenter.density.calibration import UNCALIBRATED, Calibration, CalibrationMode, Material
from segmenter.measure.anatomy import Anatomy, find_anatomy
from segmenter.measure.compartments import cortical, depth_below_surface
from segmenter.measure.distal import shorten
from segmenter.measure.options import STANDARD, MeasureOptions
from segmenter.measure.records import Region
from segmenter.measure.regions import Voxels, cortical_voxels, neck_voxels, region_of, regions
from segmenter.measure.total import total_of
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

LINE = Calibration(CalibrationMode.PHANTOM, Material.K2HPO4, slope_hu_per_mg_cm3=1.25, intercept_hu=-10.0)
SHORT = Model(length_mm=140.0)
FINE = grid((1.5, 1.5, 1.5))
GRIDS = {
    "axial": grid(),
    "thick slices": grid((4.0, 1.2, 1.2)),
    "oblique": grid((2.5, 2.0, 2.0), turned=(30, 20, 10)),
    "tilted gantry": grid(shear=0.3),
}


def seen(model: Model, geometry: Geometry, calibration: Calibration = LINE) -> dict[str, Region]:
    voxels, anatomy = prepared(model, geometry)
    plane = total_of(anatomy, (), STANDARD).plane
    return {region.name: region for region in regions(voxels, anatomy, calibration, plane, STANDARD)}


@cache
def prepared(model: Model, geometry: Geometry) -> tuple[Voxels, Anatomy]:
    femur, hu = model.on(geometry)
    return Voxels.of(femur.mask, hu, geometry), find_anatomy(femur, geometry)


@pytest.fixture(scope="module")
def expected() -> dict[str, Region]:
    return seen(SHORT, FINE)


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_gives_the_same_numbers(name, expected):
    found = seen(SHORT, GRIDS[name])
    assert list(found) == ["integral", "cortical", "trabecular", "total", "neck"]
    for key, region in found.items():
        assert region.volume_ml == pytest.approx(expected[key].volume_ml, rel=0.04 if key == "neck" else 0.025)
        rel = 0.03 if key == "neck" else 0.02
        assert region.vbmd_mg_cm3 == pytest.approx(expected[key].vbmd_mg_cm3, rel=rel, abs=4)
        assert region.bmc_g == pytest.approx(region.vbmd_mg_cm3 * region.volume_ml / 1000)
        assert region.equivalent_material is Material.K2HPO4


def test_left_and_right_are_mirror_images(expected):
    for key, region in seen(Model(Side.RIGHT, length_mm=140.0), FINE).items():
        assert region.volume_ml == pytest.approx(expected[key].volume_ml, rel=0.01)
        assert region.mean_hu == pytest.approx(expected[key].mean_hu, rel=0.01)


def test_the_compartments_are_the_bone_without_remainder(expected):
    whole, outer, inner = (expected[name] for name in ("integral", "cortical", "trabecular"))
    assert outer.voxels + inner.voxels == whole.voxels
    assert outer.volume_ml + inner.volume_ml == pytest.approx(whole.volume_ml, rel=1e-12)
    assert outer.bmc_g + inner.bmc_g == pytest.approx(whole.bmc_g, rel=1e-9)
    assert outer.mean_hu == pytest.approx(CORTEX_HU, abs=1)
    assert inner.mean_hu == pytest.approx(MARROW_HU, abs=15)


def test_the_neck_is_a_slab_of_the_tube_that_the_neck_is(expected):
    neck = expected["neck"]
    tube = np.pi * NECK_MM**2 * STANDARD.neck_length_mm / 1000
    assert tube < neck.volume_ml < 1.15 * tube  # with a rim of the head
    wall = 1 - (1 - CORTEX_MM / NECK_MM) ** 2
    assert neck.mean_hu == pytest.approx(MARROW_HU + wall * (CORTEX_HU - MARROW_HU), rel=0.07)


def test_without_calibration_there_are_volumes_and_hu_only():
    for region in seen(SHORT, GRIDS["axial"], UNCALIBRATED).values():
        assert (region.vbmd_mg_cm3, region.bmc_g, region.equivalent_material) == (None, None, None)
        assert region.volume_ml > 0


def test_voxels_of_zero_and_negative_density_count_like_all_others():
    values = np.array([-110.0, -10.0, -10.0, 240.0])  # -80, 0, 0, 200 mg/cm3
    voxels = Voxels(np.ones((1, 1, 4), bool), values, np.zeros((4, 3)), voxel_mm3=250.0)
    region = region_of("integral", voxels, LINE)
    assert region.voxels == 4
    assert region.volume_ml == pytest.approx(1.0)
    assert region.vbmd_mg_cm3 == pytest.approx(30.0)
    assert region.bmc_g == pytest.approx(0.030)
    assert region.mean_hu == pytest.approx(values.mean())
    assert region.sd_hu == pytest.approx(values.std())


@pytest.mark.parametrize("hu", [np.int16, np.float32])
def test_voxels_are_those_of_the_mask_at_their_places(hu):
    geometry = grid(turned=(30, 20, 10))
    mask = np.zeros(geometry.shape, bool)
    mask[3, 4, 5] = mask[10, 4, 2] = True
    volume = np.zeros(geometry.shape, hu)
    volume[3, 4, 5], volume[10, 4, 2] = 7, 9
    voxels = Voxels.of(mask, volume, geometry)
    assert voxels.hu.tolist() == [7, 9]
    assert np.allclose(geometry.to_index(voxels.points), [[3, 4, 5], [10, 4, 2]])
    assert voxels.voxel_mm3 == pytest.approx(4.5)


def test_depth_is_the_distance_from_the_surface():
    model, geometry = SHORT, GRIDS["axial"]
    voxels, anatomy = prepared(model, geometry)
    depth = depth_below_surface(anatomy.body, voxels.points, 8.0, anatomy.shaft.down)
    true = -model.distance(voxels.points)
    clear = (true < 6) & (voxels.points[:, 2] > -100)  # below, the flat end is no surface
    error = depth[clear] - true[clear]
    assert abs(np.median(error)) < 0.3
    assert np.quantile(np.abs(error), 0.95) < 0.8
    assert depth.max() == pytest.approx(8.0)


@pytest.mark.parametrize("how", ["by the scan", "by a distal cut"])
def test_marrow_laid_open_where_the_bone_is_cut_stays_trabecular(how):
    geometry = grid(below_mm=105.0 if how == "by the scan" else 150.0)
    femur, hu = Model().on(geometry)
    if how == "by a distal cut":
        femur, _ = shorten(femur, geometry, 127.0)
    voxels = Voxels.of(femur.mask, hu, geometry)
    lowest = voxels.points[:, 2] < voxels.points[:, 2].min() + 1.5 * geometry.spacing[0]
    outer = cortical_voxels(voxels, find_anatomy(femur, geometry), LINE, STANDARD)
    marrow = lowest & (voxels.hu == MARROW_HU)
    assert marrow.sum() > 50
    assert not outer[marrow].any()
    assert outer[lowest & (voxels.hu == CORTEX_HU)].all()


def test_dense_bone_inside_that_no_cortex_reaches_is_trabecular():
    mask = np.ones((1, 1, 9), bool)
    depth = np.array([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5], np.float32)
    dense = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], bool)
    assert cortical(mask, depth, dense, 1.0, 8.0).ravel().tolist() == [True] * 3 + [False] * 6
    assert cortical(mask, depth, dense, 1.0, 2.0).ravel().tolist() == [True] * 2 + [False] * 7
    assert cortical(mask, depth, np.zeros(9, bool), 1.0, 8.0).sum() == 1


def test_the_threshold_is_a_density_where_there_is_a_calibration():
    voxels, anatomy = prepared(SHORT, GRIDS["axial"])
    all_dense = MeasureOptions(cortical_threshold_mg_cm3=0.0, cortical_threshold_hu=5000.0)
    with_line = cortical_voxels(voxels, anatomy, LINE, all_dense)
    without = cortical_voxels(voxels, anatomy, UNCALIBRATED, all_dense)
    assert with_line.sum() > 1.5 * without.sum()


def test_a_second_bone_in_the_slab_is_no_neck():
    model, geometry = SHORT, GRIDS["axial"]
    voxels, anatomy = prepared(model, geometry)
    alone = neck_voxels(voxels, anatomy, STANDARD)
    femur, hu = model.on(geometry)
    centre, axis = np.array(anatomy.neck.centre_mm), np.array(anatomy.neck.axis)
    beside = geometry.to_index(centre + 30 * np.cross(axis, [0, 1, 0]))
    k, j, i = np.rint(beside).astype(int)
    assert not femur.mask[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2].any()
    femur.mask[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = True
    more = neck_voxels(Voxels.of(femur.mask, hu, geometry), anatomy, STANDARD)
    assert more.sum() == alone.sum()
