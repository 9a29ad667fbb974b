"""Losses that a wrong label cannot pull at without end. Logits (B, K, *S), labels (B, *S) int64, all in float32.

Loss maps come back as (B, *S), zero where the label is ``IGNORE``; losses of whole cases as (B,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..types import IGNORE
from .losses import ce, masked_mean, one_hot


def gce(logits: Tensor, label: Tensor, q: float) -> Tensor:
    """(1 - p_y^q) / q of every pixel, (B, *S): cross-entropy for q -> 0, half the absolute error for q = 1.

    Generalised cross-entropy, Zhang & Sabuncu, NeurIPS 2018. Written with -log p_y, it needs no clamp on p_y.
    """
    return -torch.expm1(-q * ce(logits, label)) / q


def rce(logits: Tensor, label: Tensor, floor: float = 1e-4) -> Tensor:
    """Cross-entropy with label and prediction exchanged, -sum_k p_k log max(label_k, floor), (B, *S).

    That is -log(floor) (1 - p_y) for any number of classes. Wang et al., ICCV 2019.
    """
    return -math.log(floor) * gce(logits, label, 1.0)


def sce(logits: Tensor, label: Tensor, alpha: float, beta: float, floor: float = 1e-4) -> Tensor:
    """alpha CE + beta RCE of every pixel, (B, *S), from one cross-entropy. Wang et al., ICCV 2019."""
    pixels = ce(logits, label)
    return alpha * pixels + beta * math.log(floor) * torch.expm1(-pixels)


def t_loss(prob: Tensor, label: Tensor, nu: Tensor, precision: float = 1.0) -> Tensor:
    """Each class' residuals as one draw of a Student t, (B, K - 1): -log density over the number of annotated pixels.

    prob (B, K, *S); nu (K - 1,) degrees of freedom of each foreground class. Its residual of a case is the vector
    p_k - [y = k] of D annotated pixels; ``precision`` is that of each. Gonzalez-Jimenez et al., MICCAI 2023.
    """
    seen = (label != IGNORE).unsqueeze(1)
    residual = (prob.float() - one_hot(label, prob.shape[1]))[:, 1:] * seen
    square, d = residual.square().flatten(2).sum(2), seen.flatten(1).sum(1, keepdim=True).float()
    nu = nu.float()
    constant = torch.lgamma(nu / 2) - torch.lgamma((nu + d) / 2) + d / 2 * (math.pi * nu / precision).log()
    return (constant + (nu + d) / 2 * torch.log1p(precision * square / nu)) / d.clamp_min(1)


def elr(prob: Tensor, target: Tensor, clamp: float = 1e-4) -> Tensor:
    """log(1 - <p, t>) of every pixel, (B, *S): low where a prediction agrees with the ``target`` of earlier ones.

    Both (B, K, *S); p is kept ``clamp`` away from 0 and 1. Liu et al., NeurIPS 2020.
    """
    return torch.log1p(-(prob.float().clamp(clamp, 1 - clamp) * target).sum(1))


def weighted_dice(prob: Tensor, label: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """1 - mean over classes of the Dice of each case, (B,), background included; ``weight`` (B, *S) of each pixel."""
    weight = (weight * (label != IGNORE)).unsqueeze(1)
    hot, prob = weight * one_hot(label, prob.shape[1]), prob.float()
    overlap, size = (prob * hot).flatten(2).sum(2), (weight * prob + hot).flatten(2).sum(2)
    return 1 - ((2 * overlap + eps) / (size + eps)).mean(1)


def sharpen(prob: Tensor, temperature: float) -> Tensor:
    """p^(1/T) over its sum, (B, K, *S): the surer the lower T. MixMatch, Berthelot et al., NeurIPS 2019."""
    return (prob.clamp_min(1e-12).log() / temperature).softmax(1)


def soft_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of every pixel against class probabilities (B, K, *S), (B, *S)."""
    return -(target * logits.float().log_softmax(1)).sum(1)


def soft_ce_dice(logits: Tensor, target: Tensor, seen: Tensor, eps: float = 1e-5) -> Tensor:
    """(cross-entropy + Dice loss) / 2 against class probabilities (B, K, *S), of the pixels ``seen``, bool (B, *S).

    All cases are one: for probabilities of 0 and 1 it is ``losses.ce_dice(..., together=True)``.
    """
    pixels = masked_mean(soft_ce(logits, target), seen)
    target, prob = target * seen.unsqueeze(1), logits.float().softmax(1) * seen.unsqueeze(1)
    dims = (0, *range(2, logits.ndim))
    overlap, size = (prob * target).sum(dims), (prob.square() + target.square()).sum(dims)
    return (pixels + 1 - ((2 * overlap + eps) / (size + eps)).mean()) / 2
