"""Small-loss selection: which pixels to believe. Masks are detached by construction."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import IGNORE


@torch.no_grad()
def small_loss(loss: Tensor, keep: float, valid: Tensor) -> Tensor:
    """The ``keep`` share of the valid pixels with the smallest loss, ranked over the whole batch. GSD-Net Eq. 5.

    loss (B, *S) float, valid (B, *S) bool -> (B, *S) bool. At least one pixel is kept where any is valid; pixels tied
    with the last one kept are kept too. A selection, never a full sort.
    """
    if keep >= 1 or not (count := int(valid.sum())):
        return valid
    ranked = torch.where(valid, loss.float(), torch.inf).flatten()
    threshold = ranked.kthvalue(max(1, int(keep * count))).values
    return valid & (loss <= threshold)


@torch.no_grad()
def small_loss_by_class(loss: Tensor, keep: float, label: Tensor, classes: int) -> Tensor:
    """The ``keep`` share of each given class by itself, (B, *S) bool: no class can be dropped as a whole.

    loss (B, *S) float, label (B, *S) int64, ``IGNORE`` never kept. The selection of SP-guided's released code.
    """
    kept = torch.zeros_like(label, dtype=torch.bool)
    for value in range(classes):
        kept |= small_loss(loss, keep, label == value)
    return kept


def believed(loss: Tensor, drop: float, label: Tensor, classes: int, ranking: str) -> Tensor:
    """All annotated pixels but the share ``drop`` with the largest loss, (B, *S) bool.

    ``ranking``: "all" pixels together; or each given "class" by itself, for a class smaller than ``drop``.
    """
    if ranking == "class":
        return small_loss_by_class(loss, 1 - drop, label, classes)
    return small_loss(loss, 1 - drop, label != IGNORE)
