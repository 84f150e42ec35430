"""A scanner's certificate: which one fits a scan, on which day it holds, and what the header says of the scanner."""

from dataclasses import replace
from datetime import date

import pytest
from pydicom.dataset import Dataset

from segmenter.density.asynchronous import by_certificate
from segmenter.density.calibration import CalibrationMode, Material
from segmenter.density.scanner import Scanner, read_scanner
from segmenter.density.settings import AsynchronousSettings
from segmenter.read.image_kind import Beam

SCANNER = Scanner("Maker", "Model 64", "CT1", "4711", 120.0, "B30f", date(2026, 6, 1))


def certificate(**changes) -> AsynchronousSettings:
    content = {
        "manufacturer": "MAKER ",
        "model": "model  64",
        "station_name": "CT1",
        "kvp": 120,
        "kernel": "B30f",
        "slope_hu_per_mg_cm3": 1.3,
        "intercept_hu": 2.0,
        "equivalent_material": "HA",
        "certificate_date": "2026-01-01",
        "valid_until": "2026-12-31",
    }
    return AsynchronousSettings(**content | changes)


def test_the_fitting_certificate_gives_its_line():
    calibration = by_certificate((certificate(kvp=100), certificate(device_serial="4711")), SCANNER)
    assert calibration.mode is CalibrationMode.ASYNCHRONOUS
    assert calibration.material is Material.HA
    assert (calibration.slope_hu_per_mg_cm3, calibration.intercept_hu) == (1.3, 2.0)
    assert calibration.certificate_date == "2026-01-01"
    assert (calibration.rods, calibration.warnings, calibration.r2) == ((), (), None)
    assert calibration.density(132.0) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"manufacturer": "Other"}, "names another manufacturer than the scan"),
        ({"model": "Model 16"}, "names another model than the scan"),
        ({"station_name": "CT2"}, "names another station name than the scan"),
        ({"device_serial": "1"}, "names another serial number than the scan"),
        ({"kvp": 100}, "is for 100 kV, and the scan was made at 120 kV"),
        ({"kernel": "B60s"}, "is for the kernel B60s, and the scan has another kernel"),
        (
            {"image": "monoenergetic", "kev": 70},
            "is for monoenergetic at 70 keV images, and those of the scan are polychromatic",
        ),
        ({"kvp": 80, "device_serial": "1"}, "names another serial number than the scan, is for 80 kV"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_certificate_that_does_not_fit_says_in_what(changes: dict, told: str):
    calibration = by_certificate((certificate(**changes),), SCANNER)
    assert calibration.mode is CalibrationMode.NONE
    station = changes.get("station_name", "CT1")
    assert calibration.warnings[0].startswith(
        f"no certificate fits this scan: that of {station} from 2026-01-01 {told}"
    )


def test_the_nearest_certificates_are_named():
    others = (certificate(kvp=80), certificate(kvp=100, model="X"), certificate(device_serial="9", station_name=""))
    (told,) = by_certificate(others, SCANNER).warnings
    assert "is for 80 kV" in told
    assert "that of 9 from 2026-01-01 names another serial number" in told
    assert "another model" not in told


def test_what_the_header_says_is_not_repeated():
    odd = Scanner("M\x1b[2J", "Müller^Eva", "4711", "1970-01-01", None, "\x1b]0;x", date(2026, 6, 1))
    (told,) = by_certificate((certificate(device_serial="1"),), odd).warnings
    assert told.isascii()
    assert not [word for word in ("Eva", "1970", "\x1b", " 0 kV") if word in told]


def test_a_scan_that_does_not_say_its_voltage_is_not_calibrated():
    calibration = by_certificate((certificate(),), replace(SCANNER, kvp=None))
    assert not calibration.usable
    assert "is for 120 kV, and the scan does not state its tube voltage" in calibration.warnings[0]
    bare = by_certificate((certificate(),), Scanner())
    assert "names the manufacturer, which the scan does not state" in bare.warnings[0]
    assert "the scan does not state its kernel" in bare.warnings[0]
    assert by_certificate((), SCANNER).warnings == ("the settings hold no certificate",)


def test_the_certificate_of_the_kernel_goes_first():
    both = (certificate(kernel=""), certificate(kernel="b30f", slope_hu_per_mg_cm3=1.4))
    assert by_certificate(both, SCANNER).slope_hu_per_mg_cm3 == 1.4


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("Br38f", "Br38f", True),
        ("br38F ", "Br38f\\3", True),
        ("Br38f\\3", "Br38f\\3", True),
        ("Br38f\\3", "Br38f\\2", False),
        ("Br38f\\3", "Br38f", False),
        ("3", "Br38f\\3", False),
        ("Br38", "Br38f", False),
        ("Br38f", "", False),
    ],
)
def test_a_kernel_with_the_strength_of_a_noise_reduction_is_that_kernel(wanted: str, found: str, fits: bool):
    calibration = by_certificate((certificate(kernel=wanted),), replace(SCANNER, kernel=found))
    assert calibration.usable == fits
    if fits:
        assert calibration.warnings == ()


