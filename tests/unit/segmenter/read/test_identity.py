"""Whose images they are: one patient and one study, or a refusal that names what differs, never the values."""

import pytest
from ct_factory import CtSpec, write_ct

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.series import read_series

OTHER = {
    "id": ({"PatientID": "OTHER-1"}, Reason.MIXED_PATIENT, "PatientID"),
    "no id": ({"PatientID": ""}, Reason.MIXED_PATIENT, "PatientID"),
    "issuer": ({"IssuerOfPatientID": "ELSEWHERE"}, Reason.MIXED_PATIENT, "IssuerOfPatientID"),
    "name": ({"PatientName": "Other^Person"}, Reason.MIXED_PATIENT, "PatientName"),
    "birth date": ({"PatientBirthDate": "19500202"}, Reason.MIXED_PATIENT, "PatientBirthDate"),
    "study": ({"StudyInstanceUID": "1.2.99"}, Reason.MIXED_STUDY, "StudyInstanceUID"),
    "study date": ({"StudyDate": "20250202"}, Reason.MIXED_STUDY, "StudyDate"),
    "person and study": (
        {"PatientID": "OTHER-1", "PatientBirthDate": "19500202", "StudyInstanceUID": "1.2.99"},
        Reason.MIXED_PATIENT, "PatientID, PatientBirthDate, StudyInstanceUID",
    ),
}  # fmt: skip


@pytest.mark.parametrize("first", [0, 12, 19])
@pytest.mark.parametrize(("values", "reason", "names"), OTHER.values(), ids=OTHER)
def test_slices_of_two_patients_or_studies_are_held(tmp_path, values, reason, names, first):
    def edit(index, ds):
        for keyword, value in values.items() if index >= first else ():
            setattr(ds, keyword, value)

    files = write_ct(tmp_path, CtSpec(), edit)
    if first == 0:
        read_series(files)  # all of the other one
        return
    with pytest.raises(SegmenterError) as refusal:
        read_series(files)
    assert (refusal.value.reason, refusal.value.verdict) == (reason, Verdict.HELD)
    assert f"differ in {names};" in str(refusal.value)
    assert not any(value and str(value) in str(refusal.value) for value in values.values())
    assert "SECRET" not in str(refusal.value)


def test_the_same_person_written_otherwise_is_one_patient(tmp_path):
    def edit(index, ds):
        if index % 2:
            ds.PatientName, ds.PatientID = "MÖLLER^KÄTHE^^^", "SECRET-4711 "

    assert len(read_series(write_ct(tmp_path, CtSpec(), edit)).slices) == 20


def test_an_identity_is_not_shown_where_a_slice_is_printed(tmp_path):
    series = read_series(write_ct(tmp_path, CtSpec()))
    assert series.slices[0].identity.PatientID == "secret-4711"
    assert "secret" not in repr(series.slices[0]).casefold()
