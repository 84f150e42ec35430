"""The content of the page as rows and sentences, without their layout."""

from collections.abc import Iterator
from dataclasses import dataclass

from segmenter.density.calibration import Calibration, CalibrationMode
from segmenter.measure.findings import Findings
from segmenter.measure.records import Asymmetry, FemurMeasurements, Region
from segmenter.objects.common import PRODUCT, VERSION, ResultIdentity
from segmenter.read.series import Series
from segmenter.volume.femur import Side

REGION_NAMES = {
    "integral": "whole mask",
    "total": "total proximal femur",
    "neck": "femoral neck",
    "cortical": "cortical",
    "trabecular": "trabecular",
}
UNCALIBRATED_SENTENCE = "not calibrated: HU only"


@dataclass(frozen=True)
class Table:
    """Numbers of one femur: titles and units of the columns, and rows of the same length."""

    titles: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table_of(femur: FemurMeasurements, calibration: Calibration) -> Table:
    """Return a row per region; columns for densities, with their material, only if the scan was calibrated."""
    titles: tuple[str, ...] = ("", "volume", "mean ± SD")
    units: tuple[str, ...] = ("", "mL", "HU")
    if calibration.usable and calibration.material is not None:
        titles += ("vBMD", "BMC")
        units += (f"mg/cm3 {calibration.material}", f"g {calibration.material}")
    return Table(titles, units, tuple(_row(region, femur, len(titles)) for region in femur.regions))


def _row(region: Region, femur: FemurMeasurements, columns: int) -> tuple[str, ...]:
    name = REGION_NAMES.get(region.name, region.name)
    if region.name == "neck" and femur.neck and femur.neck.problems:
        name += " (!)"
    cells = (
        name,
        f"{region.volume_ml:.1f}",
        f"{region.mean_hu:.0f} ± {region.sd_hu:.0f}",
        "" if region.vbmd_mg_cm3 is None else f"{region.vbmd_mg_cm3:.1f}",
        "" if region.bmc_g is None else f"{region.bmc_g:.2f}",
    )
    return cells[:columns]


def title_of(side: Side, femur: FemurMeasurements | None) -> str:
    """Return the heading of a side's half of the page."""
    if femur is None:
        return f"{side.capitalize()}: no proximal femur found"
    sure = f", confidence {femur.confidence.level}" if femur.confidence else ""
    return f"{side.capitalize()} proximal femur" + ("" if femur.complete else ", incomplete") + sure


def nothing_on(side: Side, findings: Findings) -> str:
    """Return the sentence below the view of the whole scan where a femur is missing."""
    if any(refusal.side is side for refusal in findings.refused):
        return "Bone on this side is not claimed to be a femur: see the warnings. Above: the whole scan."
    if findings.measurements.femurs:
        return "No proximal femur was found on this side. Above: the whole scan."
    return "No proximal femur was found in this scan, so nothing is measured."


def shape_of(femur: FemurMeasurements) -> str:
    """Return the measurements of a femur's shape, and the rule of its total region."""
    parts = []
    if femur.neck:
        parts.append(f"neck-shaft angle {femur.neck.neck_shaft_angle_deg:.0f} deg")
        parts.append(f"narrowest neck {femur.neck.narrowest_area_mm2 / 100:.1f} cm2")
    if femur.total_rule:
        parts.append(f"total: {femur.total_rule}")
    return " | ".join(parts)


def comparison_of(asymmetry: Asymmetry) -> str:
    """Return the differences between left and right in one region."""
    parts = [f"volume {asymmetry.volume_percent:+.1f} %", f"mean {asymmetry.mean_hu_difference:+.0f} HU"]
    parts += [
        f"{name} {value:+.1f} %"
        for name, value in (("vBMD", asymmetry.vbmd_percent), ("BMC", asymmetry.bmc_percent))
        if value is not None
    ]
    name = REGION_NAMES.get(asymmetry.region, asymmetry.region)
    return f"left against right, {name}: " + " | ".join(parts)


def warnings_of(findings: Findings) -> tuple[str, ...]:
    """Return all warnings, those of the femurs first."""
    femurs = findings.measurements.femurs
    found = [sentence for femur in femurs for sentence in _femur_warnings(femur)]
    return (*found, *findings.calibration.warnings, *findings.remarks)


def _femur_warnings(femur: FemurMeasurements) -> Iterator[str]:
    for reason in femur.incomplete_reasons:
        yield f"{femur.side}: {reason}"
    if femur.metal_suspected:
        yield f"{femur.side}: metal or implant suspected"
    if femur.contrast_suspected:
        yield f"{femur.side}: contrast agent suspected"
    for problem in femur.neck.problems if femur.neck else ():
        yield f"{femur.side} neck (!): {problem}"
    for warning in femur.warnings:
        yield f"{femur.side}: {warning}"


def calibration_lines(calibration: Calibration) -> tuple[str, ...]:
    """Return the calibration in lines that fit beside the plot."""
    if not calibration.usable:
        return ("Not calibrated: HU only",)
    lines = [{
        CalibrationMode.PHANTOM: "phantom in this scan",
        CalibrationMode.ASYNCHRONOUS: "by certificate, no rods in this scan",
    }[calibration.mode]]  # fmt: skip
    lines.append(f"equivalent material {calibration.material}")
    assert calibration.intercept_hu is not None
    sign = "+" if calibration.intercept_hu >= 0 else "-"
    line = f"HU = {calibration.slope_hu_per_mg_cm3:.4g} x density {sign} {abs(calibration.intercept_hu):.4g}"
    lines.append(line)
    if calibration.r2 is not None:
        lines.append(f"r2 = {calibration.r2:.4f}")
    if calibration.rods:
        worst = max(calibration.rods, key=lambda rod: abs(rod.residual_hu)).residual_hu
        lines.append(f"largest residual {worst:+.1f} HU")
    for name, value in (
        ("phantom", calibration.phantom),
        ("serial", calibration.serial),
        ("certificate of", calibration.certificate_date),
    ):
        if value:
            lines.append(f"{name} {value}")
    return tuple(lines)


def describe_maker(identity: ResultIdentity) -> str:
    """Return the model and the release that made the page."""
    model = f"{identity.model_name} {identity.model_version}, model {identity.model_digest[:12]}"
    return f"{model}, {PRODUCT} {VERSION}"


def describe_source(series: Series) -> str:
    """Return the grid and beam of the scan; no text of the header, which could name the patient."""
    slices, rows, columns = series.geometry.shape
    step, down, across = series.geometry.distances
    text = f"CT {columns} x {rows} x {slices}, {across:.2f} x {down:.2f} x {step:.2f} mm"
    return f"{text}, {series.beam}" if series.beam else text
