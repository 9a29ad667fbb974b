"""Weights from the distance to the label's boundary (GSD-Net Sec. 3.3)."""

from __future__ import annotations

from torch import Tensor


def distance_weight(distance: Tensor, elapsed: float, cap: float) -> Tensor:
    """max(min(distance, T) - elapsed * T, 1), like ``distance``, in pixels. GSD-Net Eq. 9.

    ``elapsed`` is e / E in [0, 1], ``cap`` is T.
    """
    return (distance.clamp_max(cap) - elapsed * cap).clamp_min(1.0)


def ring_weight(rings: Tensor, epoch: int, cap: float, period: int) -> Tensor:
    """clip(rings, 1, max(T + 1 - floor(e / period), 1)): the weight of GSD-Net's released code, whose cap shrinks.

    ``rings`` (B, *S) in pixels; ``period`` in epochs, 10 there.
    """
    return rings.clamp_max(max(cap + 1 - epoch // period, 1.0)).clamp_min(1.0)
