"""Losses on tensors. Logits are (B, K, *S), labels (B, *S) int64; loss maps come back as (B, *S) float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..types import IGNORE


def ce(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of every pixel, (B, *S); zero where the label is ``IGNORE``. GSD-Net Eq. 1."""
    return F.cross_entropy(logits.float(), label, reduction="none", ignore_index=IGNORE)


def case_ce(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of each case's annotated pixels, (B,); zero where there are none."""
    return ce(logits, label).flatten(1).sum(1) / (label != IGNORE).flatten(1).sum(1).clamp_min(1)


def complement_ce(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy against "any class but the given one", -log(1 - p_y), (B, *S): GSD-Net Eq. 20's inverted label."""
    rest = logits.float().scatter(1, label.clamp_min(0).unsqueeze(1), -torch.inf)
    log_other = rest.logsumexp(1) - logits.float().logsumexp(1)
    return torch.where(label == IGNORE, 0.0, -log_other)


def kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(softmax p || softmax q) of every pixel, (B, *S). GSD-Net Eq. 3."""
    log_p, log_q = logits_p.float().log_softmax(1), logits_q.float().log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def sym_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of every pixel, (B, *S), in one pass. GSD-Net Eq. 4."""
    log_p, log_q = logits_p.float().log_softmax(1), logits_q.float().log_softmax(1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(B, *S) int64 -> (B, K, *S) float32, all zero where the label is ``IGNORE``."""
    hot = torch.zeros(len(label), classes, *label.shape[1:], device=label.device)
    return hot.scatter_(1, label.clamp_min(0).unsqueeze(1), (label != IGNORE).unsqueeze(1).float())


def most_likely(prob: Tensor) -> Tensor:
    """The class of largest value, the first of equals: (B, K, *S) -> (B, *S) int64.

    torch.max finds it several times faster than torch.argmax where classes are not the last axis.
    """
    return prob.max(1).indices


def dice_joint(prob: Tensor, label: Tensor, eps: float = 1e-5) -> Tensor:
    """1 - Dice of each case, (B,): squared denominator, all classes summed together. GSD-Net Eq. 16."""
    hot, seen = one_hot(label, prob.shape[1]), (label != IGNORE).unsqueeze(1)
    prob = prob.float() * seen
    overlap, size = (prob * hot).flatten(1).sum(1), (prob.square() + hot).flatten(1).sum(1)
    return 1 - (2 * overlap + eps) / (size + eps)


def dice_by_class(
    prob: Tensor, label: Tensor, background: bool = False, eps: float = 1.0, squared: bool = False
) -> Tensor:
    """1 - mean over classes of the Dice of each case, (B,): smoothed by ``eps``, denominator linear or ``squared``.

    With ``background`` it is the form of GSD-Net's released code; without, the one common in the field.
    """
    hot, seen = one_hot(label, prob.shape[1]), (label != IGNORE).unsqueeze(1)
    prob = prob.float() * seen
    dims = tuple(range(2, prob.ndim))
    size = prob.square() if squared else prob
    dice = (2 * (prob * hot).sum(dims) + eps) / ((size + hot).sum(dims) + eps)
    return 1 - dice[:, 0 if background else 1 :].mean(1)


def dice_soft(prob: Tensor, target: Tensor, seen: Tensor, eps: float = 1.0) -> Tensor:
    """1 - mean over foreground classes of the Dice of each case against shares, (B,): prob and target (B, K, *S).

    Wang et al., MICCAI 2023, DML1: |a| + |b| - |a - b| in place of 2 a b, so that the loss is least at prob = target;
    2 a b would reward 0 and 1. Equal to ``dice_by_class`` where shares are 0 and 1. ``seen``: bool (B, *S).
    """
    prob, target = (value[:, 1:].float() * seen.unsqueeze(1) for value in (prob, target))
    dims = tuple(range(2, prob.ndim))
    size, apart = (prob + target).sum(dims), (prob - target).abs().sum(dims)
    return 1 - ((size - apart + eps) / (size + eps)).mean(1)


def ce_dice(logits: Tensor, label: Tensor, together: bool = False, eps: float = 1e-5) -> Tensor:
    """(cross-entropy + Dice loss) / 2 of each case, (B,): squared denominators, background included. ALC Eq. 1.

    ``together``: sums run over all cases, as if they were one, (1,). What nobody annotated counts as zero.
    """
    if together:
        logits, label = logits.transpose(0, 1).flatten(1)[None], label.flatten()[None]
    dice = dice_by_class(logits.float().softmax(1), label, background=True, eps=eps, squared=True)
    return (case_ce(logits, label) + dice) / 2


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``value`` where ``mask`` holds; zero where it holds nowhere. Both (B, *S)."""
    return (value * mask).sum() / mask.sum().clamp_min(1)
