"""The gate: a faithful SEG passes on every grid; every voxel and every byte that is not what it was is noticed."""

import numpy as np
import pytest
from ct_factory import OBLIQUE, CtSpec, write_ct
from pydicom import dcmread
from seg_factory import CHECKS, GEOMETRIES, IDENTITY, WRITERS, case_of, masks_of

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.series import read_series
from segmenter.volume.femur import Side

KINDS = tuple(WRITERS)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A series, its masks and both kinds of SEG of them, on the most general grid."""
    folder = tmp_path_factory.mktemp("released")
    series, masks = case_of(folder / "ct", orientation=OBLIQUE)
    return series, masks, {name: write(series, masks, IDENTITY, folder / name) for name, write in WRITERS.items()}


@pytest.mark.parametrize("fields", GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_faithful_seg_passes_on_every_grid(tmp_path, fields):
    series, masks = case_of(tmp_path / "ct", **fields)
    for which, write in WRITERS.items():
        warnings = CHECKS[which](write(series, masks, IDENTITY, tmp_path / which), series, masks)
        assert bool(warnings) == ("tilt" in fields)


def refused(which, path, series, masks):
    with pytest.raises(SegmenterError, match="the segmentation was not released") as refusal:
        CHECKS[which](path, series, masks)
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.READBACK, Verdict.FAILED)
    return str(refusal.value)


def changed(path, change, to):
    seg = dcmread(path)
    change(seg)
    seg.save_as(to)
    return to


@pytest.mark.parametrize("which", KINDS)
def test_a_slice_wandering_within_tolerance_still_finds_its_place(tmp_path, which):
    def edit(index, ds):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + (0.2 if index % 3 else -0.1)]

    spec = CtSpec()
    series = read_series(write_ct(tmp_path, spec, edit))
    masks = masks_of(spec, [Side.LEFT])
    assert CHECKS[which](WRITERS[which](series, masks, IDENTITY, tmp_path / "seg"), series, masks) == ()


@pytest.mark.parametrize("which", KINDS)
def test_a_tilted_stack_passes_with_a_word_about_readers_that_take_it_for_straight(tmp_path, which):
    series, masks = case_of(tmp_path / "ct", tilt=15.0)
    (warning,) = CHECKS[which](WRITERS[which](series, masks, IDENTITY, tmp_path / "seg"), series, masks)
    assert "3D Slicer and MITK do not" in warning


@pytest.mark.parametrize("which", KINDS)
def test_a_single_voxel_is_noticed(tmp_path, released, which):
    series, masks, paths = released

    def flip(seg):
        pixels = bytearray(seg.PixelData)
        pixels[len(pixels) // 2] ^= 1
        seg.PixelData = bytes(pixels)

    said = refused(which, changed(paths[which], flip, tmp_path / "flipped"), series, masks)
    assert ": 1 voxels of the " in said


def test_a_number_that_no_segment_has_is_noticed(tmp_path, released):
    series, masks, paths = released

    def stray(seg):
        pixels = bytearray(seg.PixelData)
        pixels[0] = 7
        seg.PixelData = bytes(pixels)

    said = refused("labelmap", changed(paths["labelmap"], stray, tmp_path / "stray"), series, masks)
    assert "1 voxels belong to no segment" in said


@pytest.mark.parametrize("which", KINDS)
def test_left_for_right_is_noticed(tmp_path, released, which):
    series, masks, paths = released

    def swap(seg):
        left, right = (s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence[:2])
        a, b = left.SegmentedPropertyTypeModifierCodeSequence, right.SegmentedPropertyTypeModifierCodeSequence
        left.SegmentedPropertyTypeModifierCodeSequence, right.SegmentedPropertyTypeModifierCodeSequence = b, a
        for segment, label in zip(seg.SegmentSequence[:2], ("Right", "Left"), strict=True):
            segment.SegmentLabel = label

    said = refused(which, changed(paths[which], swap, tmp_path / "swapped"), series, masks)
    assert "voxels of the left femur differ" in said and "voxels of the right femur differ" in said


@pytest.mark.parametrize("which", KINDS)
def test_voxels_beyond_the_frames_are_missed(released, which):
    series, masks, paths = released
    longer = {side: mask.copy() for side, mask in masks.items()}
    longer[Side.RIGHT][-1, 0, :5] = True
    assert ": 5 voxels of the right femur differ" in refused(which, paths[which], series, longer)


@pytest.mark.parametrize("which", KINDS)
def test_a_side_too_few_is_noticed(tmp_path, released, which):
    series, masks, _ = released
    path = WRITERS[which](series, {Side.LEFT: masks[Side.LEFT]}, IDENTITY, tmp_path / "seg")
    assert "it holds the sides left, the masks are left, right" in refused(which, path, series, masks)


@pytest.mark.parametrize("which", KINDS)
def test_what_is_shown_must_be_there_and_apart(tmp_path, released, which):
    series, masks, paths = released
    empty = {Side.LEFT: masks[Side.LEFT], Side.RIGHT: np.zeros_like(masks[Side.RIGHT])}
    assert "the right femur is empty" in refused(which, paths[which], series, empty)
    both = {Side.LEFT: masks[Side.LEFT], Side.RIGHT: masks[Side.LEFT] | masks[Side.RIGHT]}
    assert "the femurs overlap" in refused(which, paths[which], series, both)


@pytest.mark.parametrize(("which", "found"), [("binary", "LABELMAP"), ("labelmap", "BINARY")])
def test_the_other_kind_is_not_what_was_asked_for(released, which, found):
    series, masks, paths = released
    other = next(path for name, path in paths.items() if name != which)
    assert f"its type is {found}" in refused(which, other, series, masks)


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize("keep", [0, 100, 3000, -40])
def test_a_file_cut_off_is_not_released(tmp_path, released, keep, which):
    series, masks, paths = released
    (tmp_path / "cut").write_bytes(paths[which].read_bytes()[:keep])
    refused(which, tmp_path / "cut", series, masks)
