"""`make demo`: send a patient to the node, segment it, and receive the DICOM-SEG in an archive.

The node, its queue, the V-Net and all associations are those of production. The archive is a small one and, unless
STUDY is given, the patient is synthetic. Each run writes into a new folder under demo-out/ only.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import click
from follow import Job, follow
from pydicom import dcmread
from pydicom.uid import SegmentationStorage
from result import show
from rich.console import Console

from node.commands.tools import is_dicom

ARCHIVE = Path(__file__).resolve().parent / "archive.py"
QCT_NODE = Path(sys.executable).with_name("qct-node")
SETTINGS = """\
[node]
ae_title = "QCTDEMO"
dicom_port = 0
http_port = 0
data = {data}
[intake]
quiet_seconds = 2
give_up_seconds = 30
accept_unknown_peers = true
[[peers]]
name = "demo-archive"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = {port}
[segmenter]
calibration = {calibration}
"""
# settings of another node on this machine, which must not apply here
FOREIGN_SETTINGS = (
    "QCT_NODE_NODE__",
    "QCT_NODE_INTAKE__",
    "QCT_NODE_PEERS",
    "QCT_NODE_ROUTES",
    "QCT_NODE_SEGMENTER__CALIB",
)
DIRECT = build_opener(ProxyHandler({}))  # without `http_proxy`: a proxy cannot reach the loopback
START_S = 180.0
STOP_S = 60.0


class DemoError(Exception):
    """The demo failed; the message is one sentence for its user."""


@dataclass(frozen=True)
class Node:
    """The addresses of the running node."""

    dicom: str
    aet: str
    web: str


@contextmanager
def running(name: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server while the block runs; yield its ready line. Raises DemoError if none appears in time."""
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env, process_group=0)
    overdue = threading.Timer(START_S, process.kill)
    overdue.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        overdue.cancel()
        if not line.startswith("ready: "):
            raise DemoError(f"The {name} did not start: {last_line(log)} (log: {log})")
        yield line
    finally:
        overdue.cancel()
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"


def matched(pattern: str, line: str) -> tuple[str, ...]:
    """Return the groups of a ready line. Raises DemoError if it does not match."""
    match = re.fullmatch(pattern, line)
    if match is None:
        raise DemoError(f"The ready line is not as expected: {line}")
    return match.groups()


def command(*arguments: str | Path) -> None:
    """Run one `qct-node` command with its output visible; if it fails, it has printed the reason and the demo ends."""
    code = subprocess.run([QCT_NODE, *arguments], check=False).returncode
    if code:
        sys.exit(1)


def get_json(node: Node, path: str) -> Any:
    """Return a document of the node's JSON API."""
    try:
        with DIRECT.open(f"{node.web}{path}", timeout=10) as answer:
            return json.load(answer)
    except (URLError, TimeoutError) as error:
        raise DemoError(f"The node's web page at {node.web} does not answer: {error}") from None


def segmentations(archive: Path) -> list[Path]:
    """Return the DICOM-SEG objects in the archive."""
    return [
        path
        for path in sorted(archive.rglob("*.dcm"))
        if dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID == SegmentationStorage
    ]


def truth_masks(study: Path | None, patient: Path) -> dict[str, Path]:
    """Return the truth masks: side -> file; side "" holds both femurs; empty if there is no truth."""
    if study is None:
        return {side: patient / "truth" / f"{side}.nii.gz" for side in ("left", "right")}
    beside = (study / "femur_mask.nii.gz", study.parent / "femur_mask.nii.gz")
    return next(({"": path} for path in beside if path.is_file()), {})


def check_outcome(jobs: list[Job], found: list[Path]) -> None:
    """Raise DemoError with the reason if a study failed or was held, or if nothing was segmented."""
    order = ("failed", "held", "declined", "cancelled")
    stopped = sorted((job for job in jobs if job["state"] in order), key=lambda job: order.index(job["state"]))
    delivered = len(jobs) > len(stopped)
    if stopped and (not delivered or stopped[0]["state"] in ("failed", "held")):
        state = stopped[0]["state"]
        raise DemoError(f"The study {state if state == 'failed' else f'was {state}'}: {stopped[0]['reason']}")
    nothing = [job["reason"] for job in jobs if job["reason_code"] == "no-femur"]
    if not found:
        raise DemoError(
            f"No femur was segmented: {nothing[0]}; the report in the archive states this."
            if nothing
            else "The node reports the delivery, but the archive contains no segmentation."
        )


def require_dicom(study: Path | None) -> None:
    """Raise DemoError for a folder that holds nothing the node could receive, before anything is started."""
    if study is None:
        return
    files = [path for path in study.rglob("*") if path.is_file()]
    if not any(is_dicom(path) for path in files):
        found = ", ".join(sorted({path.suffix.lower() or path.name for path in files})[:5]) or "nothing"
        raise DemoError(
            f"{study} holds no DICOM files (found: {found}). Unpack archives such as .zip first; pictures such as .jpg "
            "cannot be used: export the series as DICOM."
        )


def run(study: Path | None, out: Path, timeout_s: float, console: Console) -> None:
    """Send one patient through the node and print the results."""
    patient, archive, data = out / "patient", out / "archive", out / "node"
    dicom = study or patient / "dicom"
    if study is None:
        command("phantom", "--out", patient)
    with ExitStack() as stack:
        line = stack.enter_context(
            running("archive", [sys.executable, str(ARCHIVE), "--data", str(archive)], out / "archive.log")
        )
        (port,) = matched(r"ready: archive [^ ]+:(\d+) aet ARCHIVE", line)
        settings = out / "qct-node.toml"
        calibration = "" if study else str(patient / "calibration.toml")
        settings.write_text(SETTINGS.format(data=json.dumps(str(data)), port=port, calibration=json.dumps(calibration)))
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)}
        env["QCT_NODE_CONFIG"] = str(settings)
        line = stack.enter_context(running("node", [str(QCT_NODE), "up"], out / "node.log", env))
        node = Node(*matched(r"ready: dicom ([^ ]+:\d+) aet (\w+), web (http://[^ ]+:\d+)", line))
        console.print(f"web page of the node: {node.web}", highlight=False)
        command("send", dicom, "--to", node.dicom, "--aet", node.aet)
        try:
            jobs = follow(lambda: get_json(node, "/api/jobs"), console, timeout_s)
        except TimeoutError as error:
            raise DemoError(f"The study {error}; see {out / 'node.log'}") from None
        jobs = [get_json(node, f"/api/jobs/{job['id']}") for job in jobs]
    found = segmentations(archive)
    check_outcome(jobs, found)
    show(console, jobs, found, truth_masks(study, patient), None if study else patient / "truth" / "truth.json")


@click.command()
@click.option("--study", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Your DICOM folder.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-out"), show_default=True)
@click.option("--timeout", default=1500.0, show_default=True, help="Seconds until the demo gives up.")
def main(study: Path | None, out: Path, timeout: float) -> None:
    """Send a study through the node and print its results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped, too
    folder = out.resolve() / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    try:
        require_dicom(study)
        folder.mkdir(parents=True)
    except OSError as error:
        raise click.ClickException(f"nothing can be written to {out}: {error.strerror}") from None
    except DemoError as error:
        raise click.ClickException(str(error)) from None
    try:
        run(study and study.resolve(), folder, timeout, Console())
    except DemoError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
