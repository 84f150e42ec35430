"""The SEG itself: frames, codes, UIDs, bytes, and whose patient it belongs to."""

import logging
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from ct_factory import OBLIQUE, CtSpec, write_ct, write_enhanced
from pydicom import dcmread
from seg_factory import IDENTITY, WRITERS, masks_of

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.objects.common import source_time
from segmenter.objects.seg import write_labelmap, write_seg
from segmenter.objects.seg_check import check_seg
from segmenter.objects.uids import derive_uid
from segmenter.read.series import read_series
from segmenter.volume.femur import Side


@pytest.fixture
def spec():
    return CtSpec(orientation=OBLIQUE)


@pytest.fixture
def series(tmp_path, spec):
    return read_series(write_ct(tmp_path / "ct", spec))


def written(series, masks, path, identity=IDENTITY, write=write_seg):
    return dcmread(write(series, masks, identity, path))


def frames_of(seg):
    return [
        (
            int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
            frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
        )
        for frame in seg.PerFrameFunctionalGroupsSequence
    ]


def test_frames_are_each_segments_slab_with_inner_empty_slices(tmp_path, series):
    left, right = np.zeros((2, *series.geometry.shape), bool)
    left[3, 2:5, 2:5] = left[7, 1:4, 1:4] = True
    right[5:9, 10:12, 10:12] = True
    seg = written(series, {Side.RIGHT: right, Side.LEFT: left}, tmp_path / "seg.dcm")
    uids = series.instance_uids
    assert frames_of(seg) == [(1, uids[k]) for k in range(3, 8)] + [(2, uids[k]) for k in range(5, 9)]
    assert seg.NumberOfFrames == 9
    values = [tuple(f.FrameContentSequence[0].DimensionIndexValues) for f in seg.PerFrameFunctionalGroupsSequence]
    assert values == [(1, p) for p in range(1, 6)] + [(2, p) for p in range(3, 7)]
    assert np.array_equal(seg.pixel_array.astype(bool), np.concatenate([left[3:8], right[5:9]]))


def test_single_slice_and_odd_pixel_counts_survive_packing(tmp_path):
    spec = CtSpec(shape=(20, 23, 27))
    mask = np.zeros(spec.shape, bool)
    mask[4, ::2, ::3] = True
    seg = written(read_series(write_ct(tmp_path / "ct", spec)), {Side.LEFT: mask}, tmp_path / "seg.dcm")
    assert len(seg.PixelData) % 2 == 0
    assert np.array_equal(seg.pixel_array.astype(bool), mask[4])


def test_segments_are_coded_for_side_and_model(tmp_path, series, spec):
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm")
    codes = []
    for segment in seg.SegmentSequence:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        category = segment.SegmentedPropertyCategoryCodeSequence[0]
        side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
        codes.append((segment.SegmentLabel, category.CodeValue, kind.CodeValue, side.CodeValue, side.CodeMeaning))
        assert {category.CodingSchemeDesignator, kind.CodingSchemeDesignator, side.CodingSchemeDesignator} == {"SCT"}
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("femur-vnet", "1.2.3")
        assert "ab" * 32 in algorithm.AlgorithmParameters
    assert codes == [
        ("Left proximal femur", "91723000", "310651003", "7771000", "Left"),
        ("Right proximal femur", "91723000", "310651003", "24028007", "Right"),
    ]
    left, right = (np.array(s.RecommendedDisplayCIELabValue) / 65535 for s in seg.SegmentSequence)
    assert abs(left[0] - right[0]) < 0.2 < abs(left[2] - right[2])
    assert len({s.TrackingUID for s in seg.SegmentSequence}) == 2
    assert "for investigational use" in seg.ContentDescription
    assert seg.SeriesDescription.endswith("femur-vnet 1.2.3")
    assert seg.SeriesNumber == 5004


def test_long_model_names_keep_the_version_at_the_end(tmp_path, series, spec):
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm", replace(IDENTITY, model_name="m" * 60))
    assert len(seg.SeriesDescription) <= 64
    assert seg.SeriesDescription.endswith("m 1.2.3")
    assert "for investigational use" in seg.SeriesDescription


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_same_input_gives_the_same_bytes(tmp_path, series, spec, write):
    first = write(series, masks_of(spec), IDENTITY, tmp_path / "a.dcm").read_bytes()
    turned = dict(reversed(masks_of(spec).items()))
    again = read_series(sorted((tmp_path / "ct").iterdir(), reverse=True))
    assert write(again, turned, IDENTITY, tmp_path / "b.dcm").read_bytes() == first


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_anything_that_changes_the_result_changes_its_uids(tmp_path, series, spec, write):
    cut = read_series(sorted(plane.path for plane in series.slices[:-1]))
    small = {side: mask[:-1] for side, mask in masks_of(spec).items()}
    every = masks_of(spec)
    results = [
        written(series, every, tmp_path / "0.dcm", write=write),
        written(series, every, tmp_path / "1.dcm", replace(IDENTITY, model_digest="ee" * 32), write),
        written(series, every, tmp_path / "2.dcm", replace(IDENTITY, settings_digest="ee" * 32), write),
        written(cut, small, tmp_path / "3.dcm", write=write),
    ]
    assert len({seg.SOPInstanceUID for seg in results}) == len({seg.SeriesInstanceUID for seg in results}) == 4
    assert all(len({s.SOPInstanceUID, s.SeriesInstanceUID, s.StudyInstanceUID}) == 3 for s in results)


