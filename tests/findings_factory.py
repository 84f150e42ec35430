"""Made-up findings of a scan, for tests of the objects and pages written from them."""

from dataclasses import replace
from datetime import datetime

from segmenter.density.calibration import Calibration, CalibrationMode, Material, Rod
from segmenter.measure.findings import Findings
from segmenter.measure.records import Asymmetry, FemurMeasurements, Measurements, Neck, Plane, Region
from segmenter.objects.common import ResultIdentity

IDENTITY = ResultIdentity("femur-vnet", "1.2.3", "ab" * 32, "cd" * 32, datetime(2024, 5, 2, 8, 9, 10, 250000))

ROD_DENSITIES = (-51.83, -53.4, 58.88, 157.05, 375.83)


def phantom(material: Material = Material.K2HPO4) -> Calibration:
    """A line of 1.25 HU per mg/cm3 through five rods, each a little off."""
    rods = tuple(
        Rod(density, 1.25 * density + 4.5 + offset, 8.5, 40, 1.25 * density + 4.5)
        for density, offset in zip(ROD_DENSITIES, (1.0, -2.0, 3.0, -1.5, 0.5), strict=True)
    )
    return Calibration(
        CalibrationMode.PHANTOM, material, 1.25, 4.5, 0.9987, "Mindways Model 3 CT", "M3-0815", "2023-11-30", rods
    )


def certificate(material: Material = Material.HA) -> Calibration:
    """A line of an earlier measurement, without rods in the scan."""
    return Calibration(
        CalibrationMode.ASYNCHRONOUS, material, 0.9, -2.0, None, "QRM-BDC", "77", "2024-02-29",
        warnings=("the certificate is older than a year",),
    )  # fmt: skip


def region(name: str, volume_ml: float, hu: float, calibration: Calibration) -> Region:
    if not calibration.usable:
        return Region(name, volume_ml, round(volume_ml * 66), hu, 312.25)
    density = float(calibration.density(hu))
    return Region(
        name, volume_ml, round(volume_ml * 66), hu, 312.25, density, density * volume_ml / 1000, calibration.material
    )


def femur(side: str, calibration: Calibration, size: float = 1.0) -> FemurMeasurements:
    """A whole femur with all regions and a neck that passed its checks."""
    sizes = (
        ("integral", 180.5, 354.5), ("total", 121.25, 379.5), ("neck", 21.5, 404.5), ("cortical", 60.25, 829.5),
        ("trabecular", 120.25, 129.5),
    )  # fmt: skip
    return FemurMeasurements(
        side=side,
        complete=True,
        incomplete_reasons=(),
        regions=tuple(region(name, volume * size, hu, calibration) for name, volume, hu in sizes),
        total_rule="100 mm below the top of the head",
        total_plane=Plane((0.0, 0.0, -420.0), (0.0, 0.0, -1.0)),
        neck=Neck((0.0, -30.0, -410.0), (0.7071, 0.0, 0.7071), 127.3, 812.4),
    )


def findings(calibration: Calibration, *sides: str) -> Findings:
    """Femurs of the sides; two are compared."""
    femurs = tuple(femur(side, calibration) for side in sides)
    compared = Asymmetry("total", 1.25, -12.5, *((-2.5, 0.75) if calibration.usable else ()))
    return Findings(Measurements(femurs, (compared,) if len(sides) == 2 else ()), calibration)


def cut_femur(side: str, calibration: Calibration) -> FemurMeasurements:
    """A femur whose head is missing: no neck, nothing beyond the mask, and many warnings."""
    whole = femur(side, calibration)
    return replace(
        whole,
        complete=False,
        incomplete_reasons=("head cut off by the scan",),
        regions=whole.regions[:1],
        total_rule="",
        total_plane=None,
        neck=None,
        metal_suspected=True,
        warnings=("metal within 10 mm of the bone: densities near it are wrong",),
    )
