"""The results of the demo as tables: the steps with their times, and each femur with its Dice and density."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from follow import Job
from rich.console import Console
from rich.table import Table
from score import Segment, dice, read_segments


def show(
    console: Console, jobs: list[Job], found: list[Path], truth: Mapping[str, Path], densities: Path | None = None
) -> None:
    """Print the steps of every job, the femurs of every segmentation in the archive, and the paths of the files.

    jobs: with their events. found: the segmentations in the archive. truth: side -> mask; side "" holds all femurs.
    densities: `truth.json` of the synthetic patient.
    """
    for job in jobs:
        console.print(_steps(job))
    reports = [json.loads(Path(path).read_text()) for job in jobs for path in outputs(job, "report.json")]
    measured = {femur["side"]: femur for report in reports for femur in report["femurs"]}
    for path in found:
        segments = read_segments(path)
        console.print(_femurs(segments, measured, truth))
        console.print(f"DICOM-SEG in the archive: {path}", soft_wrap=True, highlight=False)
    known = json.loads(densities.read_text())["femora"] if densities else {}
    for report in reports:
        console.print(_density(report, known))
    for path in (path for job in jobs for path in outputs(job, ".png")):
        console.print(f"picture: {path}", soft_wrap=True, highlight=False)


def outputs(job: Job, ending: str) -> list[str]:
    """Return the job's output files with this ending."""
    return [path for path in job["outputs"] if path.endswith(ending)]


def _steps(job: Job) -> Table:
    """Return the steps of a job with their durations, from its history in the ledger."""
    table = Table("step", "seconds", title=f"Job {job['id']}: {job['state']}", title_justify="left")
    table.columns[1].justify = "right"
    times = {event["state"]: datetime.fromisoformat(event["at"]) for event in job["events"]}
    steps = {
        "complete": f"received {job['instances']} objects and waited for more",
        "queued": "accepted by a route",
        "running": "waited for a worker",
        "delivering": "segmented",
        "delivered": "delivered by C-STORE to " + ", ".join(dict.fromkeys(d["peer"] for d in job["deliveries"])),
    }
    before = datetime.fromisoformat(job["received_at"])
    for state, step in steps.items():
        if state in times:
            table.add_row(step, f"{(times[state] - before).total_seconds():.1f}")
            before = times[state]
        if state == "delivering":
            for stage, seconds in job["stages"].items():
                table.add_row(f"  {stage}", f"{seconds:.1f}", style="dim")
    if job["reason"]:
        table.add_row(job["reason"], "")
    return table


def _femurs(segments: list[Segment], measured: Mapping[str, Any], truth: Mapping[str, Path]) -> Table:
    table = Table("femur", "volume mL", "complete", "Dice", title="Read back from the archive", title_justify="left")
    for column in (table.columns[1], table.columns[3]):
        column.justify = "right"
    for segment in segments:
        score = f"{dice([segment], truth[segment.side]):.3f}" if segment.side in truth else ""
        table.add_row(segment.label, f"{segment.volume_ml:.1f}", _completeness(measured.get(segment.side)), score)
    if "" in truth:
        volume = sum(segment.volume_ml for segment in segments)
        table.add_row("all, against femur_mask.nii.gz", f"{volume:.1f}", "", f"{dice(segments, truth['']):.3f}")
    for side in sorted(truth.keys() - {""} - {segment.side for segment in segments}):
        table.add_row(f"{side}: not found", "", "", "0.000")
    return table


def _density(report: Mapping[str, Any], known: Mapping[str, Any]) -> Table | str:
    """Return the integral densities beside the known ones, or a sentence if the scan was not calibrated."""
    calibration = report["calibration"]
    if calibration["mode"] == "none":
        return "density: not calibrated, HU only"
    material = calibration["equivalent_material"]
    title = f"Integral density, mg/cm3 {material}, by {calibration['phantom']}, r2 {calibration['r2']:.4f}"
    table = Table("femur", "measured", "known", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for femur in report["femurs"]:
        truth = known.get(femur["side"], {}).get("integral_vbmd_mg_cm3")
        table.add_row(femur["side"], f"{femur['vbmd_mg_cm3']:.1f}", "" if truth is None else f"{truth:.1f}")
    return table


def _completeness(femur: Mapping[str, Any] | None) -> str:
    if femur is None:
        return "unknown"
    return "yes" if femur["complete"] else "no: " + "; ".join(femur["incomplete_reasons"])
