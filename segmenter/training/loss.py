"""The paper's compound loss: Dice plus an L2 regulariser on the weights (Zhao et al., arXiv 2006.05513).

A target `(n, z, y, x)` comes in two kinds: whole numbers are class numbers; floats are the share 0..1 of each voxel
inside the one foreground class, so that a voxel that the surface cuts need not be called bone or not bone.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

AXES = (0, 2, 3, 4)  # the batch is taken as one volume, so a class missing from one crop is no special case


class LossWeights(Protocol):
    """How much each term counts; the paper has `dice` 1 and no cross-entropy `ce`."""

    @property
    def dice(self) -> float:
        """Weight of the Dice loss."""

    @property
    def ce(self) -> float:
        """Weight of the cross-entropy."""

    @property
    def l2(self) -> float:
        """Weight of the L2 regulariser."""


def compound_loss(network: nn.Module, logits: Tensor, target: Tensor, weights: LossWeights) -> Tensor:
    """Return `dice` x Dice loss + `ce` x cross-entropy + `l2` x L2 penalty; a term of weight 0 costs no time."""
    loss = logits.new_zeros((), dtype=torch.float32)
    if weights.dice:
        loss = loss + weights.dice * dice_loss(logits, target)
    if weights.ce:
        loss = loss + weights.ce * nn.functional.cross_entropy(logits.float(), class_shares(target, logits.shape[1]))
    if weights.l2:
        loss = loss + weights.l2 * l2_penalty(network)
    return loss


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - mean soft Dice over the foreground classes; 0 exactly where the probabilities are the shares.

    logits `(n, c, z, y, x)`. The denominator holds squares, as in V-Net (arXiv 1606.04797, eq. 1).
    """
    probability = logits.float().softmax(dim=1)[:, 1:]
    share = class_shares(target, logits.shape[1])[:, 1:]
    overlap = (probability * share).sum(AXES)
    size = (probability**2).sum(AXES) + (share**2).sum(AXES)
    return 1 - ((2 * overlap + 1.0) / (size + 1.0)).mean()


def l2_penalty(network: nn.Module) -> Tensor:
    """Return half the sum of squares of all convolution weights."""
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    return 0.5 * torch.stack([k.float().square().sum() for k in kernels]).sum()


def class_shares(target: Tensor, classes: int) -> Tensor:
    """Return the share of each class in each voxel, `(n, classes, z, y, x)` float32.

    Raises ValueError for shares of more than one foreground class: one number cannot tell them apart.
    """
    if target.is_floating_point():
        if classes != 2:
            raise ValueError(f"a share tells two classes apart, not {classes}: give class numbers")
        return torch.stack([1 - target, target], dim=1).float()
    return nn.functional.one_hot(target.long(), classes).movedim(-1, 1).float()


def hard_dice(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return twice the overlap and the sum of both sizes in voxels, each `(classes - 1,)`, of what is called bone.

    A voxel belongs to the likeliest class; a share counts from one half on. The Dice of several crops together is the
    ratio of their sums.
    """
    classes = logits.shape[1]
    answer = class_shares(logits.argmax(dim=1), classes)[:, 1:]
    truth = class_shares((target >= 0.5).long() if target.is_floating_point() else target, classes)[:, 1:]
    return 2 * (answer * truth).sum(AXES), answer.sum(AXES) + truth.sum(AXES)