def test_of_two_kernels_the_one_with_the_strength_goes_first():
    both = (certificate(kernel="Br38f"), certificate(kernel="Br38f\\3", slope_hu_per_mg_cm3=1.4))
    assert by_certificate(both, replace(SCANNER, kernel="Br38f\\3")).slope_hu_per_mg_cm3 == 1.4
    assert by_certificate(both, replace(SCANNER, kernel="Br38f\\2")).slope_hu_per_mg_cm3 == 1.3


@pytest.mark.parametrize("kernel", ["B30f", "STANDARD", "", "Qr40\\2", "FC08", "B", "anything"])
def test_a_certificate_without_a_kernel_says_so(kernel: str):
    calibration = by_certificate((certificate(kernel=""),), replace(SCANNER, kernel=kernel))
    assert calibration.usable
    assert "names no kernel" in calibration.warnings[0]


@pytest.mark.parametrize(
    "kernel",
    ["B60s", "Br59f", "Hr64\\3", "U90u", "BONEPLUS", "lung", "HD Edge", "SHARP", "FC30", "FC52", "YC", "L", "D"],
)
def test_a_sharp_kernel_needs_a_certificate_that_names_it(kernel: str):
    scanner = replace(SCANNER, kernel=kernel)
    refused = by_certificate((certificate(kernel=""),), scanner)
    assert not refused.usable
    assert "names no kernel, and that of the scan is sharp" in refused.warnings[0]
    named = by_certificate((certificate(kernel=""), certificate(kernel=kernel)), scanner)
    assert (named.usable, named.warnings) == (True, ())


@pytest.mark.parametrize(
    ("image", "kev", "beam", "scan_kev", "fits"),
    [
        ("polychromatic", None, Beam.POLYCHROMATIC, None, True),
        ("polychromatic", None, Beam.MONOENERGETIC, 70.0, False),
        ("polychromatic", None, Beam.MULTI_ENERGY, None, False),
        ("monoenergetic", 70.0, Beam.MONOENERGETIC, 70.0, True),
        ("monoenergetic", 70.0, Beam.MONOENERGETIC, 140.0, False),
        ("monoenergetic", 70.0, Beam.MONOENERGETIC, None, False),
        ("monoenergetic", 70.0, Beam.POLYCHROMATIC, None, False),
        ("multi-energy", None, Beam.MULTI_ENERGY, None, True),
        ("multi-energy", None, Beam.POLYCHROMATIC, None, False),
    ],
)
def test_a_certificate_fits_one_kind_of_image(
    image: str, kev: float | None, beam: Beam, scan_kev: float | None, fits: bool
):
    scanner = replace(SCANNER, beam=beam, kev=scan_kev)
    assert by_certificate((certificate(image=image, kev=kev),), scanner).usable == fits


def test_two_that_fit_alike_are_not_chosen_between():
    calibration = by_certificate((certificate(), certificate(intercept_hu=5.0)), SCANNER)
    assert calibration.mode is CalibrationMode.NONE
    assert "2 certificates fit" in calibration.warnings[0]
    assert "that of CT1 from 2026-01-01" in calibration.warnings[0]


@pytest.mark.parametrize(
    ("scanned", "warning"),
    [
        (date(2026, 12, 31), None),
        (date(2027, 1, 1), "expired on 2026-12-31"),
        (date(2025, 12, 31), "of 2026-01-01 was issued after the scan"),
        (None, "the scan has no date"),
    ],
)
def test_the_day_of_the_scan_decides_whether_it_holds(scanned: date | None, warning: str | None):
    scanner = Scanner("Maker", "Model 64", "CT1", "4711", 120.0, "B30f", scanned)
    calibration = by_certificate((certificate(),), scanner)
    assert calibration.usable
    assert [warning in told for told in calibration.warnings] == ([True] if warning else [])


def test_the_header_of_a_plain_image_is_read():
    header = Dataset()
    header.Manufacturer, header.ManufacturerModelName, header.StationName = "Maker", "Model 64", "CT1"
    header.DeviceSerialNumber, header.KVP, header.ConvolutionKernel = "4711", "120", ["Br40d", "3"]
    header.StudyDate, header.AcquisitionDate = "20260102", "20260101"
    assert read_scanner(header) == Scanner("Maker", "Model 64", "CT1", "4711", 120.0, "Br40d\\3", date(2026, 1, 1))


def test_an_enhanced_image_says_it_in_its_groups():
    header, shared, frame, rays, kernel = (Dataset() for _ in range(5))
    header.Manufacturer, header.AcquisitionDateTime = "Maker", "20260304101500.5"
    rays.KVP, kernel.ConvolutionKernel = "100", "STANDARD"
    shared.CTXRayDetailsSequence, frame.CTReconstructionSequence = [rays], [kernel]
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], [frame]
    assert read_scanner(header) == Scanner("Maker", kvp=100.0, kernel="STANDARD", scan_date=date(2026, 3, 4))


def test_a_header_without_anything_is_a_scanner_without_a_name():
    assert read_scanner(Dataset()) == Scanner()
    header = Dataset()
    header.add_new("StudyDate", "DA", "")
    header.SharedFunctionalGroupsSequence = []
    assert read_scanner(header) == Scanner()
