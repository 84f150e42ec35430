"""The age by the header, and the warning of a child."""

import pytest
from pydicom.dataset import Dataset

from segmenter.read.patient_age import CHILD, age_years, child_warning

TABLE = {
    "years": ({"PatientAge": "009Y"}, 9),
    "an adult": ({"PatientAge": "018Y"}, 18),
    "months": ({"PatientAge": "018M"}, 1.5),
    "weeks": ({"PatientAge": "052W"}, 1),
    "days": ({"PatientAge": "200D"}, 0.55),
    "dates": ({"PatientBirthDate": "20100630", "StudyDate": "20240630"}, 14),
    "the day before a birthday": ({"PatientBirthDate": "20060701", "StudyDate": "20240629"}, 17.99),
    "an age without a unit is none, so the dates count": (
        {"PatientAge": "84", "PatientBirthDate": "19400229", "StudyDate": "20240501"}, 84.2,
    ),
    "several values": ({"PatientAge": ["009Y", "010Y"]}, None),
    "born after the study": ({"PatientBirthDate": "20240502", "StudyDate": "20240501"}, None),
    "no real date": ({"PatientBirthDate": "00000000", "StudyDate": "20240501"}, None),
    "nothing": ({}, None),
    "empty": ({"PatientAge": "", "PatientBirthDate": "", "StudyDate": ""}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.filterwarnings("ignore")
def test_the_age_by_the_header(case: str):
    values, expected = TABLE[case]
    header = Dataset()
    for keyword, value in values.items():
        setattr(header, keyword, value)
    years = age_years(header)
    assert years == (expected if expected is None else pytest.approx(expected, abs=0.06))
    assert child_warning(header) == ((CHILD,) if expected is not None and expected < 18 else ())
