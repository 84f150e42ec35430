"""The line through the rods of a phantom, and the checks that warn about it or refuse it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.density.calibration import Calibration, CalibrationMode, Rod, uncalibrated
from segmenter.density.calibration_line import Line
from segmenter.density.find_phantom import Found
from segmenter.density.rods import RodSlices
from segmenter.density.row_search import LEAST_HU
from segmenter.density.template import LEAST_R2, FloatArray, Template, plausible

WARN_R2 = 0.98  # this and LEAST_R2 as in Ogo (Michalski et al. 2020)
WARN_TILT_DEG, MOST_TILT_DEG = 3.0, 10.0
WARN_NOISE_HU, MOST_NOISE_HU = 60.0, 150.0  # standard deviation of a rod's voxels within a slice
# Of a rod from the line: r2 hardly falls where one of a wide range lies off. So far off, it is another phantom.
WARN_OFF_MG_CM3, MOST_OFF_MG_CM3 = 5.0, 20.0
WARN_CHANGE_HU = 12.0  # along the table: cupping, a heel effect, or a phantom partly outside the field
WARN_SCALE = 0.03
WARN_OVERSHOOT = 0.06
UNEVEN, UNEVEN_HU = 2.0, 15.0  # times the usual spread of the rods, and at least by this
SPOILT, SPOILT_HU = 3.0, 20.0  # a rod beyond this is not used
LEAST_SLICES, LEAST_SHARE = 5, 0.5  # of a rod: with fewer it counts as missing
LEAST_RODS, MOST_MISSING = 3, 1


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit to the rods that are not missing. hu: of all rods `(n,)`, NaN where missing; expected: by the line."""

    line: Line
    hu: FloatArray
    used: NDArray[np.bool_]
    expected: FloatArray

    @property
    def off_mg_cm3(self) -> float:
        """Distance of the worst rod from the line."""
        return float(np.nanmax(np.abs(self.hu - self.expected))) / self.line.slope


def calibration_of(found: Found) -> Calibration:
    """Return the calibration by a phantom with its warnings; mode NONE with the reason if a check refuses it."""
    used = _undisturbed(found.rods)
    name = found.template.settings.title
    if (~used).sum() > MOST_MISSING or used.sum() < LEAST_RODS:
        return uncalibrated(
            f"the phantom {name} shows {used.sum()} of {len(used)} rods undisturbed: too few for a line"
        )
    if not (used[0] and used[-1]):
        return uncalibrated(
            f"the phantom {name} does not show the rod at an end of its row: "
            "the same rods shifted by one place would fit as well"
        )
    hu = np.array([rod.hu if ok else np.nan for rod, ok in zip(found.rods, used, strict=True)])
    line = found.form.fit(hu, used)
    fit = Fit(line, hu, used, found.form.expected(line))
    if why := _refusal(found, fit):
        return uncalibrated(f"the phantom {name} {why}")
    settings = found.template.settings
    return Calibration(
        CalibrationMode.PHANTOM,
        settings.equivalent_material,
        line.slope,
        line.intercept,
        line.r2,
        settings.name,
        settings.serial,
        settings.certificate_date.isoformat() if settings.certificate_date else "",
        _rods(found, fit),
        tuple(_warnings(found, fit)),
        found.placement.tilt_deg,
    )


def _undisturbed(rods: Sequence[RodSlices]) -> NDArray[np.bool_]:
    """Return which rods are usable: enough consistent slices, and noise within them like that of the other rods."""
    steady = np.array([rod.slices >= LEAST_SLICES and rod.share >= LEAST_SHARE and rod.hu >= LEAST_HU for rod in rods])
    if not steady.any():
        return steady
    spread = np.array([rod.sd_hu if ok else np.inf for rod, ok in zip(rods, steady, strict=True)])
    usual = float(np.median(spread[steady]))
    result: NDArray[np.bool_] = spread <= SPOILT * usual + SPOILT_HU
    return result


