"""A tilted gantry: slices stacked askew keep every voxel, volume and contour at its place in the patient."""

import numpy as np
import pytest
from ct_factory import ORIENTATIONS, SAGITTAL, CtSpec, write_ct, write_enhanced
from pydicom import dcmread
from threshold_models import threshold_models

from segmenter.errors import Reason, SegmenterError
from segmenter.objects.common import ResultIdentity, source_time
from segmenter.objects.seg import write_seg
from segmenter.objects.seg_check import check_seg
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.vnet.coarse import find_hips
from segmenter.vnet.fine import segment_femurs
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.resample import covered, reduce, resample


@pytest.mark.parametrize("tilt", [-28.0, 2.0, 12.5, 30.0])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_grid_is_sheared_as_the_slices_are(tmp_path, orientation, tilt):
    spec = CtSpec(orientation=orientation, tilt=tilt)
    series = read_series(write_ct(tmp_path, spec))
    assert np.allclose(series.geometry.affine, spec.geometry.affine, atol=1e-5)
    assert series.geometry.tilt_degrees == pytest.approx(abs(tilt), abs=1e-3)
    assert series.geometry.spacing[0] == pytest.approx(3.0, abs=1e-5)
    assert series.geometry.distances[0] == pytest.approx(3.0 * np.cos(np.radians(tilt)), abs=1e-5)
    assert f"tilted by {abs(tilt):.1f} degrees" in series.warnings[0]
    assert np.array_equal(read_volume(series), spec.hu())


def test_an_enhanced_object_may_be_tilted_too(tmp_path):
    spec = CtSpec(orientation=SAGITTAL, tilt=17)
    series = read_series(write_enhanced(tmp_path, spec))
    assert np.allclose(series.geometry.affine, spec.geometry.affine, atol=1e-5)
    assert np.array_equal(read_volume(series), spec.hu())


def test_what_drifts_by_less_than_half_a_pixel_is_not_tilted(tmp_path):
    spec = CtSpec(tilt=0.9)  # 0.94 mm from the first to the last slice
    geometry = read_series(write_ct(tmp_path, spec)).geometry
    assert geometry.tilt_degrees == pytest.approx(0, abs=1e-6)
    assert np.abs(geometry.affine - CtSpec().geometry.affine)[:3, :3].max() < 1e-3


def test_a_gantry_tilts_no_further_than_thirty_degrees(tmp_path):
    with pytest.raises(SegmenterError, match=r"31\.0 degrees off their normal") as refusal:
        read_series(write_ct(tmp_path, CtSpec(tilt=31)))
    assert refusal.value.reason is Reason.GANTRY_TILT


@pytest.mark.parametrize(
    ("claimed", "tilt", "count"), [("12.5", 12.5, 1), ("-12.5", 12.5, 1), ("0", 12.5, 2), ("12", 0, 1)]
)
def test_a_header_that_claims_another_tilt_is_named(tmp_path, claimed, tilt, count):
    warnings = read_series(write_ct(tmp_path, CtSpec(tilt=tilt, tags={"GantryDetectorTilt": claimed}))).warnings
    assert len(warnings) == count
    assert any("the positions were used" in warning for warning in warnings) == (float(claimed) not in (tilt, -tilt))


def test_a_seg_lies_on_the_slices_as_they_are(tmp_path):
    spec = CtSpec(tilt=20)
    series = read_series(write_ct(tmp_path, spec))
    masks = dict(zip((Side.LEFT, Side.RIGHT), spec.balls(), strict=True))
    identity = ResultIdentity("test", "1", "0" * 64, "0" * 64, source_time(series))
    path = write_seg(series, masks, identity, tmp_path / "seg.dcm")
    check_seg(path, series, masks)
    seg = dcmread(path)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(3.0 * np.cos(np.radians(20)), abs=1e-4)
    positions = {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in seg.PerFrameFunctionalGroupsSequence}
    assert positions <= {tuple(float(value) for value in plane.position) for plane in series.slices}


TILTED = CtSpec(shape=(64, 110, 104), spacing=(2.2, 1.3, 1.1), tilt=22)
AXIS = np.array([0.25, -0.3, 0.92]) / np.linalg.norm([0.25, -0.3, 0.92])
LENGTH, RADIUS = 90.0, 15.0  # mm; of a bone with round ends


