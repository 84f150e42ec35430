"""Text values of the source that no result may copy as they are: each result stays valid, and is written."""

import subprocess
from dataclasses import replace

import pytest
from ct_factory import CtSpec, write_ct
from pydicom import config, dcmread
from seg_factory import IDENTITY, masks_of

from segmenter.objects.seg import write_seg
from segmenter.read.series import read_series


@pytest.fixture
def result_of(tmp_path):
    """Write a series with these values and its segmentation; return the segmentation, which must be valid."""

    def made(edit_file=lambda content: content, **tags):
        spec = replace(CtSpec(), tags=tags)
        with config.disable_value_validation():
            files = write_ct(tmp_path / "ct", spec)
        for path in files:
            path.write_bytes(edit_file(path.read_bytes()))
        path = write_seg(read_series(files), masks_of(spec), IDENTITY, tmp_path / "seg.dcm")
        return dcmread(path)

    return made


@pytest.fixture
def faults(tool, tmp_path):
    """Return the errors that dciodvfy finds in the segmentation."""

    def found():
        checked = subprocess.run(
            [tool("dciodvfy"), "-new", tmp_path / "seg.dcm"],
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
        )
        return [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]

    return found


@pytest.mark.parametrize(
    ("keyword", "value", "left"),
    [
        ("PatientAge", ["ninety", "old"], None),
        ("PatientAge", ["ninety", "084Y"], "084Y"),
        ("PatientBirthDate", ["1940", "29.2."], None),
        ("PatientBirthDate", ["19400229", "1940"], "19400229"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_backslash_in_a_text_does_not_stop_the_result(result_of, keyword, value, left):
    assert (result_of(**{keyword: value}).get(keyword) or None) == left


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ({"DeidentificationMethod": ""}, None),
        ({"PatientIdentityRemoved": "NO", "DeidentificationMethod": ""}, None),
        ({"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""}, "not stated by the source"),
        ({"PatientIdentityRemoved": "YES"}, "not stated by the source"),
        ({"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"}, "by hand"),
    ],
)
def test_a_method_of_deidentification_is_absent_or_stated(result_of, faults, values, method):
    assert result_of(**values).get("DeidentificationMethod") == method
    assert not [fault for fault in faults() if "identif" in fault]


@pytest.mark.parametrize("number", [2147483000, 2**31 - 1])
def test_a_large_series_number_stays_within_its_vr(result_of, faults, number):
    seg = result_of(SeriesNumber=number)
    assert seg.SeriesNumber == 5000 + (5000 + number) % 1_000_000
    assert not [fault for fault in faults() if "SeriesNumber" in fault]


def test_series_numbers_of_scanners_keep_their_distance(result_of):
    assert result_of(SeriesNumber=204).SeriesNumber == 5204


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("terms", ["ISO 2022 IR 6, IS", "", None])
def test_a_name_outside_its_character_set_is_written_in_utf_8(result_of, faults, terms):
    def no_terms(content):
        return content.replace(b"ISO_IR 100", b" " * 10)

    seg = result_of(no_terms if terms is None else bytes, SpecificCharacterSet="ISO_IR 100" if terms is None else terms)
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert str(seg.PatientName) in ("Möller^Käthe", "M?ller^K?the")
    assert not [fault for fault in faults() if "character" in fault.casefold()]


@pytest.mark.parametrize("terms", ["ISO_IR 100", "ISO_IR 192", "GB18030", ["", "ISO 2022 IR 100"]])
def test_a_character_set_of_the_source_is_kept(result_of, terms):
    seg = result_of(SpecificCharacterSet=terms)
    assert (list(seg.SpecificCharacterSet) if isinstance(terms, list) else seg.SpecificCharacterSet) == terms
    assert seg.PatientName == "Möller^Käthe"
