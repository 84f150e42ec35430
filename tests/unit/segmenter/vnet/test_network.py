"""The V-Net's shapes, size and behaviour, against the paper's own layout and against MONAI's."""

import importlib.util
import json
import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from segmenter.vnet.network import PRESETS, VNet, VNetConfig, folded

PAPER = PRESETS["milletari2016"]
# MONAI's VNet: 1, 1, 2, 3, 2 convolutions down and 2, 2, 1, 1 up; its residual is added after the last activation.
MONAI = VNetConfig(2, 16, (1, 1, 2, 3, 2), 5, convs_up=(2, 2, 1, 1), wide_up=True)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture
def weightless():
    """Networks made here have shapes and no values, so that large ones cost nothing."""
    with torch.device("meta"):
        yield


def layer(taps: int, channels_in: int, channels: int) -> int:
    """One layer of the paper: kernel, bias, one PReLU slope per channel."""
    return taps * channels_in * channels + channels + channels


@pytest.mark.parametrize(
    "layout",
    [{}, {"wide_up": True}, {"sum_first": True, "normalised": False}, {"dropout": 0.5}],
    ids=["shipped", "wide", "paper", "dropout"],
)
@pytest.mark.parametrize(("convs", "convs_up"), [((1, 2), ()), ((1, 2, 2), (1, 3)), ((1, 1, 2, 1), ())])
@pytest.mark.parametrize("kernel", [3, 5])
def test_logits_lie_on_the_grid_of_the_input(kernel, convs, convs_up, layout):
    config = VNetConfig(classes=3, width=4, convs=convs, kernel=kernel, convs_up=convs_up, **layout)
    n = config.multiple
    image = torch.randn(2, 1, 2 * n, n, 3 * n)
    assert VNet(config)(image).shape == (2, 3, 2 * n, n, 3 * n)


def test_the_number_of_parameters_follows_from_the_configuration():
    network = VNet(VNetConfig(classes=2, width=2, convs=(1, 1), kernel=3))
    stem = 1 * 2 * 27 + 2 * 2 + 2
    down = 2 * 4 * 8 + 2 * 4 + 4 + 4 * 4 * 27 + 2 * 4 + 4
    up = 4 * 2 * 8 + 2 * 2 + 2 + 4 * 2 * 27 + 2 * 2 + 2
    head = 2 * 2 + 2
    assert parameters(network) == stem + down + up + head


@pytest.mark.usefixtures("weightless")
def test_the_paper_s_network_has_the_paper_s_size():
    """Figure 2 of arXiv 1606.04797, layer by layer: 5x5x5 convolutions, 2x2x2 between the levels, 1x1x1 at the end."""
    left = [
        layer(125, 1, 16),
        layer(8, 16, 32), 2 * layer(125, 32, 32),
        layer(8, 32, 64), 3 * layer(125, 64, 64),
        layer(8, 64, 128), 3 * layer(125, 128, 128),
        layer(8, 128, 256), 3 * layer(125, 256, 256),
    ]  # fmt: skip
    right = [
        layer(8, 256, 128), 3 * layer(125, 256, 256),
        layer(8, 256, 64), 3 * layer(125, 128, 128),
        layer(8, 128, 32), 2 * layer(125, 64, 64),
        layer(8, 64, 16), 1 * layer(125, 32, 32),
    ]  # fmt: skip
    head = 32 * 2 + 2
    assert parameters(VNet(PAPER)) == sum(left) + sum(right) + head == 65_175_314


def test_the_paper_s_stage_ends_with_its_activation_and_has_no_normalisation():
    network = VNet(replace(PAPER, width=2))
    assert not any(isinstance(module, nn.BatchNorm3d) for module in network.modules())
    stage = network.down[0].stage
    with torch.no_grad():
        stage.activation.weight.fill_(0.0)  # PReLU becomes ReLU: nothing below zero leaves the stage
        x = torch.randn(1, 4, 4, 4, 4)
        assert stage(x, x).min() == 0.0


