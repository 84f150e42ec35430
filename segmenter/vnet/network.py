"""The V-Net: a 3D residual encoder-decoder with strided convolutions in place of pooling.

After Milletari et al., V-Net (arXiv 1606.04797), which Zhao et al. use for the proximal femur (arXiv 2006.05513). Each
level halves the grid and doubles the channels; PReLU throughout; a residual sum closes every stage; a 1x1x1 convolution
with softmax is the head. `PRESETS` holds the paper's own layout and those of the shipped weights, which differ in batch
normalisation after every convolution (CT numbers are calibrated, so the statistics of a training set suit them better
than those of one volume), in 3x3x3 kernels, and in a slimmer way up.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmenter.vnet.grids import normalise


@dataclass(frozen=True)
class VNetConfig:
    """Shape of the network; raises ValueError if it cannot be built.

    convs: convolutions per stage on the way down, from the full grid to the coarsest; one entry per level.
    convs_up: the same on the way up, from the coarsest but one to the full grid; empty mirrors the way down.
    wide_up: stages on the way up keep all channels of expanded grid and skip (the paper), or half of them.
    sum_first: the residual is added before the last PReLU of a stage (the paper), or after it.
    dropout: share of the channels left out in training, below the full grid and on every skip.
    """

    classes: int = 2
    width: int = 16
    convs: tuple[int, ...] = (1, 2, 2, 2)
    kernel: int = 3
    convs_up: tuple[int, ...] = ()
    wide_up: bool = False
    sum_first: bool = False
    normalised: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.convs_up and len(self.convs_up) != len(self.convs) - 1:
            raise ValueError(f"{len(self.convs)} levels need {len(self.convs) - 1} convs_up, not {len(self.convs_up)}")
        if min(self.classes, self.width, len(self.convs), *self.convs, *self.convs_up) < 1:
            raise ValueError("classes, width, levels and the convolutions of a stage are at least 1")
        if self.kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd for the grid to stay, it is {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, it is {self.dropout}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VNetConfig":
        """Return the configuration that `as_dict` wrote; a key that an older version did not write has its default."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)

    def as_dict(self) -> dict[str, object]:
        """Return plain values, as stored beside the weights."""
        return asdict(self)

    @property
    def multiple(self) -> int:
        """Every side of the input must be a multiple of this."""
        return int(2 ** (len(self.convs) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the full grid down."""
        return tuple(self.width * 2**level for level in range(len(self.convs)))


PRESETS: Mapping[str, VNetConfig] = MappingProxyType(
    {
        # Milletari et al., figure 2: 16 to 256 channels, no normalisation, no dropout, softmax over two classes.
        "milletari2016": VNetConfig(
            2, 16, (1, 2, 3, 3, 3), 5, convs_up=(3, 3, 2, 1), wide_up=True, sum_first=True, normalised=False
        ),
        "shipped-coarse": VNetConfig(classes=5, width=12),
        "shipped-fine": VNetConfig(classes=2, width=16),
    }
)


class Unit(nn.Sequential):
    """A convolution, an optional normalisation, and a PReLU."""

    def __init__(self, convolution: nn.Conv3d | nn.ConvTranspose3d, config: VNetConfig) -> None:
        channels = convolution.out_channels
        super().__init__(
            convolution, nn.BatchNorm3d(channels) if config.normalised else nn.Identity(), nn.PReLU(channels)
        )


class Stage(nn.Module):
    """Convolutions on one level with a residual sum at the end."""

    def __init__(self, channels_in: int, channels: int, convs: int, config: VNetConfig) -> None:
        super().__init__()
        size, bias = config.kernel, not config.normalised
        widths = [channels_in] + [channels] * convs
        units = [Unit(nn.Conv3d(a, b, size, padding=size // 2, bias=bias), config) for a, b in pairwise(widths)]
        self.activation: nn.Module = nn.Identity()
        if config.sum_first:
            self.activation, units[-1][2] = units[-1][2], self.activation
        self.convs = nn.Sequential(*units)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return `convs(x) + residual`, `(n, channels, z, y, x)`."""
        result: Tensor = self.activation(self.convs(x) + residual)
        return result


class Down(nn.Module):
    """Half the grid, twice the channels: a 2x2x2 convolution with stride 2, then a stage."""

    def __init__(self, channels: int, convs: int, config: VNetConfig) -> None:
        super().__init__()
        self.reduce = Unit(nn.Conv3d(channels, 2 * channels, 2, stride=2, bias=not config.normalised), config)
        self.dropout = nn.Dropout3d(config.dropout)
        self.stage = Stage(2 * channels, 2 * channels, convs, config)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, z, y, x)` -> `(n, 2c, z/2, y/2, x/2)`."""
        x = self.reduce(x)
        result: Tensor = self.stage(self.dropout(x), x)
        return result


class Up(nn.Module):
    """Twice the grid: a transposed convolution to the channels of the skip, then a stage that sees both."""

    def __init__(self, channels: int, skip: int, convs: int, config: VNetConfig) -> None:
        super().__init__()
        self.wide = config.wide_up
        self.expand = Unit(nn.ConvTranspose3d(channels, skip, 2, stride=2, bias=not config.normalised), config)
        self.dropout = nn.Dropout3d(config.dropout)
        self.stage = Stage(2 * skip, 2 * skip if self.wide else skip, convs, config)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """`(n, c, z, y, x)` and the skip `(n, s, 2z, 2y, 2x)` -> `(n, 2s if wide else s, 2z, 2y, 2x)`."""
        x = self.expand(x)
        both = torch.cat([x, self.dropout(skip)], dim=1)
        result: Tensor = self.stage(both, both if self.wide else x)
        return result


class VNet(nn.Module):
    """`(n, 1, z, y, x)` normalised HU -> `(n, classes, z, y, x)` logits, for `softmax` over dimension 1."""

    def __init__(self, config: VNetConfig) -> None:
        super().__init__()
        self.config = config
        skips = config.widths[-2::-1]  # from the coarsest but one to the full grid
        below = [config.widths[-1], *(2 * skip if config.wide_up else skip for skip in skips)]
        convs_up = config.convs_up or config.convs[-2::-1]
        self.stem = Stage(1, config.width, config.convs[0], config)
        self.down = nn.ModuleList(Down(c, n, config) for c, n in zip(config.widths, config.convs[1:], strict=False))
        self.up = nn.ModuleList(Up(c, s, n, config) for c, s, n in zip(below[:-1], skips, convs_up, strict=True))
        self.head = nn.Conv3d(below[-1], config.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits on the grid of the input."""
        features = [self.stem(x, x)]  # the single input channel is broadcast over the stage's channels
        # With one channel the memory format is lost; without it, every later layer would convert its input.
        features[0] = features[0].contiguous(memory_format=torch.channels_last_3d)
        for down in self.down:
            features.append(down(features[-1]))
        y = features.pop()
        for up in self.up:
            y = up(y, features.pop())
        logits: Tensor = self.head(y)
        return logits


def folded(network: VNet) -> VNet:
    """Return the network for inference, with every normalisation folded into the convolution before it."""
    result = copy.deepcopy(network).eval()
    for unit in result.modules():
        if isinstance(unit, Unit) and isinstance(norm := unit[1], nn.BatchNorm3d):
            convolution = unit[0]
            assert isinstance(convolution, nn.Conv3d | nn.ConvTranspose3d)
            transposed = isinstance(convolution, nn.ConvTranspose3d)
            unit[0] = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm, transpose=transposed)
            unit[1] = nn.Identity()
    result.config = replace(network.config, normalised=False)
    return result


def probabilities(network: VNet, window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return class probabilities `(classes, z, y, x)` of one window of HU `(z, y, x)`, in one pass, without tiles."""
    multiple = network.config.multiple
    padding = [(0, -n % multiple) for n in window.shape]
    padded = np.pad(normalise(window), padding, constant_values=-1.0)
    device = next(network.parameters()).device
    image = torch.from_numpy(padded[None, None]).to(device, memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        result = network(image)[0].float().softmax(dim=0).cpu().numpy()
    z, y, x = window.shape
    cut: NDArray[np.float32] = result[:, :z, :y, :x]
    return cut
