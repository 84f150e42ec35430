"""How a scan is calibrated in each mode: phantom, certificate, both, or none, and what is said about it."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct
from pydicom.dataset import Dataset
from qct_factory import AXIAL, MODELS, Scene, phantom_settings

from segmenter.density.calibrate import calibrate, fitting
from segmenter.density.calibration import UNCALIBRATED, Calibration, CalibrationMode, Material
from segmenter.density.scanner import Scanner
from segmenter.density.settings import AsynchronousSettings, DensitySettings
from segmenter.read.image_kind import Beam, ImageKind
from segmenter.read.series import Series, read_series

SCENE = Scene(MODELS["qrm-bdc"], slope=1.25, intercept=4.0)


@pytest.fixture(scope="module")
def volumes() -> dict[bool, np.ndarray]:
    """Scans with and without the phantom."""
    return {True: SCENE.draw(AXIAL), False: Scene(with_rods=False).draw(AXIAL)}


@pytest.fixture(scope="module")
def series() -> Series:
    header = Dataset()
    header.Manufacturer, header.ManufacturerModelName, header.StationName = "Maker", "M", "CT1"
    header.KVP, header.StudyDate, header.ConvolutionKernel = "120", "20260601", "B30f"
    return Series(header, (), AXIAL)


def settings(mode: str, *, slope: float = 1.25, material: str = "HA", station: str = "CT1") -> DensitySettings:
    certificate = AsynchronousSettings(
        manufacturer="Maker", model="M", station_name=station, kvp=120, kernel="B30f",
        slope_hu_per_mg_cm3=slope, intercept_hu=4.0, equivalent_material=material,
        certificate_date="2026-01-01", valid_until="2027-01-01",
    )  # fmt: skip
    return DensitySettings(mode=mode, phantoms=(phantom_settings(SCENE.model),), asynchronous=(certificate,))


MODES = [
    ("none", True, "none"),
    ("auto", True, "phantom"),
    ("auto", False, "asynchronous"),
    ("phantom", True, "phantom"),
    ("phantom", False, "none"),
    ("asynchronous", True, "asynchronous"),
    ("asynchronous", False, "asynchronous"),
]


@pytest.mark.parametrize(("mode", "present", "result"), MODES)
def test_the_mode_decides_what_is_used(volumes, series, mode: str, present: bool, result: str):
    calibration = calibrate(volumes[present], series, [], settings(mode))
    assert calibration.mode == result
    if mode == "none":
        assert calibration == UNCALIBRATED
    elif not present and mode != "asynchronous":
        assert "no calibration phantom was found (QRM-BDC T1: " in calibration.warnings[0]
    else:
        assert calibration.warnings == ()
    if calibration.usable:
        assert calibration.material is Material.HA
        assert calibration.density(129.0) == pytest.approx(100.0, abs=2)


def test_nothing_that_fits_leaves_both_reasons(volumes, series):
    calibration = calibrate(volumes[False], series, [], settings("auto", station="CT9"))
    assert calibration.mode is CalibrationMode.NONE
    assert [warning[:14] for warning in calibration.warnings] == ["no calibration", "no certificate"]


@pytest.mark.parametrize(
    ("slope", "material", "told"),
    [(1.27, "HA", False), (1.35, "HA", True), (1.35, "K2HPO4", False)],
    ids=["agree", "disagree", "other material: not compared"],
)
def test_a_phantom_is_checked_against_the_certificate(volumes, series, slope: float, material: str, told: bool):
    calibration = calibrate(volumes[True], series, [], settings("auto", slope=slope, material=material))
    assert calibration.mode is CalibrationMode.PHANTOM
    assert calibration.material is Material.HA
    assert [("one of them is no longer valid" in warning) for warning in calibration.warnings] == [True] * told


def test_only_the_phantoms_of_this_scanner_are_looked_for(volumes, series):
    other = phantom_settings(SCENE.model, station_name="CT2")
    calibration = calibrate(volumes[True], series, [], DensitySettings(mode="auto", phantoms=(other,)))
    assert calibration.mode is CalibrationMode.NONE
    assert "belongs to this scanner" in calibration.warnings[0]
    mine, anybodys = phantom_settings(SCENE.model, station_name="ct1"), phantom_settings(SCENE.model)
    scanner = Scanner("Maker", "M", "CT1", scan_date=date(2026, 1, 1))
    assert fitting((other, mine, anybodys), scanner) == (mine, anybodys)


def test_the_same_scan_gives_the_same_line(volumes, series):
    first, second = (calibrate(volumes[True], series, [], settings("auto")) for _ in range(2))
    assert first == second
    assert isinstance(first, Calibration)


@pytest.mark.parametrize("mode", ["auto", "phantom", "asynchronous"])
@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"kvp": 80.0}, {"kvp": 120.0}, "made at 80 and 120 kV"),
        ({"kernel": "B30f"}, {"kernel": "B60s"}, "reconstructed with 2 different kernels"),
        ({}, {"beam": Beam.MONOENERGETIC, "kev": 70.0}, "of different kinds (monoenergetic at 70 keV, polychromatic)"),
    ],
    ids=["voltage", "kernel", "kind"],
)
def test_no_line_is_given_to_slices_that_differ(
    volumes, series, tmp_path, mode: str, one: dict, other: dict, told: str
):
    plain = {"kvp": 120.0, "kernel": "B30f"}
    slices = read_series(write_ct(tmp_path, CtSpec())).slices
    for first, last in ((one, other), (other, one)):  # whichever slice comes first
        mixed = tuple(
            replace(plane, kind=ImageKind(**plain | (first if n < 10 else last))) for n, plane in enumerate(slices)
        )
        calibration = calibrate(volumes[True], replace(series, slices=mixed), [], settings(mode))
        assert calibration.mode is CalibrationMode.NONE
        assert told in calibration.warnings[0]


def test_a_voltage_that_some_slices_do_not_state_fits_no_certificate(volumes, series, tmp_path):
    kinds = [ImageKind(kvp=120.0 if n else None, kernel="B30f") for n in range(20)]
    slices = read_series(write_ct(tmp_path, CtSpec())).slices
    partly = replace(series, slices=tuple(replace(plane, kind=kind) for plane, kind in zip(slices, kinds, strict=True)))
    refused = calibrate(volumes[True], partly, [], settings("asynchronous"))
    assert "does not state its tube voltage" in refused.warnings[0]
    assert calibrate(volumes[True], partly, [], settings("auto")).mode is CalibrationMode.PHANTOM
