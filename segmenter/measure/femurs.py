"""The measurements of one scan: the regions and densities of every femur, and warnings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.density.calibration import Calibration
from segmenter.measure.anatomy import Anatomy, find_anatomy
from segmenter.measure.asymmetry import asymmetry
from segmenter.measure.options import STANDARD, MeasureOptions
from segmenter.measure.records import FemurMeasurements, Measurements
from segmenter.measure.regions import Voxels, regions
from segmenter.measure.suspicion import bright_vessels, metal_elsewhere, metal_near
from segmenter.measure.total import total_of
from segmenter.volume.coverage import NO_IMAGE_HU
from segmenter.volume.femur import Femur, Level, Side
from segmenter.volume.geometry import Geometry

METAL = "metal suspected in or near the bone: its densities cannot be relied on"
UNSURE = "the outline is uncertain: compare it with the images before any number is used"
CONTRAST = "contrast medium suspected ({}): densities may be too high"


@dataclass(frozen=True, eq=False)
class _Scan:
    volume: NDArray[Any]
    geometry: Geometry
    calibration: Calibration
    header_contrast: bool


def measure_femurs(
    femurs: Sequence[Femur],
    volume: NDArray[np.generic],
    geometry: Geometry,
    calibration: Calibration,
    options: MeasureOptions = STANDARD,
    header_contrast: bool = False,
) -> Measurements:
    """Return the measurements of the femurs of a scan, left first. For investigational use.

    volume: HU `(z, y, x)` on `geometry`, in any orientation. calibration: UNCALIBRATED leaves all densities None.
    header_contrast: whether the header names a contrast agent (PS3.3 C.7.6.4, Contrast/Bolus Agent).
    """
    scan = _Scan(volume, geometry, calibration, header_contrast)
    ordered = sorted(femurs, key=lambda femur: femur.side is not Side.LEFT)
    measured = tuple(_femur(femur, scan, options) for femur in ordered)
    unit = "mg/cm3" if calibration.usable else "HU"
    settings = (*options.described(), ("cortical_threshold_unit", unit))
    implant = metal_elsewhere(femurs, volume, geometry, options)
    return Measurements(measured, asymmetry(measured), settings, (implant,) if implant else ())


def _femur(femur: Femur, scan: _Scan, how: MeasureOptions) -> FemurMeasurements:
    if not femur.mask.any():
        warnings = ("the mask is empty: there is nothing to measure",)
        return FemurMeasurements(
            str(femur.side), femur.complete, femur.reasons, (), warnings=warnings, confidence=femur.confidence
        )
    anatomy = find_anatomy(femur, scan.geometry)
    voxels = Voxels.of(femur.mask, scan.volume, scan.geometry)
    total = total_of(anatomy, femur.reasons, how)
    metal = metal_near(femur.mask, scan.volume, scan.geometry, how)
    contrast = _contrast(femur, anatomy, scan, how)
    return FemurMeasurements(
        side=str(femur.side),
        complete=femur.complete,
        incomplete_reasons=femur.reasons,
        regions=tuple(regions(voxels, anatomy, scan.calibration, total.plane, how)),
        total_rule=total.rule,
        total_plane=total.plane,
        neck=anatomy.neck,
        metal_suspected=metal,
        contrast_suspected=bool(contrast),
        warnings=(
            *_unsure(femur),
            *anatomy.doubts,
            *total.warnings,
            *((METAL,) if metal else ()),
            *((CONTRAST.format(contrast),) if contrast else ()),
            *_no_image(voxels),
        ),
        landmarks=anatomy.landmarks,
        confidence=femur.confidence,
    )


def _unsure(femur: Femur) -> tuple[str, ...]:
    return (UNSURE,) if femur.confidence and femur.confidence.level is Level.LOW else ()


def _contrast(femur: Femur, anatomy: Anatomy, scan: _Scan, how: MeasureOptions) -> str:
    """Return the signs of contrast medium as text; empty if there are none."""
    signs = ["the header names an agent"] if scan.header_contrast else []
    if anatomy.head and bright_vessels(anatomy.head, femur, scan.volume, scan.geometry, how):
        signs.append("bright vessels in front of the hip")
    return ", ".join(signs)


def _no_image(voxels: Voxels) -> tuple[str, ...]:
    """Return a warning with the share of the mask outside the image; empty if there is none."""
    share = float((voxels.hu <= NO_IMAGE_HU).mean())
    return (f"{100 * share:.1f} % of the mask contains no image data",) if share > 0 else ()
