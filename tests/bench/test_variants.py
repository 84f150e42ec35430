"""Variants of the fine network: the time of each, and its agreement with the network in use.

`pytest -o addopts=--import-mode=importlib --timeout=0 -s tests/bench/test_variants.py`. Repetitions are interleaved, so
the load of the machine affects all alike; the figure is processor time, the least of QCT_BENCH_REPEATS (5).
ONNX Runtime (with onnx and onnxscript), OpenVINO and torch.compile (with g++) take part where they are installed.
Results: runs/bench/variants.json.
"""

import copy
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segmenter.vnet.network import PRESETS, VNet, VNetConfig, folded
from segmenter.vnet.weights import load_models, read_weights

OUT = Path(__file__).parents[2] / "runs" / "bench"
MODEL = Path(__file__).parents[2] / "segmenter" / "data" / "model"
REPEATS = int(os.environ.get("QCT_BENCH_REPEATS", "5"))
WINDOW = (160, 96, 96)  # typical of a hip at 1.5 mm; a multiple of every layout
CHANNELS_LAST = torch.channels_last_3d
BASE = "as used: folded, channels last, fp32"


@dataclass
class Variant:
    """A way to compute logits; same: whether it is the same function, so that agreement is meaningful."""

    run: Callable[[Tensor], Tensor]
    same: bool = True
    window: tuple[int, int, int] = WINDOW
    seconds: list[float] = field(default_factory=list)


def hip_like(window: tuple[int, int, int]) -> Tensor:
    """A bone in soft tissue, blurred by 1.5 mm and normalised: enough for the network to find a surface."""
    z, y, x = np.ix_(*(np.linspace(-1, 1, size) for size in window))
    shaft = (y**2 + x**2 < 0.12) & (z < 0.3)
    head = (z - 0.45) ** 2 + (y + 0.1) ** 2 + (x + 0.2) ** 2 < 0.16
    noise = np.random.default_rng(0).normal(0, 0.05, window)
    image = np.where(shaft | head, -0.2, -0.7) + noise
    return torch.from_numpy(image.astype(np.float32))[None, None]


def in_bfloat16(network: VNet) -> Callable[[Tensor], Tensor]:
    half = copy.deepcopy(network).to(torch.bfloat16)
    return lambda x: half(x.to(torch.bfloat16)).float()


def frozen(network: VNet) -> Callable[[Tensor], Tensor]:
    traced = torch.jit.trace(network, hip_like(WINDOW))
    return torch.jit.optimize_for_inference(torch.jit.freeze(traced))


def openvino(network: VNet, precision: str) -> Callable[[Tensor], Tensor]:
    import openvino as ov

    model = ov.convert_model(network, example_input=hip_like(WINDOW))
    model.reshape([1, 1, *WINDOW])
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = ov.Core().compile_model(model, "CPU", hints)
    return lambda x: torch.from_numpy(compiled(x.numpy())[0])


def onnxruntime(network: VNet, folder: Path, eight_bits: bool) -> Callable[[Tensor], Tensor]:
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    path, image = folder / "network.onnx", hip_like(WINDOW)
    torch.onnx.export(network, (image,), str(path), input_names=["image"], external_data=False)
    if eight_bits:

        class Once(CalibrationDataReader):
            def __init__(self) -> None:
                self.images = [{"image": image.numpy()}]

            def get_next(self) -> dict[str, np.ndarray] | None:
                return self.images.pop() if self.images else None

        quantize_static(path, folder / "int8.onnx", Once(), QuantFormat.QDQ, per_channel=True)
        path = folder / "int8.onnx"
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0])


def untrained(config: VNetConfig) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(0)
    return folded(VNet(config).eval()).to(memory_format=CHANNELS_LAST)


def variants(folder: Path) -> dict[str, Variant]:
    """Return the variants, first the network in use; folder: for the files of a runtime."""
    used = load_models(device="cpu").fine
    stored = read_weights(MODEL / "fine.safetensors")
    plain = copy.deepcopy(used).to(memory_format=torch.contiguous_format)
    shipped = PRESETS["shipped-fine"]
    found = {
        BASE: Variant(used),
        "normalisations not folded": Variant(stored.to(memory_format=CHANNELS_LAST)),
        "contiguous": Variant(plain),
        "bf16": Variant(in_bfloat16(used)),
        "torch.jit freeze, optimize_for_inference": Variant(frozen(plain)),
    }
    if shutil.which("g++"):
        found["torch.compile"] = Variant(torch.compile(used))  # the first call compiles and is never the fastest
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxscript"):
        found["ONNX Runtime fp32"] = Variant(onnxruntime(plain, folder, eight_bits=False))
        found["ONNX Runtime int8"] = Variant(onnxruntime(plain, folder, eight_bits=True))
    if importlib.util.find_spec("openvino"):
        found["OpenVINO fp32"] = Variant(openvino(plain, "f32"))
        found["OpenVINO bf16"] = Variant(openvino(plain, "bf16"))
    coarser = tuple(round(n * 0.75 / 8) * 8 for n in WINDOW)
    found["grid of 2 mm"] = Variant(used, same=False, window=(coarser[0], coarser[1], coarser[2]))
    for name, config in {
        "width 8": replace(shipped, width=8),
        "width 24": replace(shipped, width=24),
        "kernel 5": replace(shipped, kernel=5),
        "wide way up": replace(shipped, wide_up=True),
        "the paper's own layout": PRESETS["milletari2016"],
    }.items():
        found[name] = Variant(untrained(config), same=False)
    return found


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="figures are for Linux")
def test_variants(tmp_path: Path):
    contenders = variants(tmp_path)
    agreement: dict[str, float] = {}
    bone: Tensor | None = None
    for repeat in range(REPEATS):
        for name, variant in contenders.items():
            image = hip_like(variant.window)
            begin = time.process_time()
            with torch.inference_mode():
                logits = variant.run(image)
            variant.seconds.append(time.process_time() - begin)
            if repeat == 0 and variant.same:
                found = logits[0].argmax(dim=0).bool()
                bone = found if bone is None else bone
                agreement[name] = float(2 * (found & bone).sum() / (found.sum() + bone.sum()))
    base = min(contenders[BASE].seconds)
    rows = {name: {"seconds": min(v.seconds), "ratio": min(v.seconds) / base} for name, v in contenders.items()}
    print(f"\n| variant, window {WINDOW} | processor time | of that as used | Dice to it |\n|---|---|---|---|")
    for name, row in rows.items():
        dice = f"{agreement[name]:.5f}" if name in agreement else "-"
        print(f"| {name} | {row['seconds']:.2f} s | {row['ratio']:.2f} | {dice} |")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "variants.json").write_text(json.dumps({"rows": rows, "agreement": agreement}, indent=2) + "\n")
    assert agreement["normalisations not folded"] > 0.9999
    assert agreement["contiguous"] > 0.9999
