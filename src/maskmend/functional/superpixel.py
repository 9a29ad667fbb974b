"""Pooling over superpixels. A map of superpixels is (B, *S) int64, ids from 0 in each case."""

from __future__ import annotations

import torch
from torch import Tensor


def pool(value: Tensor, superpixel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of (B, C, *S) over each superpixel, (B, C, P), and sizes (B, P), pixels. GSD-Net Eq. 12, SP-guided Eq. 1."""
    count = int(superpixel.max()) + 1
    ids = superpixel.flatten(1).unsqueeze(1)
    total = value.new_zeros(*value.shape[:2], count)
    total.scatter_add_(2, ids.expand(-1, value.shape[1], -1), value.flatten(2))
    size = value.new_zeros(len(value), 1, count).scatter_add_(2, ids, torch.ones_like(ids, dtype=value.dtype))
    return total / size.clamp_min(1), size[:, 0]


def unpool(value: Tensor, superpixel: Tensor) -> Tensor:
    """One value per superpixel (B, P) -> that value on each of its pixels (B, *S)."""
    return value.gather(1, superpixel.flatten(1)).view_as(superpixel)


def vote(prob: Tensor, superpixel: Tensor) -> Tensor:
    """The most probable class of each pixel's superpixel, (B, K, *S) -> (B, *S) int64. GSD-Net Eqs. 12-13."""
    return unpool(pool(prob, superpixel)[0].argmax(1), superpixel)
