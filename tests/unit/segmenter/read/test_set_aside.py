"""A few odd objects beside a whole scan are set aside by name; a scan that is not whole without them is refused."""

import numpy as np
import pytest
from ct_factory import CORONAL, SAGITTAL, CtSpec, write_ct, write_enhanced
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage, SecondaryCaptureImageStorage, generate_uid

from segmenter.errors import Reason, SegmenterError
from segmenter.read.series import read_series

SPEC = CtSpec(shape=(40, 24, 28), spacing=(2.0, 2.5, 2.0))
GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID")


def add(folder, files, name="000", **values):
    """Add an object to the series, a copy of its first slice with other values; None deletes one."""
    ds = dcmread(files[-1])
    values = {"SOPInstanceUID": generate_uid(entropy_srcs=[name])} | values
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    if (ds.Rows, ds.Columns) != SPEC.shape[1:]:
        ds.PixelData = np.zeros((ds.Rows, ds.Columns), "<u2").tobytes()
    ds.file_meta.MediaStorageSOPInstanceUID, ds.file_meta.MediaStorageSOPClassUID = ds.SOPInstanceUID, ds.SOPClassUID
    ds.save_as(folder / f"{name}-odd.dcm", enforce_file_format=True)
    return [folder / f"{name}-odd.dcm", *files]


