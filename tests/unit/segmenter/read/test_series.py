"""Reading a series: every orientation gives the same patient; every fault has its own name."""

import shutil

import numpy as np
import pytest
from ct_factory import ORIENTATIONS, SAGITTAL, CtSpec, write_ct, write_enhanced
from pydicom import dcmread
from pydicom.uid import MRImageStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series


def same_patient(series, spec):
    """The volume read holds each voxel of the truth at its place in the patient."""
    index = np.moveaxis(np.indices(spec.shape), 0, -1)
    found = series.geometry.to_index(spec.geometry.to_patient(index))
    near = np.rint(found).astype(int)
    assert np.abs(found - near).max() < 1e-3
    return np.array_equal(read_volume(series)[tuple(np.moveaxis(near, -1, 0))], spec.hu())


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("write", [write_ct, write_enhanced])
def test_every_voxel_lies_at_its_place_in_the_patient(tmp_path, orientation, write):
    spec = CtSpec(orientation=orientation)
    series = read_series(write(tmp_path, spec))
    assert series.geometry.shape == spec.shape
    assert np.allclose(series.geometry.affine, spec.geometry.affine, atol=1e-5)
    assert same_patient(series, spec)


def test_order_of_files_and_instance_numbers_do_not_matter(tmp_path):
    files = write_ct(tmp_path, CtSpec(orientation=SAGITTAL))
    forward, backward = read_series(files), read_series(files[::-1])
    assert [s.sop_instance_uid for s in forward.slices] == [s.sop_instance_uid for s in backward.slices]
    assert [dcmread(s.path).InstanceNumber for s in forward.slices] != list(range(1, 21))
    assert forward.header.SOPInstanceUID == forward.slices[0].sop_instance_uid


def test_source_strings_are_kept(tmp_path):
    def edit(index, ds):
        ds.ImageOrientationPatient = ["1.0", "0.00", "0", "-0.0", "1", "0.0000"]
        ds.PixelSpacing = ["2.500", "2.0"]

    series = read_series(write_ct(tmp_path, CtSpec(), edit))
    assert series.slices[0].orientation == ("1.0", "0.00", "0", "-0.0", "1", "0.0000")
    assert series.slices[0].spacing == ("2.500", "2.0")


def test_positions_rounded_to_a_tenth_are_still_even(tmp_path):
    def edit(index, ds):
        ds.ImagePositionPatient = [
            ds.ImagePositionPatient[0],
            ds.ImagePositionPatient[1],
            f"{-400 + 0.625 * index:.1f}",
        ]

    spec = CtSpec(shape=(70, 24, 28), spacing=(0.625, 2.5, 2.0))
    assert read_series(write_ct(tmp_path, spec, edit)).geometry.spacing[0] == pytest.approx(0.625, abs=2e-3)


def test_identical_copies_and_localisers_are_left_out_with_a_warning(tmp_path):
    files = write_ct(tmp_path, CtSpec())
    copy = dcmread(files[3])
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    copy.save_as(tmp_path / "copy.dcm")
    scout = dcmread(files[0])
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = list(SAGITTAL)
    scout.save_as(tmp_path / "scout.dcm")
    series = read_series([*files, tmp_path / "copy.dcm", tmp_path / "scout.dcm"])
    assert len(series.slices) == 20
    assert series.warnings == ("1 localiser images were left out", "1 duplicate slices were left out")


def at(wanted, **values):
    """Return an edit that sets values on one slice (None: on all); a value None deletes."""

    def edit(index, ds):
        if wanted not in (None, index):
            return
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return edit


def steep(index, ds):
    x, y, z = map(float, ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, y + 2.0 * index, z]


def wandering(index, ds):
    x, y, z = map(float, ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x + 0.8 * index + (1.5 if index == 9 else 0), y, z]


def uneven(index, ds):
    if index > 10:
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z + 1.2]


