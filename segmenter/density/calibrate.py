"""Calibrate one scan: by a phantom in it, by its scanner's certificate, or not at all with the reason."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.density.asynchronous import by_certificate
from segmenter.density.calibration import UNCALIBRATED, Calibration, uncalibrated
from segmenter.density.find_phantom import Found, apart, find_phantoms
from segmenter.density.quality_gates import WARN_R2, calibration_of
from segmenter.density.scanner import Scanner, read_scanner, same
from segmenter.density.settings import DensitySettings, PhantomSettings
from segmenter.density.thick_slabs import make_blocks
from segmenter.density.tissue_check import contradicts_certificate, doubts_of_phantom, find_tissues
from segmenter.read.series import Series
from segmenter.volume.geometry import Geometry

COMPARED_AT_MG_CM3 = 200.0  # a typical density in a hip
APART_MG_CM3 = 10.0
TWO_APART_MG_CM3 = 5.0  # of two phantoms in one scan: noise alone makes them differ by 2


def calibrate(
    volume: NDArray[Any], series: Series, femur_masks: Iterable[NDArray[np.bool_]], settings: DensitySettings
) -> Calibration:
    """Return the calibration of a scan, for investigational use; with mode NONE `warnings` give the reason.

    volume: HU `(z, y, x)` on `series.geometry`, in any orientation. femur_masks: on the same grid; a phantom lies
    behind or in front of them.
    """
    if settings.mode == "none":
        return UNCALIBRATED
    scanner = read_scanner(series.header, series.slices)
    if scanner.differing:
        return uncalibrated(
            f"no line holds for the whole scan: {', '.join(scanner.differing)}; "
            "send each reconstruction as its own series"
        )
    tissues = find_tissues(volume, series.geometry)
    certificate = by_certificate(settings.asynchronous, scanner)
    if certificate.usable and (why := contradicts_certificate(tissues, scanner.beam)):
        certificate = uncalibrated(why)
    if settings.mode == "asynchronous":
        return certificate
    phantom = by_phantom(volume, series.geometry, femur_masks, fitting(settings.phantoms, scanner))
    if phantom.intercept_hu is not None:
        doubts = doubts_of_phantom(tissues, phantom.intercept_hu)
        return _compared(_with_warnings(phantom, (doubts,) if doubts else ()), certificate)
    if settings.mode == "phantom" or not settings.asynchronous:
        return phantom
    return _with_warnings(certificate, phantom.warnings)


def fitting(phantoms: tuple[PhantomSettings, ...], scanner: Scanner) -> tuple[PhantomSettings, ...]:
    """Return the phantoms that are used at this scanner."""
    return tuple(
        phantom
        for phantom in phantoms
        if all(
            same(wanted, seen)
            for wanted, seen in (
                (phantom.manufacturer, scanner.manufacturer),
                (phantom.model, scanner.model),
                (phantom.station_name, scanner.station_name),
            )
            if wanted
        )
    )


def by_phantom(
    volume: NDArray[Any], geometry: Geometry, masks: Iterable[NDArray[np.bool_]], phantoms: tuple[PhantomSettings, ...]
) -> Calibration:
    """Return the calibration by the one of these phantoms that is in the scan."""
    if not phantoms:
        return uncalibrated("no calibration phantom of the settings belongs to this scanner")
    blocks = make_blocks(volume, geometry, masks)
    seen = [(phantom, *find_phantoms(volume, geometry, blocks, phantom)) for phantom in phantoms]
    first = [(found, calibration_of(found)) for _, found, _ in seen if isinstance(found, Found)]
    if not first:
        reasons = "; ".join(f"{phantom.title}: {why}" for phantom, why, _ in seen)
        return uncalibrated(f"no calibration phantom was found ({reasons})")
    good = [(found, calibration) for found, calibration in first if calibration.usable]
    if not good:
        return uncalibrated("; ".join(warning for _, calibration in first for warning in calibration.warnings))
    chosen = choose([(found.form.count, calibration) for found, calibration in good])
    second = [(found, calibration_of(found)) for _, _, found in seen if found]
    return _undisputed(chosen, [*good, *second])


def _undisputed(chosen: Calibration, all_found: list[tuple[Found, Calibration]]) -> Calibration:
    """Return the chosen calibration; mode NONE if another phantom of its material elsewhere in the scan disagrees."""
    where = [found for found, calibration in all_found if calibration is chosen]
    for found, other in all_found if where else ():
        height = (found.placement.low_mm + found.placement.high_mm) / 2
        middle = found.placement.middle + height * found.placement.drift
        if not other.usable or other.material is not chosen.material or not apart(where[0], middle, height):
            continue
        assert chosen.slope_hu_per_mg_cm3 is not None
        assert chosen.intercept_hu is not None
        gives = float(other.density(chosen.slope_hu_per_mg_cm3 * COMPARED_AT_MG_CM3 + chosen.intercept_hu))
        if abs(gives - COMPARED_AT_MG_CM3) > TWO_APART_MG_CM3:
            return uncalibrated(
                f"two calibration phantoms lie in the scan and disagree: where {chosen.phantom} {chosen.serial} gives "
                f"{COMPARED_AT_MG_CM3:g} mg/cm3 the other one gives {gives:.0f}; scan one of them only"
            )
    return chosen


def choose(good: list[tuple[int, Calibration]]) -> Calibration:
    """Return the best of several calibrations with their numbers of rods; mode NONE if two are equally good.

    More rods are better; with as many rods, a good fit is better.
    """
    most = max(count for count, _ in good)
    rivals = [calibration for count, calibration in good if count == most]
    well = [calibration for calibration in rivals if (calibration.r2 or 0.0) >= WARN_R2] or rivals
    if len(well) == 1:
        return well[0]
    names = " and ".join(f"{calibration.phantom} {calibration.serial}".strip() for calibration in well)
    return uncalibrated(
        f"the rods fit {names} equally well: keep one of them in the settings, or give each its station_name"
    )


def _compared(phantom: Calibration, certificate: Calibration) -> Calibration:
    """Return the phantom's calibration, with a warning if the scanner's certificate disagrees."""
    if not certificate.usable or certificate.material is not phantom.material:
        return phantom
    assert phantom.slope_hu_per_mg_cm3 is not None
    assert phantom.intercept_hu is not None
    hu = phantom.slope_hu_per_mg_cm3 * COMPARED_AT_MG_CM3 + phantom.intercept_hu
    apart = float(certificate.density(hu)) - COMPARED_AT_MG_CM3
    if abs(apart) <= APART_MG_CM3:
        return phantom
    return _with_warnings(
        phantom,
        (
            f"where the phantom gives {COMPARED_AT_MG_CM3:g} mg/cm3 the scanner's certificate gives "
            f"{COMPARED_AT_MG_CM3 + apart:.0f}: one of them is no longer valid",
        ),
    )


def _with_warnings(calibration: Calibration, more: tuple[str, ...]) -> Calibration:
    return replace(calibration, warnings=(*more, *calibration.warnings))
