"""Inference time: our networks, MONAI's V-Net in sliding windows and nnU-Net's network in tiles, in one run.

`make bench`, or `pytest -o addopts=--import-mode=importlib --timeout=0 -s tests/bench/test_inference.py`. The other
networks get random weights, which take as long as trained ones, and are timed without resampling, blending and
test-time mirroring. MONAI comes with the `train` extra; nnU-Net's network is installed without
its requirements, because only its transformers need them:

    pip install --no-deps dynamic-network-architectures==0.4.4

QCT_BENCH_REPEATS (3), QCT_BENCH_TILES (2 per repetition; "all" times the whole scan), QCT_BENCH_DEVICE (auto).
Results: runs/bench/inference.json.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from bench.figures import load, machine, synthetic_series
from bench.figures import record as write_figures
from torch import Tensor, nn

from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.vnet.coarse import find_hips
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.grids import FINE_MARGIN_MM, FINE_MM, normalise
from segmenter.vnet.network import probabilities
from segmenter.vnet.weights import Models, load_models
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.resample import OUTSIDE_HU, reduce

REPEATS = int(os.environ.get("QCT_BENCH_REPEATS", "3"))
TILES = os.environ.get("QCT_BENCH_TILES", "2")
TILE, TILE_STEP = 128, 0.5  # nnU-Net's default patch and step in the 3d_fullres plans of whole-body CT
NNUNET_MM, FAST_MM = 1.5, 3.0  # grids of TotalSegmentator and of its --fast
MONAI_ROIS = (96, 128)
OVERLAP = 0.25  # MONAI's default
# The peak memory of a child starts at that of its parent, so a small process starts the command.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
TARGETS = {"nnunet": 40.0, "nnunet fast": 4.0, "monai": 3.0}


@dataclass
class Timing:
    """Seconds of each repetition; `timed` of `units` runs of the network are measured and extrapolated."""

    name: str
    units: int = 1
    timed: int = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def whole(self) -> float:
        """Median over the repetitions, extrapolated to all units."""
        return median(self.seconds) / self.timed * self.units

    def __str__(self) -> str:
        """Return one line; an extrapolation says so."""
        how = f"{len(self.seconds)} repetitions, {min(self.seconds):.2f} to {max(self.seconds):.2f} s"
        if self.timed < self.units:
            how += f" for {self.timed} tiles, EXTRAPOLATED to {self.units}"
        elif self.units > 1:
            how += f", all {self.units} tiles"
        return f"{self.name:44} {self.whole:9.2f} s   ({how})"


@dataclass(frozen=True)
class Scan:
    """The scan that is timed: HU `(z, y, x)`, its grid, its files."""

    volume: np.ndarray
    geometry: Geometry
    folder: Path


@pytest.fixture(scope="module")
def scan() -> Scan:
    """512 x 512 x 300 at about 0.8 x 0.8 x 1 mm with two hips; made once, kept under runs/."""
    folder = synthetic_series() / "dicom"
    series = read_series(find_series(folder))
    return Scan(read_volume(series), series.geometry, folder)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(device=os.environ.get("QCT_BENCH_DEVICE", "auto"))


def clocked(work: Callable[[], object], device: torch.device) -> float:
    """Return the duration of some work, s, including the GPU."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    begin = time.perf_counter()
    with torch.inference_mode():
        work()
    wait()
    return time.perf_counter() - begin


def tiles_along(size: int) -> int:
    """Return the number of tiles along one axis (nnU-Net, compute_steps_for_sliding_window)."""
    return math.ceil(max(size - TILE, 0) / (TILE * TILE_STEP)) + 1


def tile_count(geometry: Geometry, step_mm: float) -> int:
    """Return how many tiles cover the scan resampled to `step_mm`."""
    extent = np.array(geometry.shape) * geometry.spacing
    return math.prod(tiles_along(round(mm / step_mm)) for mm in extent)


def nnunet(device: torch.device) -> nn.Module:
    """The network of nnU-Net's standard 3d_fullres plan, two classes."""
    name = "dynamic_network_architectures.architectures.unet"
    unet = pytest.importorskip(name, reason="pip install --no-deps dynamic-network-architectures==0.4.4")
    network: nn.Module = unet.PlainConvUNet(
        input_channels=1, n_stages=6, features_per_stage=[32, 64, 128, 256, 320, 320],
        conv_op=nn.Conv3d, kernel_sizes=3, strides=[1, 2, 2, 2, 2, 2], n_conv_per_stage=2, num_classes=2,
        n_conv_per_stage_decoder=2, conv_bias=True, norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    )  # fmt: skip
    return network.eval().to(device)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """The context nnU-Net predicts in: half precision on a GPU, no change on a CPU."""
    return torch.autocast("cuda") if device.type == "cuda" else nullcontext()


