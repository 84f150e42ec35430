"""Shared by the benchmarks: the scan that is timed, the description of the machine, the folder of the figures."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).parents[2] / "runs" / "bench"
SEED, SLICES, STEP_MM = 2010, 300, 1.0


def synthetic_series() -> Path:
    """Return the folder of a scan of 512 x 512 x 300 with two hips (`dicom/`, `truth/`); made once."""
    folder = OUT / f"phantom-{SEED}"
    if not (folder / "truth" / "truth.json").exists():
        options = ["--seed", str(SEED), "--slices", str(SLICES), "--step", str(STEP_MM)]
        subprocess.run([sys.executable, "-m", "node", "phantom", "--out", str(folder), *options], check=True)
    return folder


def load() -> str:
    """Return the load of the machine over the last minute; above the number of cores only ratios are meaningful."""
    return f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def machine() -> dict[str, object]:
    """Return the properties of the machine that the figures depend on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].split(":")[1].strip() if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0]}


def record(name: str, figures: dict[str, object]) -> None:
    """Write figures and machine into the folder for benchmarks."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