def test_derived_uids_are_valid_and_tell_parts_apart():
    uids = {derive_uid("ab", "c"), derive_uid("a", "bc"), derive_uid("abc"), derive_uid("c", "ab")}
    assert len(uids) == 4
    assert all(uid.startswith("2.25.") and len(uid) <= 64 and uid[5] != "0" for uid in uids)
    assert derive_uid("ab", "c") == derive_uid("ab", "c")


def test_patient_and_study_are_the_sources_own(tmp_path, series, spec):
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm")
    assert (seg.PatientName, seg.PatientID, seg.PatientBirthDate) == ("Möller^Käthe", "SECRET-4711", "19400229")
    assert (seg.StudyInstanceUID, seg.StudyID, seg.StudyDate) == (series.study_uid, "S1", "20240501")
    assert (seg.FrameOfReferenceUID, seg.Modality) == ("1.2.826.0.1.3680043.9.4", "SEG")
    assert (seg.ContentDate, seg.ContentTime) == ("20240502", "080910.250000")


def test_what_the_source_lacks_stays_empty(tmp_path, spec):
    def edit(index, ds):
        del ds.PatientID, ds.PatientBirthDate, ds.PatientSex, ds.StudyID, ds.AccessionNumber
        ds.PatientName = ""

    seg = written(read_series(write_ct(tmp_path / "ct", spec, edit)), masks_of(spec), tmp_path / "seg.dcm")
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
        assert keyword in seg
        assert not seg[keyword].value


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_forbidden_values_are_repaired_and_logged_by_name_only(tmp_path, spec, caplog):
    bad = {
        "StudyID": "IBSI_1_STS_020_CTX", "PatientBirthDate": "29.2.1940", "PatientSex": "W",
        "StudyTime": "ten past", "PatientAge": "84", "StudyDescription": "d" * 80,
    }  # fmt: skip

    def edit(index, ds):
        for keyword, value in bad.items():
            setattr(ds, keyword, value)

    from pydicom import config

    with config.disable_value_validation():
        files = write_ct(tmp_path / "ct", spec, edit)
    with caplog.at_level(logging.DEBUG):
        seg = written(read_series(files), masks_of(spec), tmp_path / "seg.dcm")
    assert seg.StudyID == "IBSI_1_STS_020_C"
    assert seg.StudyDescription == "d" * 64
    assert not any(seg[keyword].value for keyword in ("PatientBirthDate", "PatientSex", "StudyTime", "PatientAge"))
    logged = [record.message for record in caplog.records if record.name.startswith("segmenter")]
    assert sorted(logged) == sorted(f"repaired {keyword}, whose value violates its VR" for keyword in bad)
    assert not any(secret in caplog.text for secret in ("1940", "IBSI", "ten past", "SECRET", "Möller"))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_uid_with_leading_zeros_stays_what_the_source_says(tmp_path, spec, keyword):
    series = read_series(write_ct(tmp_path / "ct", replace(spec, tags={keyword: "1.2.03.4"})))
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm")
    assert seg[keyword].value == "1.2.03.4"
    check_seg(tmp_path / "seg.dcm", series, masks_of(spec))


def test_numbers_and_long_names_of_a_patient(tmp_path, spec):
    tags = {"PregnancyStatus": 4, "PatientName": "N" * 80}
    series = read_series(write_ct(tmp_path / "ct", replace(spec, tags=tags)))
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm")
    assert seg.PregnancyStatus == 4
    assert seg.PatientName == "N" * 64


@pytest.mark.parametrize(
    ("keyword", "written_as", "instead"),
    [
        ("SliceThickness", "3.1234", b"3.1 mm"),
        ("SliceThickness", "3.1234", b"-3.123"),
        ("SliceThickness", "3.1234", b"3.1\\3 "),
        ("SeriesNumber", "123456", b"12345A"),
    ],
    ids=["unit in a number", "negative", "two numbers", "letter in a number"],
)
def test_odd_numbers_in_a_header_do_not_stop_a_result(tmp_path, spec, keyword, written_as, instead):
    files = write_ct(tmp_path / "ct", spec, lambda _, data: setattr(data, keyword, written_as))
    for path in files:  # no library would write them
        path.write_bytes(path.read_bytes().replace(written_as.encode(), instead))
    series = read_series(files)
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm")
    check_seg(tmp_path / "seg.dcm", series, masks_of(spec))
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) > 0