def monai_sliding(windows: list[Tensor], device: torch.device) -> Callable[[], object]:
    """MONAI's V-Net over the windows of the hips, with the cube size that needs the least work for each."""
    inferers = pytest.importorskip("monai.inferers", reason="MONAI comes with the train extra")
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI comes with the train extra")
    network = nets.VNet(out_channels=2).eval().to(device)

    def voxels(window: Tensor, roi: int) -> int:
        step = roi * (1 - OVERLAP)
        return roi**3 * math.prod(math.ceil(max(size - roi, 0) / step) + 1 for size in window.shape[2:])

    def work() -> None:
        for window in windows:
            roi = min(MONAI_ROIS, key=lambda roi: voxels(window, roi))
            inferers.sliding_window_inference(window, (roi,) * 3, 1, network, overlap=OVERLAP)

    return work


def hip_windows(scan: Scan, models: Models) -> list[np.ndarray]:
    """Return the input windows of the fine network, HU."""
    boxes = [
        (hip.low - FINE_MARGIN_MM, hip.high + FINE_MARGIN_MM) for hip in find_hips(scan.volume, scan.geometry, models)
    ]
    return [reduce(scan.volume, scan.geometry, box_geometry(*box, FINE_MM), OUTSIDE_HU) for box in boxes]


def test_networks(scan: Scan, models: Models):
    device = models.device
    windows = hip_windows(scan, models)
    assert len(windows) == 2, "the scan must show two hips"
    images = [torch.from_numpy(normalise(window)[None, None]).to(device) for window in windows]
    unet, tile = nnunet(device), torch.randn(1, 1, TILE, TILE, TILE, device=device)
    counts = {"nnunet": tile_count(scan.geometry, NNUNET_MM), "nnunet fast": tile_count(scan.geometry, FAST_MM)}
    timed = counts["nnunet"] if TILES == "all" else int(TILES)

    def tiles() -> None:
        with autocast(device):
            for _ in range(timed):
                unet(tile)

    timings = {
        "scan": Timing("ours, scan to masks on its own grid"),
        "network": Timing("ours, fine network over both hips"),
        "monai": Timing("MONAI VNet, sliding windows over both hips"),
        "nnunet": Timing(f"nnU-Net tiles of {NNUNET_MM} mm", counts["nnunet"], timed),
    }
    contenders: dict[str, Callable[[], object]] = {
        "scan": lambda: segment_femurs(scan.volume, scan.geometry, models),
        "network": lambda: [probabilities(models.fine, window) for window in windows],
        "monai": monai_sliding(images, device),
        "nnunet": tiles,
    }
    if device.type == "cuda":
        for work in contenders.values():
            clocked(work, device)
    else:
        clocked(contenders["network"], device)
        clocked(lambda: unet(tile), device)
    for _, name in product(range(REPEATS), contenders):
        timings[name].seconds.append(clocked(contenders[name], device))
    fast = counts["nnunet fast"]
    timings["nnunet fast"] = Timing(f"nnU-Net tiles of {FAST_MM} mm", fast, timed, timings["nnunet"].seconds)
    ratios = {
        "nnunet": timings["nnunet"].whole / timings["scan"].whole,
        "nnunet fast": timings["nnunet fast"].whole / timings["scan"].whole,
        "monai": timings["monai"].whole / timings["network"].whole,
    }
    print(f"\n{scan.volume.shape} on {device}, {machine()['cpu']}, {torch.get_num_threads()} threads, load {load()}")
    print(*timings.values(), sep="\n")
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f} times as long as ours (target {TARGETS[name]:.0f})")
    record("inference", {"timings": {n: asdict(t) | {"whole": t.whole} for n, t in timings.items()}, "ratios": ratios})
    assert all(ratios[name] >= target for name, target in TARGETS.items())


def test_segment_command(scan: Scan, tmp_path: Path):
    """`qct-node segment` from files to SEG: at most 25 s and 3 GB on two cores."""
    seconds, gigabytes, stages = [], [], []
    for repeat in range(REPEATS):
        target = tmp_path / str(repeat)
        command = [sys.executable, "-m", "node", "segment", str(scan.folder), "--out", str(target), "--json"]
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - begin)
        gigabytes.append(int(done.stderr.splitlines()[-1]) / 1e6)
        stages.append(json.loads(done.stdout)["timings"])
    print(f"\nqct-node segment: {median(seconds):.1f} s, {max(gigabytes):.2f} GB, load {load()}; stages {stages[-1]}")
    record("command", {"seconds": seconds, "gigabytes": gigabytes, "stages": stages})
    assert len({(tmp_path / str(repeat) / "seg.dcm").read_bytes() for repeat in range(REPEATS)}) == 1
    assert median(seconds) <= 25
    assert max(gigabytes) <= 3


def record(name: str, figures: dict[str, object]) -> None:
    """Write figures and machine into the folder for benchmarks."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    write_figures(name, {"machine": {**machine(), "gpu": gpu, "torch": torch.__version__}, **figures})
