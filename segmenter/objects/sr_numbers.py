"""Measured values as numbers of a structured report (TID 300): coded, with unit, densities with their material."""

import math
from collections.abc import Iterator

from highdicom.sr import (
    CodeContentItem,
    ContentSequence,
    Measurement,
    NumContentItem,
    RelationshipTypeValues,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from segmenter.density.calibration import Calibration, CalibrationMode, Material, Rod
from segmenter.measure.records import Asymmetry, Neck, Region
from segmenter.objects import codes as own
from segmenter.read.series import Series
from segmenter.read.slices import number_of
from segmenter.volume.femur import Confidence

HU = codes.UCUM.HounsfieldUnit
ATTENUATION = codes.DCM.AttenuationCoefficient
MEAN = codes.SCT.Mean
LINE_DIGITS = 6  # so that others can calculate with the line


def number(
    name: Code, value: float, unit: Code, digits: int, *, derivation: Code | None = None, method: Code | None = None
) -> Measurement:
    """Return a number, rounded to its significant digits."""
    assert math.isfinite(value), f"{name.meaning} is not a number"
    return Measurement(name, round(float(value), digits), unit, derivation=derivation, method=method)


def region_numbers(region: Region, calibration: Calibration) -> Iterator[Measurement]:
    """Yield the measurements of a region; densities carry their material and method."""
    yield number(
        codes.SCT.Volume, region.volume_ml, codes.UCUM.CubicCentimeter, 3,
        method=codes.DCM.SumOfSegmentedVoxelMethodForVolume,
    )  # fmt: skip
    yield number(ATTENUATION, region.mean_hu, HU, 2, derivation=MEAN)
    yield number(ATTENUATION, region.sd_hu, HU, 2, derivation=codes.SCT.StandardDeviation)
    material = region.equivalent_material
    if material is None:
        return
    assert material is calibration.material, "the density and its calibration have different materials"
    if region.vbmd_mg_cm3 is not None:
        density = number(own.VBMD[material], region.vbmd_mg_cm3, own.MG_PER_CM3, 3, derivation=MEAN)
        yield _calibrated(density, material, calibration.mode)
    if region.bmc_g is not None:
        yield _calibrated(number(own.BMC[material], region.bmc_g, own.GRAM, 3), material, calibration.mode)


def neck_numbers(neck: Neck) -> tuple[Measurement, ...]:
    """Return the measurements of a neck's shape."""
    return (
        number(own.NECK_SHAFT_ANGLE, neck.neck_shaft_angle_deg, codes.UCUM.Degree, 1),
        number(own.NECK_AREA, neck.narrowest_area_mm2, codes.UCUM.SquareMillimeter, 1),
    )


def confidence_numbers(confidence: Confidence) -> Iterator[Measurement]:
    """Yield the figure behind a confidence, where the method has one."""
    if confidence.width_mm is not None:
        yield number(own.OUTLINE_WIDTH, confidence.width_mm, own.MILLIMETER, 2)


def asymmetry_numbers(asymmetry: Asymmetry, calibration: Calibration) -> Iterator[Measurement]:
    """Yield the differences between left and right."""
    yield number(own.ASYMMETRY_VOLUME, asymmetry.volume_percent, own.PERCENT, 2)
    yield number(own.ASYMMETRY_HU, asymmetry.mean_hu_difference, HU, 2)
    for name, value in (
        (own.ASYMMETRY_VBMD, asymmetry.vbmd_percent),
        (own.ASYMMETRY_BMC, asymmetry.bmc_percent),
    ):
        if value is not None and calibration.material is not None:
            yield _calibrated(number(name, value, own.PERCENT, 2), calibration.material, calibration.mode)


def calibration_numbers(calibration: Calibration, series: Series) -> Iterator[Measurement]:
    """Yield the line, the rods it was fitted to, and the acquisition parameters that affect HU."""
    for name, value, unit in (
        (own.SLOPE, calibration.slope_hu_per_mg_cm3, own.HU_PER_MG_PER_CM3),
        (own.INTERCEPT, calibration.intercept_hu, HU),
        (own.R2, calibration.r2, codes.UCUM.NoUnits),
        (codes.DCM.KVP, series.kvp, own.KILOVOLT),
        (codes.DCM.SliceThickness, number_of(series.header, "SliceThickness"), own.MILLIMETER),
    ):
        if value is not None:
            yield number(name, value, unit, LINE_DIGITS)
    yield from map(_rod, calibration.rods)


def _rod(rod: Rod) -> Measurement:
    """Return the HU of a rod; its density and its noise are properties of that number."""
    measured = number(own.ROD_HU, rod.hu, HU, 2, derivation=MEAN)
    for name, value, unit in (
        (own.ROD_DENSITY, rod.density_mg_cm3, own.MG_PER_CM3),
        (codes.SCT.StandardDeviation, rod.sd_hu, HU),
    ):
        item = NumContentItem(name, round(value, 2), unit, relationship_type=RelationshipTypeValues.HAS_PROPERTIES)
        measured[0].ContentSequence.append(item)
    return measured


def _calibrated(density: Measurement, material: Material, mode: CalibrationMode) -> Measurement:
    """Add the equivalent material and the calibration method to a density, as modifiers of its concept."""
    item = density[0]
    if "ContentSequence" not in item:
        item.ContentSequence = ContentSequence()
    for name, value in (
        (own.EQUIVALENT_MATERIAL, own.MATERIALS[material]),
        (own.CALIBRATION_METHOD, own.CALIBRATION_METHODS[mode]),
    ):
        item.ContentSequence.append(CodeContentItem(name, value, RelationshipTypeValues.HAS_CONCEPT_MOD))
    return density