def depth(points: np.ndarray) -> np.ndarray:
    """How far points `(..., 3)`, LPS mm, lie inside the bone; a round body has a volume that is known."""
    beside = points - np.array(TILTED.centre)
    along = np.clip(beside @ AXIS, -LENGTH / 2, LENGTH / 2)
    return RADIUS - np.linalg.norm(beside - along[..., None] * AXIS, axis=-1)


VOLUME_ML = (np.pi * RADIUS**2 * LENGTH + 4 / 3 * np.pi * RADIUS**3) / 1000


def rendered(geometry: Geometry, inner: float = 1000.0) -> np.ndarray:
    """The bone in soft tissue as a scanner shows it: the edge spread over a pixel; its core is denser."""
    inside = depth(geometry.to_patient(np.moveaxis(np.indices(geometry.shape), 0, -1)))
    share = np.clip(inside / 1.3 + 0.5, 0, 1)
    return np.rint(-200 + share * 400 + (inside > 5) * (inner - 200)).astype(np.int16)


def test_a_body_keeps_volume_and_place_through_the_networks_grid(monkeypatch, tmp_path):
    hu = rendered(TILTED.geometry)

    def edit(index, ds):
        ds.PixelData = (hu[index] + 1024).astype("<u2").tobytes()

    series = read_series(write_ct(tmp_path, TILTED, edit))
    monkeypatch.setattr("segmenter.vnet.fine.why_not", lambda *_, **__: "")  # an ellipsoid has neither head nor shaft
    (femur,) = segment_femurs(read_volume(series), series.geometry, threshold_models())
    assert femur.side is Side.LEFT
    assert femur.mask.shape == series.geometry.shape
    volume_ml = femur.mask.sum() * series.geometry.voxel_volume_mm3 / 1000
    assert volume_ml == pytest.approx(VOLUME_ML, rel=0.02)
    centre = series.geometry.to_patient(np.argwhere(femur.mask)).mean(axis=0)
    assert np.abs(centre - TILTED.centre).max() < 0.15
    truth = depth(series.geometry.to_patient(np.moveaxis(np.indices(TILTED.shape), 0, -1))) > 0
    assert 2 * (truth & femur.mask).sum() / (truth.sum() + femur.mask.sum()) > 0.98


def test_taking_tilted_slices_for_straight_ones_would_show():
    """The same voxels on a grid without the shear give a body at another place: the test above can fail."""
    straight = CtSpec(shape=TILTED.shape, spacing=TILTED.spacing).geometry
    (hip,) = find_hips(rendered(TILTED.geometry), straight, threshold_models())
    (true,) = find_hips(rendered(TILTED.geometry), TILTED.geometry, threshold_models())
    assert np.abs(true.low - hip.low).max() > 8


def test_blocks_of_a_tilted_scan_fit_each_other():
    """A linear field has no seams, whatever block a voxel was made in, and a mean over it is the field itself."""
    source = CtSpec(shape=(60, 70, 80), spacing=(2.0, 1.2, 1.0), tilt=15, orientation=ORIENTATIONS["oblique"]).geometry
    low, high = source.corners().min(axis=0), source.corners().max(axis=0)
    target = box_geometry(low, high, 1.7)
    assert max(target.shape) > 64

    def field(grid):
        return grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1)) @ np.array([2.0, -1.0, 0.5])

    inside = covered(source, target)
    moved = resample(field(source), source, target, -9e9)
    assert moved[inside] == pytest.approx(field(target)[inside], abs=0.01)
    assert (moved[~inside] == -9e9).all()
    deep = covered(Geometry(tuple(np.array(source.shape) - 8), source.affine), target)
    deep &= covered(shifted(source, 8), target)
    smooth = reduce(field(source).astype(np.float32), source, target, -9e9)
    assert smooth[deep] == pytest.approx(field(target)[deep], abs=0.01)


def shifted(grid: Geometry, voxels: int) -> Geometry:
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_patient(np.array([voxels] * 3))
    return Geometry((grid.shape[0] - voxels, grid.shape[1] - voxels, grid.shape[2] - voxels), affine)
