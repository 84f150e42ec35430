"""Networks that only look how dense a voxel is: the truth of a made-up body is what they must find."""

import numpy as np
import torch

from segmenter.vnet.grids import normalise
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.vnet.weights import Models


def denser_than(hu: float, classes: int) -> VNet:
    """A network that looks at one voxel and calls it class 1 when it is denser than `hu`, else class 0."""
    network = VNet(VNetConfig(classes, width=1, convs=(1,), kernel=1, normalised=False))
    limit = 2 * float(normalise(np.float32([hu]))[0])  # the stage's residual doubles what comes in
    with torch.no_grad():
        network.stem.convs[0][0].weight.fill_(1.0)
        network.stem.convs[0][0].bias.fill_(0.0)
        network.stem.convs[0][2].weight.fill_(1.0)
        network.head.weight.fill_(0.0)
        network.head.bias.fill_(-1e4)
        network.head.weight[:2] = torch.tensor([-100.0, 100.0])[:, None, None, None, None]
        network.head.bias[:2] = torch.tensor([100.0, -100.0]) * limit
    return network.eval()


def threshold_models() -> Models:
    """Networks that see bone from 0 HU on; the coarse one only what is denser than 700 HU, as a left hip."""
    return Models("threshold", "1", "0" * 64, denser_than(700, 5), denser_than(0, 2), torch.device("cpu"))
