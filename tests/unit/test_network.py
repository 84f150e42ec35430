"""The V-Net's shapes, size and behaviour."""

import pytest
import torch

from segmenter.network import VNet, VNetConfig


@pytest.mark.parametrize("convs", [(1, 2), (1, 2, 2), (1, 1, 2, 1)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_logits_lie_on_the_grid_of_the_input(convs: tuple[int, ...], kernel: int):
    config = VNetConfig(classes=3, width=4, convs=convs, kernel=kernel)
    n = config.multiple
    image = torch.randn(2, 1, 2 * n, n, 3 * n)
    assert VNet(config)(image).shape == (2, 3, 2 * n, n, 3 * n)


def test_the_number_of_parameters_follows_from_the_configuration():
    network = VNet(VNetConfig(classes=2, width=2, convs=(1, 1), kernel=3))
    stem = 1 * 2 * 27 + 2 * 2 + 2
    down = 2 * 4 * 8 + 2 * 4 + 4 + 4 * 4 * 27 + 2 * 4 + 4
    up = 4 * 2 * 8 + 2 * 2 + 2 + 4 * 2 * 27 + 2 * 2 + 2
    head = 2 * 2 + 2
    assert sum(p.numel() for p in network.parameters()) == stem + down + up + head


def test_every_parameter_learns():
    network = VNet(VNetConfig(width=2, convs=(1, 1)))
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