def test_values_that_cannot_even_be_read_are_left_out(tmp_path, spec, caplog):
    files = write_ct(tmp_path / "ct", spec, lambda i, ds: setattr(ds, "PregnancyStatus", 4))
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"\x10\x00\xc0\x21US\2\0", b"\x10\x00\xc0\x21FD\2\0"))
    seg = written(read_series(files), masks_of(spec), tmp_path / "seg.dcm")
    assert "PregnancyStatus" not in seg
    assert "left out PregnancyStatus" in caplog.text


def test_time_follows_the_sources_zone(tmp_path, spec):
    files = write_ct(tmp_path / "ct", replace(spec, tags={"TimezoneOffsetFromUTC": "+0200"}))
    moment = replace(IDENTITY, created=datetime(2024, 5, 2, 23, 30, tzinfo=UTC))
    seg = written(read_series(files), masks_of(spec), tmp_path / "seg.dcm", moment)
    assert (seg.ContentDate, seg.ContentTime, seg.TimezoneOffsetFromUTC) == ("20240503", "013000", "+0200")


def test_source_time_is_the_sources_word(tmp_path, series):
    assert source_time(series) == datetime(2024, 5, 1, 10, 20, 30)
    for keyword in ("ContentDate", "StudyDate"):
        setattr(series.header, keyword, "")
    assert source_time(series) is None


def test_decimal_strings_are_the_sources_own_unless_too_long(tmp_path, spec):
    def edit(index, ds):
        ds.PixelSpacing = ["2.50", "2.000"]

    series = read_series(write_ct(tmp_path / "ct", spec, edit))
    long = replace(series.slices[0], orientation=("0.93969262078590842", *series.slices[0].orientation[1:]))
    seg = written(replace(series, slices=(long, *series.slices[1:])), masks_of(spec), tmp_path / "seg.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert [str(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == ["2.50", "2.000"]
    orientation = [str(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    assert orientation == ["0.93969262078591", *series.slices[0].orientation[1:]]
    position = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert tuple(str(v) for v in position) in {plane.position for plane in series.slices}


def test_frames_of_an_enhanced_source_are_referenced_by_number(tmp_path, spec):
    series = read_series(write_enhanced(tmp_path / "ct", spec))
    seg = written(series, masks_of(spec), tmp_path / "seg.dcm")
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        (plane,) = (p for p in series.slices if p.frame == source.ReferencedFrameNumber)
        assert tuple(str(v) for v in place) == plane.position


def test_a_label_map_holds_the_same_femurs_in_a_byte_per_voxel(tmp_path, series, spec):
    masks = masks_of(spec)
    binary = written(series, masks, tmp_path / "seg.dcm")
    labels = written(series, masks, tmp_path / "labelmap.dcm", write=write_labelmap)
    filled = np.flatnonzero((masks[Side.LEFT] | masks[Side.RIGHT]).any(axis=(1, 2)))
    slab = slice(filled[0], filled[-1] + 1)
    assert np.array_equal(labels.pixel_array, (masks[Side.LEFT] + 2 * masks[Side.RIGHT])[slab])
    assert [f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            for f in labels.PerFrameFunctionalGroupsSequence] == list(series.instance_uids[slab])  # fmt: skip
    assert [item.SegmentNumber for item in labels.SegmentSequence] == [1, 2, 0]
    assert labels.SegmentSequence[:2] == binary.SegmentSequence  # the same femurs, by tracking UID too
    background = labels.SegmentSequence[2]
    assert background.SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040"
    assert (labels.PixelPaddingValue, labels.SegmentationType) == (0, "LABELMAP")
    assert "for investigational use" in labels.SeriesDescription


def test_both_kinds_can_stand_in_one_study(tmp_path, series, spec):
    both = [written(series, masks_of(spec), tmp_path / name, write=write) for name, write in WRITERS.items()]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"):
        assert len({seg[keyword].value for seg in both}) == 2
    organizations = {seg.DimensionOrganizationSequence[0].DimensionOrganizationUID for seg in both}
    assert len(organizations) == 2


def test_one_femur_alone_is_number_one(tmp_path, series, spec):
    labels = written(series, masks_of(spec, [Side.RIGHT]), tmp_path / "labelmap.dcm", write=write_labelmap)
    assert set(np.unique(labels.pixel_array)) == {0, 1}
    assert [item.SegmentLabel for item in labels.SegmentSequence] == ["Right proximal femur", "Background"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("fault", ["none", "empty", "overlap", "shape"])
def test_masks_that_make_no_sense_are_refused(tmp_path, series, spec, fault, write):
    left, right = spec.balls()
    masks = {
        "none": {},
        "empty": {Side.LEFT: np.zeros_like(left)},
        "overlap": {Side.LEFT: left, Side.RIGHT: left | right},
        "shape": {Side.LEFT: left[1:]},
    }[fault]
    with pytest.raises(SegmenterError, match="the masks cannot be written") as refusal:
        write(series, masks, IDENTITY, tmp_path / "seg.dcm")
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.READBACK, Verdict.FAILED)
    assert not (tmp_path / "seg.dcm").exists()
