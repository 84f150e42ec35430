"""Weights on disk: safetensors in half precision beside a manifest with the SHA-256 of every file."""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.vnet.network import VNet, VNetConfig, folded

MANIFEST = "model.json"
STAGES = ("coarse", "fine")


@dataclass(frozen=True, eq=False)
class Models:
    """Both networks, ready to run. digest: SHA-256 over the digests of the weight files, hex."""

    name: str
    version: str
    digest: str
    coarse: VNet
    fine: VNet
    device: torch.device


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on; "auto" takes a GPU if there is one.

    Raises SegmenterError(MODEL) for a device that is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _model_error(f"the device {name!r} cannot be used here: choose auto or cpu") from error
    return device


def make_deterministic() -> None:
    """Let this process compute the same bytes from the same input; threads inherit it from the one that starts them."""
    # Numbers below 1e-38, such as the gradients of a saturated softmax, slow a CPU down many times.
    torch.set_flush_denormal(True)
    # No algorithm is chosen by timing, and no float32 convolution or product is rounded to TF32.
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def save_weights(network: VNet, path: Path) -> None:
    """Write the network's weights as fp16 with its configuration in the header."""
    tensors = {
        key: value.half().contiguous() for key, value in network.state_dict().items() if value.is_floating_point()
    }
    save_file(tensors, path, metadata={"config": json.dumps(network.config.as_dict())})


def write_manifest(folder: Path, name: str, version: str) -> None:
    """Write the manifest of the weight files in `folder`; on loading it reveals a changed or truncated file."""
    files = {
        stage: {"file": f"{stage}.safetensors", "sha256": file_digest(folder / f"{stage}.safetensors")}
        for stage in STAGES
    }
    content = {"name": name, "version": version, "files": files, "note": "for investigational use"}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n")


def load_models(path: Path | None = None, device: str = "auto") -> Models:
    """Load both networks from a model folder (None: the one shipped), after checking every file's SHA-256.

    Raises SegmenterError(MODEL) when a file is missing, damaged or not the one the manifest names.
    """
    folder = path or Path(str(resources.files("segmenter"))) / "data" / "model"
    manifest = read_manifest(folder)
    target = choose_device(device)
    make_deterministic()
    networks = {stage: _load_network(weight_file(folder, stage), target) for stage in STAGES}
    return Models(
        manifest["name"],
        manifest["version"],
        model_digest(manifest),
        networks["coarse"],
        networks["fine"],
        target,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a model folder."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        for key in ("name", "version"):
            manifest[key] = str(manifest[key])
        for stage in STAGES:
            manifest["files"][stage]["sha256"], manifest["files"][stage]["file"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _model_error(f"{folder / MANIFEST} is missing or is not a model manifest") from error
    return manifest


def model_digest(manifest: dict[str, Any]) -> str:
    """Return the digest of the model: SHA-256 over the digests of its files."""
    return hashlib.sha256("".join(manifest["files"][stage]["sha256"] for stage in STAGES).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_weights(path: Path) -> VNet:
    """Return one network as stored, in float32 on the CPU, in evaluation mode. Raises SegmenterError(MODEL)."""
    try:
        with safe_open(path, framework="pt") as content:
            stored = json.loads(content.metadata()["config"])
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise _model_error(f"{path} does not hold a network of this project") from error
    try:
        network = VNet(VNetConfig.from_dict(stored))
    except (TypeError, ValueError) as error:
        raise _model_error(f"{path.name} describes a network this version cannot build: {error}") from error
    state = {key: value.float() for key, value in load_file(path).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or any(not key.endswith("num_batches_tracked") for key in missing):
        raise _model_error(f"{path.name} does not fit the network it describes")
    return network.eval()


def weight_file(folder: Path, stage: str) -> Path:
    """Return the weight file of a stage. Raises SegmenterError(MODEL) when it is not the one the manifest names."""
    entry = read_manifest(folder)["files"][stage]
    path = folder / str(entry["file"])
    if not path.is_file():
        raise _model_error(f"weight file {path} is missing")
    found = file_digest(path)
    if found != entry["sha256"]:
        raise _model_error(
            f"weight file {path} is not the one {MANIFEST} names (SHA-256 {found[:12]}...): install the model again"
        )
    return path


def _load_network(path: Path, device: torch.device) -> VNet:
    return folded(read_weights(path)).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def _model_error(message: str) -> SegmenterError:
    return SegmenterError(Reason.MODEL, message, Verdict.FAILED)
