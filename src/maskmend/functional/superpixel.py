"""Pooling over superpixels. A map of superpixels is (B, *S) int64, ids from 0 in each case."""

from __future__ import annotations

import torch
from torch import Tensor


def totals(value: Tensor, superpixel: Tensor) -> Tensor:
    """Sums of (B, C, *S) over each superpixel, (B, C, P)."""
    count = int(superpixel.max()) + 1
    ids = superpixel.flatten(1).unsqueeze(1).expand(-1, value.shape[1], -1)
    return value.new_zeros(*value.shape[:2], count).scatter_add_(2, ids, value.flatten(2))


def pool(value: Tensor, superpixel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of (B, C, *S) over each superpixel, (B, C, P), and sizes (B, P), pixels. GSD-Net Eq. 12, SP-guided Eq. 1."""
    sums = totals(torch.cat((value, torch.ones_like(value[:, :1])), dim=1), superpixel)
    return sums[:, :-1] / sums[:, -1:].clamp_min(1), sums[:, -1]


def unpool(value: Tensor, superpixel: Tensor) -> Tensor:
    """One value per superpixel (B, P) -> that value on each of its pixels (B, *S)."""
    return value.gather(1, superpixel.flatten(1)).view_as(superpixel)


def vote(prob: Tensor, superpixel: Tensor) -> Tensor:
    """The most probable class of each pixel's superpixel, (B, K, *S) -> (B, *S) int64. GSD-Net Eqs. 12-13."""
    return unpool(pool(prob, superpixel)[0].argmax(1), superpixel)
