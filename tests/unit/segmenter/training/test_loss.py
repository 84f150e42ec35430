"""Dice, cross-entropy and L2 on volumes small enough to count by hand."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from segmenter.training.loss import class_shares, compound_loss, dice_loss, hard_dice, l2_penalty


@dataclass(frozen=True)
class Weights:
    dice: float = 1.0
    ce: float = 0.0
    l2: float = 0.0


def certain(label: torch.Tensor, classes: int) -> torch.Tensor:
    return 40.0 * nn.functional.one_hot(label.long(), classes).movedim(-1, 1).float()


def logits_of(probability: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.zeros_like(probability), torch.logit(probability)], dim=1)


def test_a_perfect_answer_costs_nothing():
    label = torch.randint(0, 3, (2, 4, 4, 4))
    assert dice_loss(certain(label, 3), label).item() == pytest.approx(0, abs=1e-5)


def test_half_an_overlap_costs_half():
    label = torch.zeros(1, 1, 1, 400, dtype=torch.uint8)
    label[..., :200] = 1
    answer = torch.zeros(1, 1, 1, 400)
    answer[..., 100:300] = 1
    assert dice_loss(certain(answer, 2), label).item() == pytest.approx(0.5, abs=0.01)


def test_a_class_that_is_absent_and_not_claimed_costs_nothing():
    label = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    label[0, 0] = 1
    assert dice_loss(certain(label, 3), label).item() == pytest.approx(0, abs=1e-5)


def test_a_share_of_nought_or_one_is_a_class_number():
    label = torch.randint(0, 2, (2, 4, 4, 4))
    logits = torch.randn(2, 2, 4, 4, 4)
    for weights in (Weights(), Weights(dice=0, ce=1)):
        of_numbers = compound_loss(nn.Identity(), logits, label, weights)
        of_shares = compound_loss(nn.Identity(), logits, label.float(), weights)
        assert of_numbers.item() == pytest.approx(of_shares.item())


def test_the_share_itself_is_the_best_answer_to_a_share():
    share = torch.rand(1, 6, 6, 6).clamp(0.05, 0.95)
    assert dice_loss(logits_of(share), share).item() == pytest.approx(0, abs=1e-5)
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).mean()
    assert compound_loss(nn.Identity(), logits_of(share), share, Weights(dice=0, ce=1)).item() == pytest.approx(
        entropy.item(), rel=1e-4
    )
    for other in (share * 0.9, (share > 0.5).float().clamp(0.01, 0.99)):
        assert dice_loss(logits_of(other), share) > 1e-3
        assert compound_loss(nn.Identity(), logits_of(other), share, Weights(dice=0, ce=1)) > entropy


def test_terms_add_up_with_their_weights():
    network = nn.Conv3d(1, 1, 1)
    nn.init.constant_(network.weight, 2.0)
    logits, label = torch.zeros(1, 2, 2, 2, 2), torch.ones(1, 2, 2, 2, dtype=torch.uint8)
    dice = 1 - (2 * 4 + 1) / (2 + 8 + 1)
    loss = compound_loss(network, logits, label, Weights(dice=0.5, ce=3, l2=0.1))
    assert loss.item() == pytest.approx(0.5 * dice + 3 * math.log(2) + 0.1 * 2.0)


def test_a_share_cannot_stand_for_three_classes():
    with pytest.raises(ValueError, match="two classes apart, not 3"):
        class_shares(torch.rand(1, 2, 2, 2), 3)


def test_l2_counts_kernels_and_nothing_else():
    network = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1), nn.PReLU(1))
    nn.init.constant_(network[0].weight, 3.0)
    assert l2_penalty(network).item() == pytest.approx(4.5)
    label = torch.ones(1, 2, 2, 2, dtype=torch.uint8)
    loss = compound_loss(network, certain(label, 2), label, Weights(l2=0.1))
    assert loss.item() == pytest.approx(0.45, abs=1e-4)


def test_hard_dice_counts_voxels_from_one_half_on():
    share = torch.tensor([0.0, 0.49, 0.5, 1.0]).view(1, 1, 1, 4)
    answer = torch.tensor([0.4, 0.6, 0.9, 0.6]).view(1, 1, 1, 4)
    overlap, size = hard_dice(logits_of(answer), share)
    assert (overlap.tolist(), size.tolist()) == ([4.0], [5.0])


def test_hard_dice_counts_each_class():
    label = torch.tensor([0, 1, 1, 2]).view(1, 1, 1, 4)
    answer = torch.tensor([0, 1, 2, 2]).view(1, 1, 1, 4)
    overlap, size = hard_dice(certain(answer, 3), label)
    assert (overlap.tolist(), size.tolist()) == ([2.0, 2.0], [3.0, 3.0])
