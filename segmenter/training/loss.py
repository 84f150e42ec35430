"""The paper's compound loss: Dice plus an L2 regulariser on the weights (Zhao et al., arXiv 2006.05513)."""

import torch
from torch import Tensor, nn


def dice_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return 1 - mean soft Dice over the foreground classes.

    logits `(n, c, z, y, x)`; label `(n, z, y, x)` of class numbers. The denominator holds squares, as in V-Net
    (arXiv 1606.04797, eq. 1); the batch is taken as one volume, so a class missing from one crop is no special case.
    """
    probability = logits.float().softmax(dim=1)[:, 1:]
    target = nn.functional.one_hot(label.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    axes = (0, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    size = (probability**2).sum(axes) + target.sum(axes)
    return 1 - ((2 * overlap + 1.0) / (size + 1.0)).mean()


def l2_penalty(network: nn.Module) -> Tensor:
    """Return half the sum of squares of all convolution weights."""
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    return 0.5 * torch.stack([k.float().square().sum() for k in kernels]).sum()


def compound_loss(network: nn.Module, logits: Tensor, label: Tensor, l2: float) -> Tensor:
    """Return Dice loss + `l2` x L2 penalty."""
    return dice_loss(logits, label) + l2 * l2_penalty(network)
