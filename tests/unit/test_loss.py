"""Dice and L2 on volumes small enough to count by hand."""

import pytest
import torch
from torch import nn

from segmenter.training.loss import compound_loss, dice_loss, l2_penalty


def certain(label: torch.Tensor, classes: int) -> torch.Tensor:
    return 40.0 * nn.functional.one_hot(label.long(), classes).movedim(-1, 1).float()


def test_a_perfect_answer_costs_nothing():
    label = torch.randint(0, 3, (2, 4, 4, 4))
    assert dice_loss(certain(label, 3), label).item() == pytest.approx(0, abs=1e-5)


def test_half_an_overlap_costs_half():
    label = torch.zeros(1, 1, 1, 400)
    label[..., :200] = 1
    answer = torch.zeros(1, 1, 1, 400)
    answer[..., 100:300] = 1
    assert dice_loss(certain(answer, 2), label).item() == pytest.approx(0.5, abs=0.01)


def test_a_class_that_is_absent_and_not_claimed_costs_nothing():
    label = torch.zeros(1, 2, 2, 2)
    label[0, 0] = 1
    assert dice_loss(certain(label, 3), label).item() == pytest.approx(0, abs=1e-5)


def test_l2_counts_kernels_and_nothing_else():
    network = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1), nn.PReLU(1))
    nn.init.constant_(network[0].weight, 3.0)
    assert l2_penalty(network).item() == pytest.approx(4.5)
    label = torch.ones(1, 2, 2, 2)
    assert compound_loss(network, certain(label, 2), label, 0.1).item() == pytest.approx(0.45, abs=1e-4)
