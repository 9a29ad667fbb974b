"""Robust losses against their definitions, written out pixel by pixel, and at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_t

from maskmend.functional.losses import ce, ce_dice, dice_by_class, one_hot
from maskmend.functional.robust import elr, gce, rce, sce, sharpen, soft_ce, soft_ce_dice, t_loss, weighted_dice
from maskmend.types import IGNORE

SHAPES = [(4, 4), (3, 4, 2)]


def a_case(classes: int = 3, shape: tuple[int, ...] = (4, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of two cases; one pixel is not annotated."""
    logits, label = 2 * torch.randn(2, classes, *shape), torch.randint(0, classes, (2, *shape))
    label.view(-1)[0] = IGNORE
    return logits, label


@pytest.mark.parametrize("shape", SHAPES)
def test_gce_lies_between_cross_entropy_and_absolute_error(shape: tuple[int, ...]) -> None:
    logits, label = a_case(shape=shape)
    p = logits.softmax(1).gather(1, label.clamp_min(0).unsqueeze(1)).squeeze(1)
    seen = label != IGNORE
    torch.testing.assert_close(gce(logits, label, 1e-5), ce(logits, label), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(gce(logits, label, 1.0), (1 - p) * seen)
    torch.testing.assert_close(gce(logits, label, 0.7), (1 - p**0.7) / 0.7 * seen)


def test_gce_pulls_as_cross_entropy_does_times_p_to_the_q() -> None:
    logits, label = a_case()
    logits.requires_grad_()
    p = (-ce(logits, label)).exp().detach().unsqueeze(1)
    (robust,) = torch.autograd.grad(gce(logits, label, 0.7).sum(), logits)
    (plain,) = torch.autograd.grad(ce(logits, label).sum(), logits)
    torch.testing.assert_close(robust, plain * p**0.7)


def test_a_hopeless_pixel_keeps_gce_finite() -> None:
    logits = torch.tensor([0.0, 200.0]).view(1, 2, 1, 1).requires_grad_()
    loss = gce(logits, torch.zeros(1, 1, 1, dtype=torch.long), 0.7)
    loss.sum().backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_rce_exchanges_label_and_prediction(classes: int) -> None:
    logits, label = a_case(classes)
    swapped = -(logits.softmax(1) * one_hot(label, classes).clamp(1e-4, 1).log()).sum(1)
    torch.testing.assert_close(rce(logits, label), swapped * (label != IGNORE))
    p = (-ce(logits, label)).exp()
    torch.testing.assert_close(rce(logits, label), 9.210340 * (1 - p) * (label != IGNORE))
    torch.testing.assert_close(sce(logits, label, 0.1, 2.0), 0.1 * ce(logits, label) + 2 * rce(logits, label))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", [1.0, math.e])
def test_t_loss_is_the_density_of_a_student_t(shape: tuple[int, ...], precision: float) -> None:
    logits, label = a_case(shape=shape)
    prob, nu = logits.softmax(1), torch.tensor([1.5, 40.0])
    found = t_loss(prob, label, nu, precision)
    for case in range(2):
        seen = (label[case] != IGNORE).numpy()
        for k in (1, 2):
            residual = (prob[case, k] - (label[case] == k).float()).numpy()[seen]
            law = multivariate_t(np.zeros(len(residual)), np.eye(len(residual)) / precision, df=float(nu[k - 1]))
            assert found[case, k - 1].item() == pytest.approx(-law.logpdf(residual) / len(residual), rel=1e-4)


def test_an_image_far_off_pulls_less_in_t_loss() -> None:
    """At four times the squared error the loss rises by ln 4 / 2, not fourfold; the largest pull is behind it."""
    prob = torch.zeros(1, 2, 64, 64)
    label = torch.zeros(1, 64, 64, dtype=torch.long)
    low, high = (t_loss(prob + r, label, torch.ones(1)) for r in (0.4, 0.8))
    assert (high - low).item() == pytest.approx(math.log(4) / 2, rel=1e-2)

    def pull(residual: float) -> float:
        p = torch.full((1, 2, 64, 64), residual, requires_grad=True)
        t_loss(p, label, torch.ones(1)).sum().backward()
        return p.grad.abs().sum().item()

    assert pull(0.8) < pull(0.4)


def test_t_loss_of_a_large_volume_is_exact_enough() -> None:
    prob, label = torch.full((1, 2, 128, 128, 96), 0.3), torch.zeros(1, 128, 128, 96, dtype=torch.long)
    nu = torch.tensor([math.e], requires_grad=True)
    loss = t_loss(prob, label, nu)
    d, square = label.numel(), label.numel() * 0.09
    wanted = math.lgamma(math.e / 2) - math.lgamma((math.e + d) / 2) + d / 2 * math.log(math.pi * math.e)
    assert loss.item() == pytest.approx((wanted + (math.e + d) / 2 * math.log1p(square / math.e)) / d, abs=1e-5)
    loss.sum().backward()
    assert torch.isfinite(nu.grad).all()


def test_elr_rewards_agreement_and_stays_finite() -> None:
    prob, target = torch.rand(2, 3, 4, 4).softmax(1), torch.rand(2, 3, 4, 4).softmax(1)
    torch.testing.assert_close(elr(prob, target), (1 - (prob * target).sum(1)).log())
    sure = one_hot(torch.zeros(1, 2, 2, dtype=torch.long), 3).requires_grad_()
    loss = elr(sure, sure.detach())
    assert loss.max().item() == pytest.approx(math.log(1e-4), rel=1e-2)
    loss.sum().backward()
    assert torch.isfinite(sure.grad).all()


def test_weighted_dice_counts_pixels_by_weight() -> None:
    logits, label = a_case()
    prob, ones = logits.softmax(1), torch.ones(2, 4, 4)
    plain = dice_by_class(prob, label, background=True, eps=1e-5)
    torch.testing.assert_close(weighted_dice(prob, label, ones), plain)
    half = ones.clone()
    half[:, 2:] = 0
    torch.testing.assert_close(
        weighted_dice(prob, label, half), weighted_dice(prob[:, :, :2], label[:, :2], ones[:, :2])
    )


def test_soft_targets() -> None:
    logits, label = a_case()
    prob = logits.softmax(1)
    torch.testing.assert_close(sharpen(prob, 1.0), prob)
    torch.testing.assert_close(sharpen(prob, 0.5), prob**2 / (prob**2).sum(1, keepdim=True))
    assert torch.isfinite(sharpen(one_hot(label, 3), 0.1)).all()
    torch.testing.assert_close(soft_ce(logits, one_hot(label, 3)), ce(logits, label))


@pytest.mark.parametrize("shape", SHAPES)
def test_soft_ce_dice_of_hard_targets_is_the_usual_one(shape: tuple[int, ...]) -> None:
    logits, label = a_case(shape=shape)
    seen = label != IGNORE
    both = soft_ce_dice(logits, one_hot(label, 3), seen)
    torch.testing.assert_close(both, ce_dice(logits, label, together=True)[0])
    assert soft_ce_dice(logits, one_hot(label, 3), torch.zeros_like(seen)) == 0


def test_nothing_annotated_costs_nothing() -> None:
    logits, label = torch.randn(2, 3, 4, 4, requires_grad=True), torch.full((2, 4, 4), IGNORE)
    prob = logits.softmax(1)
    losses = [gce(logits, label, 0.7), sce(logits, label, 1, 1), t_loss(prob, label, torch.ones(2))]
    for loss in losses:
        assert (loss == 0).all()
    torch.stack([loss.sum() for loss in losses]).sum().backward()
    assert (logits.grad == 0).all()