REFUSALS = {
    "mr": (at(None, SOPClassUID=MRImageStorage, Modality="MR"), Reason.NOT_CT, "MR"),
    "localisers": (at(None, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), Reason.LOCALISER, "20 images"),
    "two series": (at(5, SeriesInstanceUID="1.2.3"), Reason.MIXED_SERIES, "1.2.3"),
    "no position": (at(5, ImagePositionPatient=None), Reason.MISSING_GEOMETRY, "ImagePositionPatient"),
    "no frame of reference": (at(None, FrameOfReferenceUID=None), Reason.MISSING_GEOMETRY, "FrameOfReferenceUID"),
    "skew axes": (at(None, ImageOrientationPatient=[1, 0, 0, 0.1, 1, 0]), Reason.MISSING_GEOMETRY, "perpendicular"),
    "two frames of reference": (at(5, FrameOfReferenceUID="1.2.3"), Reason.MIXED_FRAME_OF_REFERENCE, "1.2.3"),
    "two orientations": (at(5, ImageOrientationPatient=list(SAGITTAL)), Reason.MIXED_ORIENTATION, "same orientation"),
    "two spacings": (at(5, PixelSpacing=["2.5", "2.1"]), Reason.MIXED_GRID, "24x28 at 2.5x2.1 mm"),
    "two pictures at a place": (
        lambda i, ds: i != 5 or setattr(ds, "ImagePositionPatient", [-15.0, -62.75, -426.5]),
        Reason.DUPLICATE_POSITION, "z=-426.5",
    ),
    "tilt": (steep, Reason.GANTRY_TILT, "33.7 degrees"),
    "wandering": (wandering, Reason.SCATTERED, "up to 1.4 mm off a straight stack"),
    "uneven": (uneven, Reason.UNEVEN_STEPS, "3.00 to 4.20 mm"),
    "no slope": (at(7, RescaleSlope=None), Reason.MISSING_RESCALE, "rescale"),
    "other unit": (at(7, RescaleType="MGML"), Reason.NOT_HU, "MGML"),
    "words as unit": (at(7, RescaleType="DOE^JANE\x1b[2J"), Reason.NOT_HU, "that the standard does not define"),
    "colour": (at(None, SamplesPerPixel=3), Reason.NOT_HU, "colour"),
    "palette": (at(None, PhotometricInterpretation="PALETTE COLOR"), Reason.NOT_HU, "colour"),
    "32 bits": (at(None, BitsAllocated=32), Reason.PIXEL_FORMAT, "32 bits allocated"),
    "bits from the top": (at(None, BitsStored=12, HighBit=15), Reason.PIXEL_FORMAT, "12 bits stored, high bit 15"),
    "more bits used than there are": (at(None, BitsStored=20), Reason.PIXEL_FORMAT, "20 bits stored"),
    "no bits": (at(None, BitsStored=None), Reason.PIXEL_FORMAT, "0 bits stored"),
    "a third sign": (at(None, PixelRepresentation=2), Reason.PIXEL_FORMAT, "pixel representation 2"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "reason", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_fault_is_refused_by_name_and_without_patient_data(tmp_path, edit, reason, words):
    files = write_ct(tmp_path, CtSpec(), edit)
    with pytest.raises(SegmenterError, match=r".+") as refusal:
        read_series(files)
    assert refusal.value.reason is reason
    assert words in str(refusal.value)
    assert not any(secret in str(refusal.value) for secret in ("Möller", "SECRET", "1940", str(tmp_path)))
    declined = reason in (Reason.NOT_CT, Reason.LOCALISER)
    assert refusal.value.verdict is (Verdict.DECLINED if declined else Verdict.HELD)


@pytest.mark.parametrize(("orientation", "axis"), [("axial", "z"), ("sagittal", "x"), ("coronal", "y")])
def test_a_gap_names_its_two_sides(tmp_path, orientation, axis):
    spec = CtSpec(orientation=ORIENTATIONS[orientation])
    files = write_ct(tmp_path, spec)
    with pytest.raises(SegmenterError, match="a slice is missing between") as refusal:
        read_series(files[:8] + files[9:])
    assert refusal.value.reason is Reason.GAP
    places = [spec.geometry.to_patient(np.array([k, 0, 0]))["xyz".index(axis)] for k in (7, 9)]
    assert f"between {axis}={places[0]:.1f} and {axis}={places[1]:.1f} mm" in str(refusal.value)


def test_a_localiser_without_a_place_in_the_patient_is_left_out(tmp_path):
    def edit(index, ds):
        if index == 0:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing, ds.FrameOfReferenceUID

    series = read_series(write_ct(tmp_path, CtSpec(), edit))
    assert len(series.slices) == CtSpec().shape[0] - 1
    assert "1 localiser" in series.warnings[0]


@pytest.mark.parametrize("spec", [CtSpec(shape=(4, 24, 28)), CtSpec(shape=(13, 24, 28)), CtSpec(shape=(20, 24, 19))])
def test_too_little_for_a_femur(tmp_path, spec):
    with pytest.raises(SegmenterError, match="needs at least") as refusal:
        read_series(write_ct(tmp_path, spec))
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.TOO_SHORT, Verdict.DECLINED)


def test_forty_millimetres_are_enough_however_they_are_rounded(tmp_path):
    spec = CtSpec(shape=(40, 16, 16), spacing=(1.0, 2.5, 2.5), centre=(0.0, 0.0, -1234.567))
    assert read_series(write_ct(tmp_path, spec)).geometry.shape == spec.shape


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_slices_are_too_short_by_name(tmp_path, count):
    with pytest.raises(SegmenterError, match=f"the series has {count} slices, it needs at least 5") as refusal:
        read_series(write_ct(tmp_path, CtSpec(shape=(count, 24, 28), spacing=(30.0, 2.5, 2.0))))
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.TOO_SHORT, Verdict.DECLINED)


@pytest.mark.parametrize("content", [b"", b"no DICOM at all", b"\0" * 128 + b"DICM"])
def test_broken_files_are_unreadable(tmp_path, content):
    files = write_ct(tmp_path, CtSpec())
    files[2].write_bytes(content)
    with pytest.raises(SegmenterError) as refusal:
        read_series(files)
    assert refusal.value.reason in (Reason.UNREADABLE, Reason.NOT_CT)


def test_a_folder_gives_its_only_ct_series(tmp_path):
    files = write_ct(tmp_path / "ct", CtSpec())
    write_ct(tmp_path / "mr", CtSpec(tags={"SOPClassUID": MRImageStorage, "SeriesInstanceUID": "1.9"}))
    write_ct(
        tmp_path / "scout", CtSpec(tags={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "1.8"})
    )
    (tmp_path / "notes.txt").write_text("hello")
    assert sorted(find_series(tmp_path)) == sorted(files)


def test_a_folder_with_two_or_no_series_is_refused(tmp_path):
    with pytest.raises(SegmenterError, match="no CT images"):
        find_series(tmp_path)
    write_ct(tmp_path / "a", CtSpec())
    write_ct(tmp_path / "b", CtSpec(tags={"SeriesInstanceUID": "1.2.3.9", "SeriesNumber": 12}))
    with pytest.raises(SegmenterError, match=r"1\.2\.3\.9 \(number 12, 20 images\)") as refusal:
        find_series(tmp_path)
    assert refusal.value.reason is Reason.MIXED_SERIES
    shutil.rmtree(tmp_path / "a")
    assert len(find_series(tmp_path)) == 20
