"""A scanner's certificate: which one fits a scan, on which day it holds, and what the header says of the scanner."""

from datetime import date

import pytest
from pydicom.dataset import Dataset

from segmenter.density.asynchronous import by_certificate
from segmenter.density.calibration import CalibrationMode, Material
from segmenter.density.scanner import Scanner, read_scanner
from segmenter.density.settings import AsynchronousSettings

SCANNER = Scanner("Maker", "Model 64", "CT1", "4711", 120.0, "B30f", date(2026, 6, 1))


def certificate(**changes) -> AsynchronousSettings:
    content = {
        "manufacturer": "MAKER ",
        "model": "model  64",
        "station_name": "CT1",
        "kvp": 120,
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
    "changes",
    [
        {"manufacturer": "Other"},
        {"model": "Model 16"},
        {"station_name": "CT2"},
        {"device_serial": "1"},
        {"kvp": 100},
        {"kernel": "B60s"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_scanner_voltage_or_kernel_does_not_fit(changes: dict):
    calibration = by_certificate((certificate(**changes),), SCANNER)
    assert calibration.mode is CalibrationMode.NONE
    assert "no certificate fits the scanner Maker Model 64 CT1 at 120 kV" in calibration.warnings[0]


def test_a_scan_that_does_not_say_its_voltage_is_not_calibrated():
    assert not by_certificate((certificate(),), Scanner("Maker", "Model 64", "CT1")).usable


def test_the_certificate_of_the_kernel_goes_first():
    both = (certificate(), certificate(kernel="b30f", slope_hu_per_mg_cm3=1.4))
    assert by_certificate(both, SCANNER).slope_hu_per_mg_cm3 == 1.4


def test_two_that_fit_alike_are_not_chosen_between():
    calibration = by_certificate((certificate(), certificate(intercept_hu=5.0)), SCANNER)
    assert calibration.mode is CalibrationMode.NONE
    assert "2 certificates fit" in calibration.warnings[0]


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
    assert "without a name" in by_certificate((certificate(),), Scanner()).warnings[0]
