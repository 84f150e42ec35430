"""Several acquisitions, phases or stacks in one series: the scan is taken where it is plain which one it is."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ct_factory import CORONAL, CtSpec, write_ct, write_enhanced
from pydicom import dcmread
from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series

SCAN = CtSpec()  # 20 slices of 3 mm
LOW = SCAN.centre[2] - 28.5  # z of its lowest slice


def acquisition(folder, number, spec=SCAN, z=None, value=None, image=0):
    """Write an acquisition of the one series; z: of its first slice; value: of all its pixels, None: of the truth."""

    def edit(index, ds):
        ds.AcquisitionNumber = number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.9.{number}.{index}.{image}"
        if z is not None:
            ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], z + index * spec.spacing[0]]
        if value is not None:
            ds.PixelData = np.full(ds.Rows * ds.Columns, value, "<u2").tobytes()

    return write_ct(folder / str(number), spec, edit)


def bolus(folder, number=1):
    """Twelve different pictures at one place in the middle of the scan: bolus tracking."""
    files = []
    for image in range(12):
        (path,) = acquisition(folder, number, replace(SCAN, shape=(1, 24, 28)), z=LOW + 30, value=image, image=image)
        files.append(path.rename(folder / f"bolus-{image}.dcm"))
    return files


def refused(files, reason):
    with pytest.raises(SegmenterError) as refusal:
        read_series(files)
    assert refusal.value.reason is reason
    return str(refusal.value)


def test_the_scan_is_taken_from_beside_a_few_slices_of_bolus_tracking(tmp_path):
    series = read_series(acquisition(tmp_path, 2) + bolus(tmp_path))
    assert len(series.slices) == 20
    assert {plane.marks[0] for plane in series.slices} == {"acquisition 2"}
    assert series.warnings == ("only acquisition 2 taken: 12 images of acquisition 1 left out, too few to be the scan",)
    assert np.array_equal(read_volume(series), SCAN.hu())
    assert len(series.instance_uids) == 20


def test_a_short_stack_of_another_size_is_left_out_too(tmp_path):
    small = CtSpec(shape=(6, 20, 20), spacing=(3.0, 4.0, 4.0), orientation=CORONAL)
    series = read_series(acquisition(tmp_path, 7) + acquisition(tmp_path, 3, small))
    assert np.array_equal(read_volume(series), SCAN.hu())
    assert "6 images of acquisition 3 left out" in series.warnings[0]


def test_two_phases_at_the_same_places_are_refused_by_their_names(tmp_path):
    words = refused(acquisition(tmp_path, 2) + acquisition(tmp_path, 5, value=1000), Reason.SEVERAL_STACKS)
    assert "2 stacks, and each could be the scan" in words
    for number in (2, 5):
        assert f"acquisition {number} (20 images from z=-438.5 to z=-381.5 mm)" in words
    assert "several different images lie at z=-438.5 mm" in words
    assert words.endswith("send the one to segment as a separate series")


def test_two_phases_whose_slices_alternate_are_no_scan_however_regular(tmp_path):
    files = acquisition(tmp_path, 2) + acquisition(tmp_path, 5, z=LOW + 1.5, value=1000)
    refused(files, Reason.SEVERAL_STACKS)


def test_two_stacks_far_from_each_other_are_refused(tmp_path):
    words = refused(acquisition(tmp_path, 2) + acquisition(tmp_path, 5, z=LOW + 300), Reason.SEVERAL_STACKS)
    assert "a slice is missing between" in words


def test_blocks_that_adjoin_are_one_scan_with_a_warning(tmp_path):
    series = read_series(acquisition(tmp_path, 1) + acquisition(tmp_path, 2, z=LOW + 60))
    assert len(series.slices) == 40
    assert series.geometry.spacing[0] == pytest.approx(3.0)
    assert series.warnings == ("acquisition 1 and acquisition 2 follow each other and were taken as one scan",)


def test_a_sequential_scan_numbers_every_slice_and_is_one_scan(tmp_path):
    files = write_ct(tmp_path, SCAN, lambda index, ds: setattr(ds, "AcquisitionNumber", index + 1))
    series = read_series(files)
    assert (len(series.slices), series.warnings) == (20, ())
    refused(files[:8] + files[9:], Reason.GAP)


def test_a_hole_in_the_scan_is_a_hole_whatever_lies_beside_it(tmp_path):
    files = acquisition(tmp_path, 2)
    assert "a slice is missing" in refused(files[:8] + files[9:] + bolus(tmp_path), Reason.GAP)


def test_bolus_tracking_alone_is_no_scan(tmp_path):
    refused(bolus(tmp_path), Reason.DUPLICATE_POSITION)


def test_many_stacks_are_not_all_named(tmp_path):
    files = [path for n in range(1, 7) for path in acquisition(tmp_path, n, z=LOW + 500 * n)]
    words = refused(files, Reason.SEVERAL_STACKS)
    assert "holds 6 stacks" in words
    assert words.count("20 images") == 4


def content(**values):
    """Return an edit that says in every frame what it belongs to; a value may be a function of the index."""

    def edit(index, frame):
        frame.FrameContentSequence = [Dataset()]
        for keyword, value in values.items():
            setattr(frame.FrameContentSequence[0], keyword, value(index) if callable(value) else value)

    return edit


def test_an_enhanced_object_with_one_stack_and_a_few_frames_beside_it(tmp_path):
    spec = replace(SCAN, shape=(24, 24, 28))

    def edit(index, frame):
        content(StackID="1" if index < 20 else "2", InStackPositionNumber=index + 1)(index, frame)
        if index >= 20:  # three pictures at one place, and one more elsewhere
            frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 5 if index < 23 else 400]

    series = read_series(write_enhanced(tmp_path, spec, edit))
    assert "only stack 1 taken: 4 images of stack 2 left out" in series.warnings[0]
    assert np.array_equal(read_volume(series), spec.hu()[:20])


def test_the_words_of_a_stack_id_are_not_quoted(tmp_path):
    spec = replace(SCAN, shape=(24, 24, 28))

    def edit(index, frame):
        content(StackID="DOE^JANE\x1b[2J" if index < 20 else "\u202eTWO", InStackPositionNumber=index + 1)(index, frame)
        if index >= 20:
            frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 5 if index < 23 else 400]

    [warning] = read_series(write_enhanced(tmp_path, spec, edit)).warnings[:1]
    assert re.search("only stack #[0-9a-f]{8} taken: 4 images of stack #[0-9a-f]{8} left out", warning)
    assert not re.search("DOE|TWO|\x1b|\u202e", warning)


@pytest.mark.parametrize(
    ("values", "name"),
    [({"StackID": lambda i: str(i % 2 + 1)}, "stack"), ({"TemporalPositionIndex": lambda i: i % 2 + 1}, "phase"),
     ({"FrameAcquisitionNumber": lambda i: i % 2 + 1}, "acquisition")],
)  # fmt: skip
def test_an_enhanced_object_with_two_stacks_names_them(tmp_path, values, name):
    spec = replace(SCAN, shape=(40, 24, 28))

    def edit(index, frame):
        content(**values)(index, frame)
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, index // 2 * 3]

    words = refused(write_enhanced(tmp_path, spec, edit), Reason.SEVERAL_STACKS)
    assert f"{name} 1 (20 images" in words and f"{name} 2 (20 images" in words


def twins(folder, **common):
    """Write two enhanced objects of one series at the same places, or where `move` says."""
    files = []
    for number in (1, 2):
        (path,) = write_enhanced(folder, SCAN, name=f"object{number}")
        ds = dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.9.8.{number}"
        for keyword, value in common.items():
            setattr(ds, keyword, value)
        if number == 2:
            for frame in ds.PerFrameFunctionalGroupsSequence:
                x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
                frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 60]
        ds.save_as(path)
        files.append(path)
    return files


def test_parts_of_a_concatenation_are_one_scan(tmp_path):
    series = read_series(twins(tmp_path, ConcatenationUID="1.2.3.4"))
    assert (len(series.slices), series.warnings) == (40, ())
    assert np.array_equal(read_volume(series), np.concatenate([SCAN.hu(), SCAN.hu()]))
    assert len(series.instance_uids) == 2


def test_two_objects_that_adjoin_are_one_scan_with_a_warning(tmp_path):
    (warning,) = read_series(twins(tmp_path)).warnings
    assert "object 1.2.826.0.1.3680043.9.8.1 and object 1.2.826.0.1.3680043.9.8.2 follow each other" in warning


def test_copies_of_frames_within_one_object_are_not_taken_for_copies(tmp_path):
    def edit(index, frame):
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, index // 2 * 3]

    refused(write_enhanced(tmp_path, replace(SCAN, shape=(40, 24, 28)), edit), Reason.DUPLICATE_POSITION)


def test_an_enhanced_object_that_came_twice_counts_once(tmp_path):
    first, second = (write_enhanced(tmp_path, SCAN, name=name)[0] for name in ("one", "two"))
    ds = dcmread(second)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    ds.save_as(second)
    series = read_series([first, second])
    assert series.warnings == ("20 duplicate slices were left out",)
    assert np.array_equal(read_volume(series), SCAN.hu())
