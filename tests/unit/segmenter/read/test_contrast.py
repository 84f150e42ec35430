import pytest
from pydicom.dataset import Dataset

from segmenter.read.contrast import contrast_given

SEQUENCE = {"ContrastBolusAgentSequence": [{"CodeMeaning": "Iohexol"}]}
CASES = {
    "nothing said": ({}, False),
    "agent": ({"ContrastBolusAgent": "Ultravist 370"}, True),
    "agent applied, amounts zero": (
        {"ContrastBolusAgent": "APPLIED", "ContrastBolusVolume": "0", "ContrastBolusTotalDose": "0"}, True,
    ),
    "non-ionic agent": ({"ContrastBolusAgent": "Non-ionic"}, True),
    "no iv, but oral": ({"ContrastBolusAgent": "NO IV, ORAL ONLY"}, True),
    "volume only": ({"ContrastBolusAgent": "", "ContrastBolusVolume": "100"}, True),
    "volume zero": ({"ContrastBolusVolume": "0"}, False),
    "dose only": ({"ContrastBolusTotalDose": "80"}, True),
    "ingredient only": ({"ContrastBolusIngredient": "IODINE"}, True),
    "none, but a volume": ({"ContrastBolusAgent": "NONE", "ContrastBolusVolume": "60"}, True),
    "sequence": (SEQUENCE, True),
    "sequence without a meaning": ({"ContrastBolusAgentSequence": [{}]}, True),
    "sequence that says none": ({"ContrastBolusAgentSequence": [{"CodeMeaning": "No contrast"}]}, False),
    **{
        f"agent {word!r}": ({"ContrastBolusAgent": word}, False)
        for word in (
            "NONE", "none", "No", "N", "No contrast", "NO IV CONTRAST", "Without contrast", "W/O", "w/o contrast",
            "ohne KM", "keines", "nativ", "Native", "non-contrast", "unenhanced", "0", "0 ml", "N/A", "not applicable",
            "-", " ", "sans", "sin contraste", "not given",
        )
    },
}  # fmt: skip
USAGE = {
    "administered": ([{"ContrastBolusAgentAdministered": "YES", "ContrastBolusAgentDetected": "NO"}], True),
    "detected": ([{"ContrastBolusAgentAdministered": "NO", "ContrastBolusAgentDetected": "YES"}], True),
    "not yet": ([{"ContrastBolusAgentAdministered": "NO", "ContrastBolusAgentDetected": "NO"}], False),
    "one of two": (
        [{"ContrastBolusAgentAdministered": "NO"}, {"ContrastBolusAgentAdministered": "YES"}], True,
    ),
    "not said": ([{"PixelSpacing": ["1", "1"]}], True),
}  # fmt: skip


def header(values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, list(map(header, value)) if keyword.endswith("Sequence") else value)
    return made


@pytest.mark.parametrize(("values", "given"), CASES.values(), ids=CASES)
def test_the_header_says_whether_contrast_medium_was_given(values, given):
    assert contrast_given(header(values)) is given


@pytest.mark.parametrize(("usage", "given"), USAGE.values(), ids=USAGE)
def test_the_usage_of_a_frame_decides_about_the_agents_of_the_object(usage, given):
    assert contrast_given(header(SEQUENCE), list(map(header, usage))) is given
