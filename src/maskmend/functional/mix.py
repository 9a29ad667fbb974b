"""Regions carried from one image into another (GSD-Net Sec. 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor


def partners(count: int, device: torch.device) -> Tensor:
    """A random partner for each case, (B,) int64: nobody is its own, everybody is somebody's (for B > 1)."""
    order = torch.randperm(count, device=device)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner


def transfer_region(label: Tensor, coin: Tensor) -> Tensor:
    """The region each case gives away, (B, *S) bool: its background if ``coin`` < its foreground share, else the rest.

    label (B, *S) int64; coin (B,) in [0, 1): uniform for the paper's sampling, 1 - a threshold for the released rule.
    """
    foreground = label > 0
    share = foreground.flatten(1).float().mean(1)
    gives_background = (coin < share).view(-1, *[1] * (label.ndim - 1))
    return foreground ^ gives_background


def transplant(giver: Tensor, receiver: Tensor, region: Tensor) -> Tensor:
    """``receiver`` with the giver's ``region`` (B, *S) put in; images (B, C, *S) or maps (B, *S). GSD-Net Eq. 15."""
    return torch.where(region if giver.ndim == region.ndim else region.unsqueeze(1), giver, receiver)
