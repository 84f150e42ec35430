"""Weights on disk: round trip, digests and what happens to damaged files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segmenter.errors import Reason, SegmenterError
from segmenter.vnet.network import VNet, VNetConfig, probabilities
from segmenter.vnet.weights import load_models, read_weights, save_weights, weight_file, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(VNet(VNetConfig(classes=5, width=2, convs=(1, 1))), tmp_path / "coarse.safetensors")
    save_weights(VNet(VNetConfig(classes=2, width=2, convs=(1, 1))), tmp_path / "fine.safetensors")
    write_manifest(tmp_path, "tiny", "0.0.1")
    return tmp_path


def test_what_is_saved_is_loaded_in_half_precision(tmp_path: Path):
    network = VNet(VNetConfig(width=3, convs=(1, 2)))
    save_weights(network, tmp_path / "w.safetensors")
    again = read_weights(tmp_path / "w.safetensors")
    assert again.config == network.config
    for name, value in network.state_dict().items():
        assert torch.allclose(again.state_dict()[name].float(), value.half().float())


def test_weights_of_a_network_that_cannot_be_built_are_refused(tmp_path: Path):
    network = VNet(VNetConfig(width=2, convs=(1, 1)))
    path = tmp_path / "w.safetensors"
    for config in ({**network.config.as_dict(), "attention": True}, {"kernel": 4}):
        save_file(network.state_dict(), path, metadata={"config": json.dumps(config)})
        with pytest.raises(SegmenterError, match="this version cannot build"):
            read_weights(path)


def test_models_carry_name_version_and_a_stable_digest(folder: Path):
    models = load_models(folder, "cpu")
    assert (models.name, models.version) == ("tiny", "0.0.1")
    assert models.digest == load_models(folder, "cpu").digest
    assert len(models.digest) == 64


def test_other_weights_have_another_digest(folder: Path):
    before = load_models(folder, "cpu").digest
    save_weights(VNet(VNetConfig(classes=2, width=2, convs=(1, 1))), folder / "fine.safetensors")
    write_manifest(folder, "tiny", "0.0.1")
    assert load_models(folder, "cpu").digest != before


def test_a_damaged_file_is_refused_by_name(folder: Path):
    path = folder / "fine.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SegmenterError, match=r"fine\.safetensors is not the one model\.json names") as caught:
        load_models(folder, "cpu")
    assert caught.value.reason is Reason.MODEL


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"name": "x", "version": "1", "files": {"coarse": {}}})])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: str):
    (folder / "model.json").write_text(content)
    with pytest.raises(SegmenterError, match="is not a model manifest"):
        load_models(folder, "cpu")


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(SegmenterError, match=r"model\.json is missing"):
        load_models(tmp_path / "nowhere", "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "no device"])
def test_a_device_that_is_not_there_is_refused(folder: Path, device: str):
    with pytest.raises(SegmenterError, match="cannot be used here"):
        load_models(folder, device)


def test_probabilities_keep_the_window_whatever_its_size(folder: Path):
    network = load_models(folder, "cpu").fine
    result = probabilities(network, np.random.default_rng(0).uniform(-1000, 1500, (5, 7, 9)).astype(np.float32))
    assert result.shape == (2, 5, 7, 9)
    assert result.sum(axis=0) == pytest.approx(np.ones((5, 7, 9)), abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_a_file_that_holds_no_network_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / "fine.safetensors"
    if content is None:
        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(SegmenterError, match="does not hold a network"):
        read_weights(path)


def test_a_weight_file_is_the_one_the_manifest_names(folder: Path):
    path = weight_file(folder, "fine")
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(SegmenterError, match="is not the one"):
        weight_file(folder, "fine")
