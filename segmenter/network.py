"""The V-Net: a 3D residual encoder-decoder with strided convolutions in place of pooling.

After Milletari et al., V-Net (arXiv 1606.04797), in the form Zhao et al. use for the proximal femur (arXiv 2006.05513).
Each level halves the grid and doubles the channels; PReLU throughout; a residual sum closes every stage; a 1x1x1
convolution with softmax is the head. Batch normalisation, which the first paper does not have, follows every
convolution: CT numbers are calibrated, so the statistics of a training set suit them better than those of one volume.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmenter.grids import normalise


@dataclass(frozen=True)
class VNetConfig:
    """Shape of the network. `convs`: convolutions per stage, from the full grid down; one entry per level."""

    classes: int = 2
    width: int = 16
    convs: tuple[int, ...] = (1, 2, 2, 2)
    kernel: int = 3

    @property
    def multiple(self) -> int:
        """Every side of the input must be a multiple of this."""
        return int(2 ** (len(self.convs) - 1))

    def as_dict(self) -> dict[str, object]:
        """Return plain values, as stored beside the weights."""
        return asdict(self)


def convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Return convolution, normalisation, PReLU; the grid stays."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm3d(channels_out),
        nn.PReLU(channels_out),
    )


class Stage(nn.Module):
    """Some convolutions on one level, closed by a residual sum."""

    def __init__(self, channels_in: int, channels: int, convs: int, kernel: int) -> None:
        super().__init__()
        widths = [channels_in] + [channels] * convs
        self.convs = nn.Sequential(*(convolution(a, b, kernel) for a, b in pairwise(widths)))

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return `convs(x) + residual`, `(n, channels, z, y, x)`."""
        result: Tensor = self.convs(x) + residual
        return result


class Down(nn.Module):
    """Half the grid, twice the channels: a 2x2x2 convolution with stride 2, then a stage."""

    def __init__(self, channels: int, convs: int, kernel: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv3d(channels, 2 * channels, 2, stride=2, bias=False),
            nn.BatchNorm3d(2 * channels),
            nn.PReLU(2 * channels),
        )
        self.stage = Stage(2 * channels, 2 * channels, convs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, z, y, x)` -> `(n, 2c, z/2, y/2, x/2)`."""
        x = self.reduce(x)
        result: Tensor = self.stage(x, x)
        return result


class Up(nn.Module):
    """Twice the grid, half the channels: a transposed convolution, then a stage that also sees the skip."""

    def __init__(self, channels: int, convs: int, kernel: int) -> None:
        super().__init__()
        half = channels // 2
        self.expand = nn.Sequential(
            nn.ConvTranspose3d(channels, half, 2, stride=2, bias=False), nn.BatchNorm3d(half), nn.PReLU(half)
        )
        self.stage = Stage(channels, half, convs, kernel)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """`(n, c, z, y, x)` and the skip `(n, c/2, 2z, 2y, 2x)` -> `(n, c/2, 2z, 2y, 2x)`."""
        x = self.expand(x)
        result: Tensor = self.stage(torch.cat([x, skip], dim=1), x)
        return result


class VNet(nn.Module):
    """`(n, 1, z, y, x)` normalised HU -> `(n, classes, z, y, x)` logits, for `softmax` over dimension 1."""

    def __init__(self, config: VNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(len(config.convs))]
        self.stem = Stage(1, config.width, config.convs[0], config.kernel)
        self.down = nn.ModuleList(Down(w, n, config.kernel) for w, n in zip(widths, config.convs[1:], strict=False))
        self.up = nn.ModuleList(
            Up(w, n, config.kernel) for w, n in zip(widths[:0:-1], config.convs[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(config.width, config.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits on the grid of the input."""
        features = [self.stem(x, x)]  # the single input channel is broadcast over the stage's channels
        for down in self.down:
            features.append(down(features[-1]))
        y = features.pop()
        for up in self.up:
            y = up(y, features.pop())
        logits: Tensor = self.head(y)
        return logits


def probabilities(network: VNet, window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return class probabilities `(classes, z, y, x)` of one window of HU `(z, y, x)`, run whole, without tiles."""
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