def _refusal(found: Found, fit: Fit) -> str:
    line, tilt = fit.line, found.placement.tilt_deg
    noise = max(rod.sd_hu for rod, ok in zip(found.rods, fit.used, strict=True) if ok)
    other = other_way(found.form, fit.hu, fit.used)
    if not plausible(line.slope, line.intercept, line.r2):
        return (
            f"gives an implausible line (slope {line.slope:.3f} HU per mg/cm3, intercept "
            f"{line.intercept:.0f} HU, r2 {line.r2:.3f}, at least {LEAST_R2:g} is needed): "
            "compare the settings with the certificate"
        )
    if fit.off_mg_cm3 > MOST_OFF_MG_CM3:
        return f"has a rod {fit.off_mg_cm3:.0f} mg/cm3 off the line: compare the settings with the certificate"
    if plausible(other.slope, other.intercept, other.r2):
        return "fits in both directions: the rods cannot be told apart"
    if tilt > MOST_TILT_DEG:
        return (
            f"is tilted by {tilt:.1f} degrees against the table's axis, {MOST_TILT_DEG:g} are allowed: "
            "place it straight"
        )
    if noise > MOST_NOISE_HU:
        return f"has a noise of {noise:.0f} HU in its rods, {MOST_NOISE_HU:g} are allowed"
    return ""


def other_way(form: Template, hu: FloatArray, used: NDArray[np.bool_]) -> Line:
    """Return the line that the same rods give with the phantom's other end first."""
    return form.mirrored.fit(hu, used)


def _rods(found: Found, fit: Fit) -> tuple[Rod, ...]:
    """Return the rods that were used, by density."""
    rods = [
        Rod(float(density), rod.hu, rod.sd_hu, rod.slices, float(expected))
        for density, rod, expected, ok in zip(found.form.densities, found.rods, fit.expected, fit.used, strict=True)
        if ok
    ]
    return tuple(sorted(rods, key=lambda rod: (rod.density_mg_cm3, rod.hu)))


def _warnings(found: Found, fit: Fit) -> list[str]:
    """Return a sentence for each check that failed without refusing the phantom."""
    used = [rod for rod, ok in zip(found.rods, fit.used, strict=True) if ok]
    name, place, line = found.template.settings.title, found.placement, fit.line
    noise = np.array([rod.sd_hu for rod in used])
    change = max((rod.change_hu for rod in used), key=abs)
    missing = found.form.densities[~fit.used]
    uneven = (noise > UNEVEN * np.median(noise)) & (noise > np.median(noise) + UNEVEN_HU)
    checks = (
        (line.r2 < WARN_R2, f"r2 of the line is {line.r2:.3f}, below {WARN_R2:g}"),
        (len(missing) > 0, f"the rod of {_list(missing)} mg/cm3 is disturbed and was left out"),
        (fit.off_mg_cm3 > WARN_OFF_MG_CM3, f"a rod lies {fit.off_mg_cm3:.0f} mg/cm3 off the line"),
        (noise.max() > WARN_NOISE_HU, f"noise in the rods is {noise.max():.0f} HU, above {WARN_NOISE_HU:g}"),
        (bool(uneven.any()), "a rod is much more uneven than the others: look for streaks or an air bubble"),
        (abs(change) > WARN_CHANGE_HU, f"a rod changes by {change:.0f} HU along the table"),
        (place.tilt_deg > WARN_TILT_DEG, f"it lies {place.tilt_deg:.1f} degrees off the table's axis"),
        (
            abs(place.scale - 1) > WARN_SCALE,
            f"its rods lie {100 * (place.scale - 1):+.0f} % farther apart than the settings say",
        ),
        (
            found.overshoot > WARN_OVERSHOOT,
            f"its edges overshoot by {100 * found.overshoot:.0f} %: the kernel is sharp, and bone comes out too dense",
        ),
        (not found.template.settings.certificate_date, "the settings give no date of its certificate"),
    )
    return [f"calibration phantom {name}: {sentence}" for wrong, sentence in checks if wrong]


def _list(densities: FloatArray) -> str:
    return ", ".join(f"{density:g}" for density in densities)
