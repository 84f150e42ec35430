"""The calibration settings: what is read, and how all faults are told at once."""

from datetime import date
from importlib import resources
from pathlib import Path

import pytest
from qct_factory import MODELS

from segmenter.density.calibration import Material
from segmenter.density.settings import DensitySettings, read_density_settings
from segmenter.errors import Reason, SegmenterError
from segmenter.synth.series.calibration_file import calibration_file

SAMPLE = Path(str(resources.files("segmenter") / "data/phantoms/calibration.toml"))
PHANTOM = """
[[phantoms]]
name = "P"
equivalent_material = "HA"
rod_diameter_mm = 18
rod_spacing_mm = 34
rods = [{ density_mg_cm3 = 0 }, { density_mg_cm3 = 100 }, { density_mg_cm3 = 200.5 }]
"""
CERTIFICATE = """
[[asynchronous]]
manufacturer = "Maker"
model = "M"
station_name = "CT1"
kvp = 120
slope_hu_per_mg_cm3 = 1.3
intercept_hu = 2
equivalent_material = "K2HPO4"
certificate_date = 2026-01-01
valid_until = "2027-01-01"
"""


@pytest.fixture
def read(tmp_path: Path):
    def reader(text: str) -> DensitySettings:
        path = tmp_path / "calibration.toml"
        path.write_text(text)
        return read_density_settings(path)

    return reader


def faults(read, text: str) -> str:
    with pytest.raises(SegmenterError) as caught:
        read(text)
    assert caught.value.reason is Reason.SETTINGS
    assert str(caught.value).startswith("the calibration settings calibration.toml cannot be used: ")
    return str(caught.value)


def test_without_a_file_nothing_is_calibrated():
    settings = read_density_settings(None)
    assert (settings.mode, settings.phantoms, settings.asynchronous) == ("none", (), ())


def test_phantoms_and_certificates_are_read(read):
    settings = read('mode = "auto"\n' + PHANTOM + 'serial = "7"\ncertificate_date = 2025-12-31\n' + CERTIFICATE)
    (phantom,), (certificate,) = settings.phantoms, settings.asynchronous
    assert (phantom.title, phantom.equivalent_material, phantom.layout) == ("P 7", Material.HA, "slab")
    assert phantom.certificate_date == date(2025, 12, 31)
    assert phantom.offsets_mm == (-34.0, 0.0, 34.0)
    assert [rod.density_mg_cm3 for rod in phantom.rods] == [0.0, 100.0, 200.5]
    assert (certificate.kvp, certificate.equivalent_material) == (120.0, Material.K2HPO4)
    assert (certificate.certificate_date, certificate.valid_until) == (date(2026, 1, 1), date(2027, 1, 1))


def test_unevenly_spaced_rods_have_places_of_their_own(read):
    rods = ", ".join(f"{{ density_mg_cm3 = {d}, offset_mm = {o} }}" for d, o in ((0, 0), (100, 30), (200, 80)))
    text = PHANTOM.replace("rod_spacing_mm = 34\n", "")
    text = text[: text.index("rods = [")] + f"rods = [{rods}]\n"
    (phantom,) = read('mode = "phantom"\n' + text).phantoms
    assert phantom.offsets_mm == (-40.0, -10.0, 40.0)