ODD = {
    "unmarked scout": (
        {"ImageOrientationPatient": list(CORONAL), "ImagePositionPatient": [-27, 0, 100]}, "another orientation",
    ),
    "scout of another matrix": ({"Rows": 40, "ImageOrientationPatient": list(SAGITTAL)}, "another pixel grid (40x28"),
    "other pixel spacing": ({"PixelSpacing": ["1", "1"]}, "another pixel grid (24x28 at 1x1 mm)"),
    "dose page": (
        {"Rows": 64, "Columns": 64, "RescaleSlope": None, "RescaleIntercept": None} | dict.fromkeys(GEOMETRY),
        "lacks FrameOfReferenceUID",
    ),
    "no frame of reference": ({"FrameOfReferenceUID": None}, "lacks FrameOfReferenceUID"),
    "other frame of reference": ({"FrameOfReferenceUID": "1.2.3"}, "another frame of reference"),
    "no rescale": ({"RescaleSlope": None}, "rescale"),
    "colour page": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
    "dose report": (
        {"SOPClassUID": BasicTextSRStorage, "Modality": "SR", "PixelData": None} | dict.fromkeys(GEOMETRY),
        "modality SR",
    ),
    "dose page as capture": ({"SOPClassUID": SecondaryCaptureImageStorage} | dict.fromkeys(GEOMETRY), "SOP class"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "why"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", ["000", "zzz"])
def test_one_odd_object_beside_a_whole_scan_is_set_aside_by_name(tmp_path, values, why, name):
    files = write_ct(tmp_path, SPEC)
    alone = read_series(files)
    series = read_series(add(tmp_path, files, name, **values))
    assert [s.sop_instance_uid for s in series.slices] == [s.sop_instance_uid for s in alone.slices]
    [warning] = series.warnings
    assert warning.startswith("1 object of the series is no part of the scan and was left out: ")
    assert why in warning


@pytest.mark.parametrize("kind", ["SCOUT", "TOPOGRAM", "SCREEN SAVE", "Localizer"])
def test_what_image_type_marks_as_no_slice_is_left_out(tmp_path, kind):
    files = write_ct(tmp_path, SPEC)
    values = {"ImageType": ["ORIGINAL", "PRIMARY", kind], "Rows": 40} | dict.fromkeys(GEOMETRY)
    series = read_series(add(tmp_path, files, **values))
    assert len(series.slices) == 40
    assert series.warnings == ("1 localiser images were left out",)


def test_several_dose_reports_do_not_hide_a_missing_slice(tmp_path):
    files = slices = write_ct(tmp_path, SPEC)
    report = ODD["dose report"][0]
    for name in ("a", "b", "c", "d", "e", "f"):
        files = add(tmp_path, files, name, **report)
    assert len(read_series(files).slices) == 40
    with pytest.raises(SegmenterError, match="a slice is missing"):
        read_series([path for path in files if path != slices[20]])


def test_a_fifth_of_the_slices_is_not_set_aside(tmp_path):
    def edit(index, ds):
        if index >= 32:
            del ds.FrameOfReferenceUID

    with pytest.raises(SegmenterError, match="lacks FrameOfReferenceUID") as refusal:
        read_series(write_ct(tmp_path, SPEC, edit))
    assert refusal.value.reason is Reason.MISSING_GEOMETRY

    def other(index, ds):
        if index >= 32:
            ds.FrameOfReferenceUID = "1.2.3"

    with pytest.raises(SegmenterError, match="2 different frames of reference"):
        read_series(write_ct(tmp_path / "other", SPEC, other))


def test_a_frame_of_reference_for_each_image_is_said_plainly(tmp_path):
    def edit(index, ds):
        ds.FrameOfReferenceUID = f"1.2.3.{index + 1}"

    with pytest.raises(SegmenterError, match="although their positions form one regular stack") as refusal:
        read_series(write_ct(tmp_path, SPEC, edit))
    assert refusal.value.reason is Reason.MIXED_FRAME_OF_REFERENCE
    assert "40 images name 40 frames of reference" in str(refusal.value)


@pytest.mark.parametrize("shared", [(10, 11), tuple(range(40))])
def test_images_that_share_a_uid_are_refused_before_any_work(tmp_path, shared):
    def edit(index, ds):
        if index in shared:
            ds.SOPInstanceUID = "1.2.77"

    with pytest.raises(SegmenterError) as refusal:
        read_series(write_ct(tmp_path, SPEC, edit))
    assert refusal.value.reason is Reason.SHARED_UID
    assert f"{len(shared)} different images have the SOP Instance UID 1.2.77" in str(refusal.value)


def test_a_file_that_is_there_twice_shares_its_uid_rightly(tmp_path):
    files = write_ct(tmp_path, SPEC)
    (tmp_path / "again.dcm").write_bytes(files[7].read_bytes())
    assert read_series([*files, tmp_path / "again.dcm"]).warnings == ("1 duplicate slices were left out",)


@pytest.mark.parametrize(("low", "high"), [(4.0, 7.0), (7.0, 4.0), (5.0, 2.5)])
def test_a_step_that_changes_is_told_as_such(tmp_path, low, high):
    z = np.concatenate([[0.0], np.cumsum([low] * 15 + [high] * 24)])

    def edit(index, ds):
        ds.ImagePositionPatient = [0, 0, f"{z[index]:.2f}"]

    with pytest.raises(SegmenterError) as refusal:
        read_series(write_ct(tmp_path, SPEC, edit))
    assert refusal.value.reason is Reason.UNEVEN_STEPS
    assert f"changes from {low:.2f} to {high:.2f} mm at z={15 * low:.1f} mm" in str(refusal.value)
    assert "missing" not in str(refusal.value)


@pytest.mark.parametrize("gone", [{20}, {20, 21}, {10, 30}, {37}, {20, 22}])
def test_missing_slices_are_still_a_gap(tmp_path, gone):
    files = write_ct(tmp_path, SPEC)
    with pytest.raises(SegmenterError) as refusal:
        read_series([path for index, path in enumerate(files) if index not in gone])
    assert refusal.value.reason is Reason.GAP


def test_many_frames_in_an_object_of_the_plain_class_are_named(tmp_path):
    [path] = write_enhanced(tmp_path, SPEC)
    plain = dcmread(write_ct(tmp_path / "plain", SPEC)[0])
    plain.NumberOfFrames, plain.PixelData = 40, dcmread(path).PixelData
    plain.save_as(tmp_path / "many.dcm", enforce_file_format=True)
    with pytest.raises(SegmenterError) as refusal:
        read_series([tmp_path / "many.dcm"])
    assert "one object of CT Image Storage with 40 frames" in str(refusal.value)
