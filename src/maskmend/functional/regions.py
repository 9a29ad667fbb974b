"""Masks as wholes: their overlap; their connected parts and holes, on the CPU.

Foreground connects over corners (8 neighbours in 2D, 26 in 3D), background over faces (4 and 6): so what separates two
parts never leaks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..types import IGNORE
from .doubt import planes
from .losses import one_hot

SURE = 253
"""The highest score of a redrawn pixel; above it are masks that stay."""


def overlap_loss(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """1 - Dice of each class' masks, (B, K) float64; 0 if both are empty. Deep Self-cleansing Eq. 1.

    predicted, label (B, *S) int64; pixels where either is ``IGNORE`` do not count.
    """
    return lost(overlaps(predicted, label, classes))


def overlaps(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixels of each class in both masks, and in each, (B, 2, K) float64; sums over parts are the whole's."""
    known = (predicted != IGNORE) & (label != IGNORE)
    a, b = (one_hot(x.where(known, IGNORE), classes).flatten(2) for x in (predicted, label))
    return torch.stack([x.sum(2, dtype=torch.float64) for x in (a * b, a + b)], 1)


def lost(overlaps: Tensor) -> Tensor:
    """1 - Dice from ``overlaps``, (B, K)."""
    overlap, size = overlaps.unbind(1)
    return torch.where(size > 0, 1 - 2 * overlap / size.clamp_min(1), 0)


def soft_dice(prob: Tensor, masks: Tensor) -> Tensor:
    """Dice of each class' probabilities and mask, both (B, F, *S), smoothed by one pixel; (B, F) float64."""
    return dice(shared(prob, masks))


def shared(prob: Tensor, masks: Tensor) -> Tensor:
    """What both have of each class, and what each has, (B, 2, F) float64; sums over parts are the whole's."""
    p, y = prob.double().flatten(2), masks.double().flatten(2)
    return torch.stack(((p * y).sum(2), (p + y).sum(2)), 1)


def dice(shared: Tensor) -> Tensor:
    """Dice of each class from what is ``shared``, (B, F)."""
    both, each = shared.unbind(1)
    return (2 * both + 1) / (each + 1)


def merge(given: Tensor, refined: Tensor, redrawn: Tensor, keep: Tensor) -> Tensor:
    """A label map (B, *S) int64, each class from the mask that was chosen for it; ``IGNORE`` where ``given`` is.

    given, refined (B, *S); redrawn (B, F, *S) uint8: scores up to ``SURE`` inside the new mask of a foreground class;
    keep (B, 2, F) bool: whether a class' given mask stays, else whether its refined one does. Where classes meet, given
    masks go before refined ones, these before redrawn ones, and of these the highest score wins.
    """
    given, refined = given.long(), refined.long()
    old, mended = (one_hot(x, redrawn.shape[1] + 1)[:, 1:].to(torch.uint8) for x in (given, refined))
    stays, remains = keep.view(*keep.shape, *[1] * (given.ndim - 1)).unbind(1)
    claim = torch.where(stays, old * (SURE + 2), torch.where(remains, mended * (SURE + 1), redrawn))
    strongest, which = claim.max(1)
    return torch.where(strongest > 0, which + 1, 0).masked_fill(given == IGNORE, IGNORE)


def tidy(mask: Tensor, share: float) -> Tensor:
    """(B, *S) bool without small parts, then without small holes. Deep Self-cleansing Sec. 2.3, post-processing.

    Small is less than ``share`` of the case's foreground, measured anew for the holes.
    """
    cases = [fill_holes(drop_parts(case, share), share) for case in mask.cpu().numpy()]
    return torch.from_numpy(np.stack(cases)).to(mask.device)


def drop_parts(mask: np.ndarray, share: float) -> np.ndarray:
    """(*S) bool without parts smaller than ``share`` of it; the largest stays."""
    parts, size = _parts(mask, 3**mask.ndim - 1)
    keep = size >= share * size.sum()
    keep[size.argmax()] = True
    keep[0] = False
    kept: np.ndarray = keep[parts]
    return kept


def fill_holes(mask: np.ndarray, share: float) -> np.ndarray:
    """(*S) bool and its holes smaller than ``share`` of it; a hole does not touch the image's edge."""
    parts, size = _parts(~mask, 2 * mask.ndim)
    fill = size < share * np.count_nonzero(mask)
    edge = [np.unique(parts.take(end, axis)) for axis in range(mask.ndim) for end in (0, -1)]
    fill[np.concatenate(edge)] = False
    fill[0] = False
    filled: np.ndarray = mask | fill[parts]
    return filled


def _parts(mask: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Connected parts numbered from 1, (*S), 0 elsewhere; and their sizes in pixels by number, 0 for number 0."""
    import cc3d

    numbers = mask.view(np.uint8)  # cc3d 4.1 parts what touches by corners wrongly where it is bool
    parts: np.ndarray = cc3d.connected_components(numbers, connectivity=neighbours)  # type: ignore[call-overload]
    size = np.zeros(int(parts.max(initial=0)) + 1, np.int64)
    for some in planes(parts.shape):
        size += np.bincount(parts[some].ravel(), minlength=len(size))
    size[0] = 0
    return parts, size