FAULTS = {
    "mode": ('mode = "guess"', "mode = 'guess': Input should be 'auto', 'phantom', 'asynchronous' or 'none'"),
    "unknown key": ('modes = "auto"', "modes = 'auto': unknown setting"),
    "no TOML": ("mode = auto", "Invalid value"),
    "auto without anything": ('mode = "auto"', 'mode = "auto" needs [[phantoms]] or [[asynchronous]]'),
    "phantom without one": ('mode = "phantom"' + CERTIFICATE, 'mode = "phantom" needs [[phantoms]]'),
    "asynchronous without one": ('mode = "asynchronous"' + PHANTOM, "needs [[asynchronous]]"),
    "doubled": (PHANTOM * 2, "two phantoms have the name and serial 'P'"),
    "material": (PHANTOM.replace('"HA"', '"bone"'), "phantoms.0.equivalent_material = 'bone': Input should be"),
    "text for a number": (PHANTOM.replace("= 34", '= "34"'), "phantoms.0.rod_spacing_mm = '34': Input should be a"),
    "no number": (PHANTOM.replace("200.5", "nan"), "phantoms.0.rods.2.density_mg_cm3 = nan: Input should be a finite"),
    "two rods": (PHANTOM.replace("{ density_mg_cm3 = 0 }, ", ""), "phantoms.0.rods: Value should have at least 3"),
    "no span": (PHANTOM.replace("200.5", "20").replace("100", "10"), "densities must span 50 mg/cm3 or more"),
    "water of some": (
        PHANTOM.replace("= 0 }", "= 0, water_mg_cm3 = 1000 }"),
        "water_mg_cm3 must be given for every rod or for none",
    ),
    "water with HA": (
        PHANTOM.replace(" }", ", water_mg_cm3 = 1000 }"),
        "water_mg_cm3 belongs to phantoms of K2HPO4",
    ),
    "no places": (PHANTOM.replace("rod_spacing_mm = 34\n", ""), "must say where the rods lie"),
    "overlapping": (PHANTOM.replace("= 34", "= 15"), "rods must lie at least rod_diameter_mm apart"),
    "date as number": (PHANTOM + "certificate_date = 2026\n", "certificate_date = 2026: a date is written YYYY-MM-DD"),
    "no date": (PHANTOM + 'certificate_date = "soon"\n', "phantoms.0.certificate_date = 'soon': "),
    "nobody's certificate": (
        CERTIFICATE.replace('station_name = "CT1"\n', ""),
        "station_name or device_serial must say which scanner it is",
    ),
    "expired before issued": (CERTIFICATE.replace("2027", "2025"), "valid_until 2025-01-01 lies before"),
    "energy of plain images": (
        CERTIFICATE + "\nkev = 70",
        'kev must be given for image = "monoenergetic", and only then',
    ),
    "no energy": (CERTIFICATE + '\nimage = "monoenergetic"', 'kev must be given for image = "monoenergetic"'),
    "image": (CERTIFICATE + '\nimage = "iodine"', "'polychromatic', 'monoenergetic' or 'multi-energy'"),
    "voltage": (CERTIFICATE.replace("= 120", "= 12"), "asynchronous.0.kvp = 12: Input should be greater than"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_key_value_and_rule(read, text: str, message: str):
    assert message in faults(read, text)


def test_all_faults_are_told_at_once(read):
    text = PHANTOM.replace("= 18", "= 1").replace('"HA"', '"?"') + CERTIFICATE.replace("= 1.3", "= -1")
    told = faults(read, text)
    for key in ("phantoms.0.rod_diameter_mm = 1", "phantoms.0.equivalent_material", "asynchronous.0.slope_hu_per_mg"):
        assert key in told
    assert told.count("; ") == 2


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(SegmenterError, match="No such file"):
        read_density_settings(tmp_path / "none.toml")


def test_other_settings_have_another_digest(read):
    plain, other = read(PHANTOM), read(PHANTOM.replace("200.5", "200"))
    assert plain.digest == read("# a comment\n" + PHANTOM).digest
    assert plain.digest != other.digest


def test_the_sample_holds_the_nominal_phantoms():
    settings = read_density_settings(SAMPLE)
    assert settings.mode == "auto"
    drawn = {model.name: model for key, model in MODELS.items() if key != "slab"}
    assert {phantom.name for phantom in settings.phantoms} == set(drawn)
    for phantom in settings.phantoms:
        model = drawn[phantom.name]
        assert phantom.equivalent_material is model.material
        assert [(r.density_mg_cm3, r.water_mg_cm3) for r in phantom.rods] == [
            (r.density_mg_cm3, r.water_mg_cm3) for r in model.rods
        ]
    assert "NOMINAL" in SAMPLE.read_text()


def test_the_certificate_in_the_samples_comments_can_be_used(read):
    text = SAMPLE.read_text()
    lines = text[text.index("# [[asynchronous]]") :].splitlines()
    (certificate,) = read("\n".join(line.removeprefix("# ") for line in lines)).asynchronous
    assert certificate.slope_hu_per_mg_cm3 == 1.3


@pytest.mark.parametrize("name", MODELS)
def test_the_file_beside_a_synthetic_patient_describes_its_phantom(read, name: str):
    model = MODELS[name]
    (phantom,) = read(calibration_file(model)).phantoms
    assert phantom.equivalent_material is model.material
    assert phantom.rod_diameter_mm == 2 * model.rod_radius_mm
    assert phantom.rod_spacing_mm == model.pitch_mm
    assert [(r.density_mg_cm3, r.water_mg_cm3) for r in phantom.rods] == [
        (r.density_mg_cm3, r.water_mg_cm3) for r in model.rods
    ]
