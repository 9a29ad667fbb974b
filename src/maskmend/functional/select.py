"""Small-loss selection: which pixels to believe. Masks are detached by construction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..types import IGNORE


def kth_smallest(value: Tensor, k: int) -> Tensor:
    """The ``k``-th smallest, from 1, of (N,) float, (): NaN counts as the largest. A selection, never a full sort.

    On the CPU by numpy's introselect, several times faster than torch's.
    """
    if value.device.type == "cpu":
        return torch.from_numpy(np.partition(value.detach().numpy(), k - 1)[k - 1 : k]).squeeze(0)
    return value.kthvalue(k).values


@torch.no_grad()
def small_loss(loss: Tensor, keep: float, valid: Tensor) -> Tensor:
    """The ``keep`` share of the valid pixels with the smallest loss, ranked over the whole batch. GSD-Net Eq. 5.

    loss (B, *S) float, valid (B, *S) bool -> (B, *S) bool. At least one pixel is kept where any is valid; pixels tied
    with the last one kept are kept too.
    """
    if keep >= 1 or not (count := int(valid.sum())):
        return valid
    ranked = torch.where(valid, loss.float(), torch.inf).flatten()
    return valid & (loss <= kth_smallest(ranked, max(1, int(keep * count))))


@torch.no_grad()
def small_loss_by_class(loss: Tensor, keep: float, label: Tensor, classes: int) -> Tensor:
    """The ``keep`` share of each given class by itself, (B, *S) bool: no class can be dropped as a whole.

    loss (B, *S) float, label (B, *S) int64, ``IGNORE`` never kept. The selection of SP-guided's released code.
    """
    kept = torch.zeros_like(label, dtype=torch.bool)
    for value in range(classes):
        kept |= small_loss(loss, keep, label == value)
    return kept


def believed(loss: Tensor, drop: float, label: Tensor, classes: int, ranking: str, scope: str = "batch") -> Tensor:
    """All annotated pixels but the share ``drop`` with the largest loss, (B, *S) bool.

    ``ranking``: "all" pixels together; or each given "class" by itself, for a class smaller than ``drop``.
    ``scope``: among the pixels of the "batch", or of each "image" by itself.
    """
    if scope == "image":
        pairs = zip(loss.split(1), label.split(1), strict=True)
        return torch.cat([believed(one, drop, given, classes, ranking) for one, given in pairs])
    if ranking == "class":
        return small_loss_by_class(loss, 1 - drop, label, classes)
    return small_loss(loss, 1 - drop, label != IGNORE)


@torch.no_grad()
def small_loss_segments(loss: Tensor, size: Tensor, keep: float, at_quota: str = "keep") -> Tensor:
    """Whole segments of smallest loss, row by row, worth the share ``keep`` of the row's pixels. SP-guided Eq. 3.

    loss (R, G) float, size (R, G) pixels of each segment -> (R, G) bool; segments without pixels are never kept, and
    segments of equal loss go together. ``at_quota``: the segment that the quota cuts through is kept, so that at least
    ``keep`` of the pixels are (Eq. 3); or dropped, so that at least 1 - ``keep`` of them are (released code). A share
    dropped of less than one pixel drops nothing.
    """
    pixels = size.round().long()
    total, slack = pixels.sum(1, keepdim=True), 1e-6  # of float arithmetic: 10 (1 - 0.9) is one pixel
    if at_quota == "keep":
        return _covering(loss, pixels, (keep * total.double() - slack).ceil().long())
    dropped = _covering(-loss, pixels, ((1 - keep) * total.double() + slack).floor().long())
    return ~dropped & (pixels > 0)


def small_loss_segments_by_class(
    loss: Tensor, size: Tensor, given: Tensor, keep: Sequence[float], at_quota: str = "keep"
) -> Tensor:
    """The same in each given class by itself, (R, G) bool; ``keep`` has a share for each, given (R, G) int64."""
    kept = torch.zeros_like(given, dtype=torch.bool)
    for value, share in enumerate(keep):
        kept |= small_loss_segments(loss, size * (given == value), share, at_quota)
    return kept


def _covering(loss: Tensor, pixels: Tensor, quota: Tensor) -> Tensor:
    """The segments (R, G) of smallest loss that together hold ``quota`` (R, 1) pixels or more; none for none."""
    ranked, order = torch.where(pixels > 0, loss.float(), torch.inf).sort(1)
    held = pixels.gather(1, order).cumsum(1)
    last = torch.searchsorted(held, quota).clamp_max(loss.shape[1] - 1)
    return (pixels > 0) & (loss <= ranked.gather(1, last)) & (quota > 0)


@torch.no_grad()
def class_weight(label: Tensor, mask: Tensor, classes: int, most: float) -> Tensor:
    """Background pixels for each one of the pixel's class, between 1 and ``most``: (B, *S). SP-guided, released code.

    label (B, *S) int64; mask (B, *S) bool is where pixels are counted, the weight is 0 elsewhere.
    """
    count = torch.stack([(mask & (label == value)).sum() for value in range(classes)])
    weight = (count[0] / count.clamp_min(1)).clamp(1, most)
    return weight[label.clamp_min(0)] * mask
