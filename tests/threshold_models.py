"""Networks that threshold each voxel: in a made-up body they must find the true masks."""

import numpy as np
import torch

from segmenter.vnet.grids import normalise
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.vnet.weights import Models


def denser_than(hu: float, classes: int) -> VNet:
    """A network that assigns class 1 to a voxel above `hu`, else class 0."""
    network = VNet(VNetConfig(classes, width=1, convs=(1,), kernel=1, normalised=False))
    limit = 2 * float(normalise(np.float32([hu]))[0])  # the residual of the stage doubles its input
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
    """Networks that find bone from 0 HU on; the coarse one finds voxels above 700 HU as a left hip."""
    return Models("threshold", "1", "0" * 64, denser_than(700, 5), denser_than(0, 2), torch.device("cpu"))