@pytest.mark.usefixtures("weightless")
def test_monai_s_layout_has_monai_s_size_and_output():
    if importlib.util.find_spec("monai") is None and not os.environ.get("CI"):
        pytest.skip("monai is not installed")
    from monai.networks import nets

    theirs, ours = nets.VNet(out_channels=2, act="prelu"), VNet(MONAI)
    stages = (32, 64, 128, 256, 256, 128, 64, 32)  # channels of the stages below the stem, down and up
    second_activation = sum(stages)  # MONAI has one more after each sum
    needless_bias = 128 + 64 + 32 + 16  # of its transposed convolutions, which a normalisation follows
    their_head = 125 * 32 * 2 + 2 * 2 + 2 + (2 * 2 + 2)  # 5x5x5 convolution, normalisation, PReLU, 1x1x1 convolution
    our_head = 32 * 2 + 2
    assert parameters(theirs) - second_activation - needless_bias - their_head == parameters(ours) - our_head
    image = torch.empty(1, 1, 16, 32, 16)
    assert theirs(image).shape == ours(image).shape == (1, 2, 16, 32, 16)


def test_every_parameter_learns():
    for layout in ({}, {"wide_up": True, "sum_first": True, "normalised": False}):
        network = VNet(VNetConfig(width=2, convs=(1, 1), **layout))
        network(torch.randn(1, 1, 4, 4, 4)).square().mean().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_a_shift_of_the_input_shifts_the_output():
    torch.manual_seed(0)
    config = VNetConfig(width=4, convs=(1, 1, 1))
    network = VNet(config).eval()
    image = torch.zeros(1, 1, 32, 32, 32)
    image[..., 12:16, 12:16, 12:16] = torch.randn(4, 4, 4)
    with torch.no_grad():
        here = network(image)
        there = network(image.roll(config.multiple, dims=-1))
    assert torch.allclose(here.roll(config.multiple, dims=-1)[..., 8:24], there[..., 8:24], atol=1e-5)


def trained(config: VNetConfig) -> VNet:
    """A network whose normalisations have seen something."""
    torch.manual_seed(0)
    network = VNet(config)
    for _ in range(3):
        network(2 * torch.randn(2, 1, 8, 8, 8) + 1)
    return network.eval()


@pytest.mark.parametrize("layout", [{}, {"wide_up": True, "sum_first": True}], ids=["shipped", "wide"])
def test_folding_removes_every_normalisation_and_changes_nothing_else(layout: dict[str, bool]):
    network = trained(VNetConfig(width=4, convs=(1, 2, 1), **layout))
    fold = folded(network)
    image = torch.randn(1, 1, 8, 16, 8)
    with torch.no_grad():
        assert torch.allclose(fold(image), network(image), atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in fold.modules())
    assert any(isinstance(m, nn.BatchNorm3d) for m in network.modules())
    assert VNet(fold.config).load_state_dict(fold.state_dict())


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = VNet(VNetConfig(width=4, convs=(1, 1), normalised=False, dropout=0.5))
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_survives_its_way_to_the_disk(name: str):
    assert VNetConfig.from_dict(json.loads(json.dumps(PRESETS[name].as_dict()))) == PRESETS[name]


def test_a_configuration_of_the_first_weights_means_what_it_meant():
    config = VNetConfig.from_dict({"classes": 2, "width": 16, "convs": [1, 2, 2, 2], "kernel": 3})
    assert config == PRESETS["shipped-fine"]


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"convs_up": (1,)}, "4 levels need 3 convs_up, not 1"),
        ({"convs": (1, 0)}, "at least 1"),
        ({"convs": ()}, "at least 1"),
        ({"kernel": 4}, "must be odd"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(wrong: dict[str, object], rule: str):
    with pytest.raises(ValueError, match=rule):
        VNetConfig(**wrong)
