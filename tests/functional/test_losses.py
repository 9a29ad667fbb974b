"""Losses against closed forms and loops."""

from __future__ import annotations

import math

import pytest
import torch

from maskmend.functional.losses import (
    ce,
    complement_ce,
    dice_by_class,
    dice_joint,
    dice_soft,
    kl,
    masked_mean,
    one_hot,
    sym_kl,
)
from maskmend.types import IGNORE

LOGITS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
LABEL = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))


def test_cross_entropy_is_minus_log_of_the_given_class() -> None:
    prob = LOGITS.softmax(1)
    expected = -prob.gather(1, LABEL[:, None]).log()[:, 0]
    torch.testing.assert_close(ce(LOGITS, LABEL), expected)


def test_the_complement_is_minus_log_of_all_other_classes() -> None:
    prob = LOGITS.softmax(1)
    expected = -(1 - prob.gather(1, LABEL[:, None])).log()[:, 0]
    torch.testing.assert_close(complement_ce(LOGITS, LABEL), expected)
    sure = torch.tensor([[[[200.0]], [[-200.0]]]])  # no overflow where the network is certain
    assert complement_ce(sure, torch.zeros(1, 1, 1, dtype=torch.long)).item() == pytest.approx(400.0)


def test_two_classes_swapped_are_the_complement() -> None:
    logits, label = LOGITS[:, :2], LABEL.clamp_max(1)
    torch.testing.assert_close(complement_ce(logits, label), ce(logits, 1 - label))


def test_divergences_against_a_loop() -> None:
    p, q = LOGITS[:1], LOGITS[1:]
    for row, column in ((0, 0), (3, 4)):
        a, b = p[0, :, row, column].softmax(0).tolist(), q[0, :, row, column].softmax(0).tolist()
        expected = sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))
        assert kl(p, q)[0, row, column].item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(sym_kl(p, q), kl(p, q) + kl(q, p))
    assert kl(p, p).abs().max() < 1e-6


def test_dice_of_perfect_and_of_opposite_predictions() -> None:
    hot = one_hot(LABEL, 3)
    for loss in (dice_joint, dice_by_class):
        assert loss(hot, LABEL).max() < 1e-3
    wrong = one_hot((LABEL + 1) % 3, 3)
    assert dice_joint(wrong, LABEL).min() > 0.999
    assert dice_by_class(wrong, LABEL, eps=1e-6).min() > 0.999


def test_dice_by_class_is_half_where_half_is_found() -> None:
    label = torch.tensor([[[1, 1, 1, 0]]])
    prob = one_hot(torch.tensor([[[1, 0, 0, 0]]]), 2)
    assert dice_by_class(prob, label, eps=1e-9).item() == pytest.approx(1 - 2 / 4)


def test_pixels_nobody_annotated_count_nowhere() -> None:
    label = LABEL.clone()
    label[:, 2:] = IGNORE
    assert ce(LOGITS, label)[:, 2:].abs().max() == 0
    assert complement_ce(LOGITS, label)[:, 2:].abs().max() == 0
    for loss in (dice_joint, dice_by_class):
        torch.testing.assert_close(loss(LOGITS.softmax(1), label), loss(LOGITS[:, :, :2].softmax(1), label[:, :2]))


def test_losses_stay_in_float32_when_networks_do_not() -> None:
    half = LOGITS.bfloat16()
    assert ce(half, LABEL).dtype == kl(half, half).dtype == dice_joint(half, LABEL).dtype == torch.float32


def test_a_mean_over_nothing_is_zero() -> None:
    assert masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)).item() == 0


def test_dice_of_shares_is_that_of_labels_where_shares_are_0_and_1() -> None:
    label = LABEL.clone()
    label[0, 1:3] = IGNORE
    prob = LOGITS.softmax(1)
    expected = dice_by_class(prob, label)
    torch.testing.assert_close(dice_soft(prob, one_hot(LABEL, 3), label != IGNORE), expected)


def test_dice_of_shares_is_least_at_the_shares() -> None:
    share = torch.tensor([0.6, 0.4]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    seen = torch.ones(1, 4, 4, dtype=torch.bool)
    tried = torch.linspace(0, 1, 11)
    losses = [dice_soft(torch.stack((1 - p, p)).view(1, 2, 1, 1).expand_as(share), share, seen) for p in tried]
    assert torch.cat(losses).argmin() == 4
    assert torch.cat(losses)[4] == pytest.approx(0, abs=1e-6)
    assert losses[0].item() == pytest.approx(1 - 1 / (6.4 + 1))  # by hand: eps over 16 shares of 0.4, and eps
    only = torch.zeros_like(seen)
    assert dice_soft(share, 1 - share, only).item() == 0
