"""Small-loss selection: which pixels to believe. Masks are detached by construction."""

from __future__ import annotations

import torch
from torch import Tensor


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
