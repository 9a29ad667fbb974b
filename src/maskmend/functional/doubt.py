"""How far given labels are doubted by predicted probabilities: scores of cases and voxels, and when to redraw.

``prob`` is (N, K, *S) float, K classes with the background first, summing to one; ``label`` is (N, *S) whole numbers.
Voxels of ``IGNORE`` count nowhere. A score is higher where a label is worse. Large arrays are taken block by block:
they are never copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..types import IGNORE
from . import confident
from .losses import most_likely

CUT = 0.1
"""Regret from which a mask is clearly not the judge's."""
AGAIN = 0.75
"""Regret from which a mask is redrawn, as a share of the Dice that the judge expects its own to lack."""
SOFTMIN_TEMPERATURE = 0.1
"""cleanlab's."""
MOST_SURE = 0.9
"""Probability of a foreground class at most, in a mask that came without probabilities."""
BLOCK = 2**20
"""Voxels that are scored at once: few beside what a large scan's probabilities take."""
TEMPERATURES = torch.linspace(-1.0, 2.5, 71).exp()


def planes(shape: Sequence[int], cases: int = 1) -> Iterator[slice]:
    """Parts of the first axis of a shape *S, one after the other, each of ``BLOCK`` voxels at most, or of one plane."""
    step = max(1, BLOCK // max(cases * math.prod(shape[1:]), 1))
    return (slice(first, first + step) for first in range(0, shape[0], step))


def blocks(prob: Tensor, label: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of both, one after the other along the first axis of *S, of ``BLOCK`` voxels at most or of one plane."""
    for part in planes(label.shape[1:], len(label)):
        yield prob[:, :, part], label[:, part]


def _summed(of: Callable[[Tensor, Tensor], tuple[Tensor, ...]], prob: Tensor, label: Tensor) -> tuple[Tensor, ...]:
    """Sums over voxels that ``of`` gives of a block, of all of them."""
    parts = [of(p, y) for p, y in blocks(prob, label)]
    return tuple(torch.stack(part).sum(0) for part in zip(*parts, strict=True))


def soft_dice(prob: Tensor, label: Tensor) -> Tensor:
    """Soft Dice of each foreground class with a mask, (N, K - 1); one voxel of smoothing, so 1 where both are empty."""
    return _dice(*_summed(_overlap, prob, label))


def _overlap(prob: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each foreground class what both have, what the probabilities have, and the voxels of the label, (N, K - 1)."""
    known = label != IGNORE
    columns = []
    for k in range(1, prob.shape[1]):
        p, y = prob[:, k], label == k
        both, own = (torch.where(where, p, 0).flatten(1).sum(1) for where in (y, known))
        columns.append((both, own, y.flatten(1).sum(1)))
    both, own, given = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return both, own, given


def _dice(both: Tensor, own: Tensor, given: Tensor) -> Tensor:
    return (2 * both + 1) / (own + given + 1)


def predicted(prob: Tensor, label: Tensor) -> Tensor:
    """The most probable class (N, *S), ``IGNORE`` where the label is."""
    return torch.where(label == IGNORE, IGNORE, most_likely(prob))


def expected_dice(prob: Tensor, label: Tensor) -> Tensor:
    """The Dice that a judge expects of a mask, (N,): the mean over foreground classes. Higher is better."""
    return soft_dice(prob, label).mean(1)


def certainty(prob: Tensor, label: Tensor) -> Tensor:
    """The Dice that a judge expects of its own mask, (N,). Higher is better."""
    return _dice(*_summed(lambda p, y: _overlap(p, predicted(p, y)), prob, label)).mean(1)


def regret(prob: Tensor, label: Tensor) -> Tensor:
    """How much more Dice the judge expects of its own mask than of the given one, (N,) in [0, 1]."""
    return (certainty(prob, label) - expected_dice(prob, label)).clamp(0, 1)


def margin(prob: Tensor, label: Tensor) -> Tensor:
    """(N,): what the given classes lack to the most probable ones, summed, over the voxels of either's objects."""
    lost, objects = _summed(_lost, prob, label)
    return lost / objects.clamp_min(1)


def _lost(prob: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    known = label != IGNORE
    lost = torch.where(known, prob.amax(1) - given(prob, label), 0)
    objects = known & ((label > 0) | (prob[:, 1:].amax(1) > prob[:, 0]))
    return lost.flatten(1).sum(1), objects.flatten(1).sum(1)


def given(prob: Tensor, label: Tensor) -> Tensor:
    """Probability of the given class, (N, *S); of the background where nobody annotated."""
    return prob.gather(1, label.clamp_min(0).long().unsqueeze(1)).squeeze(1)


def voxels(prob: Tensor, label: Tensor, case: Tensor | None = None) -> Tensor:
    """Doubt of each voxel, (N, *S) in [0, 1]: 1 - p of the given class, times the root of the case's ``margin``, which
    is ``case`` (N,) where these are only a part of its voxels."""
    share = (margin(prob, label) if case is None else case).clamp(0, 1).sqrt().view(-1, *[1] * (label.ndim - 1))
    return torch.where(label != IGNORE, (1 - given(prob, label)) * share, 0)


def cross_entropy(prob: Tensor, label: Tensor) -> Tensor:
    """Mean over voxels, (N,)."""
    lost, known = _summed(_surprise, prob, label)
    return lost / known.clamp_min(1)


def _surprise(prob: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    known = label != IGNORE
    lost = torch.where(known, -given(prob, label).clamp_min(1e-6).log(), 0)
    return lost.flatten(1).sum(1), known.flatten(1).sum(1)


def softmin(prob: Tensor, label: Tensor) -> Tensor:
    """cleanlab's score of an image, turned round, (N,): one less the mean probability of the given classes, in which
    the least probable weigh most (Lad and Mueller, arXiv 2307.05080)."""
    lost, weights = _summed(_weighed, prob, label)
    return (lost / weights.clamp_min(1e-9)).float()


def _weighed(prob: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    lost = 1 - given(prob, label).double()
    weights = torch.where(label != IGNORE, (lost / SOFTMIN_TEMPERATURE).exp(), 0)
    return (lost * weights).flatten(1).sum(1), weights.flatten(1).sum(1)


def ranking(margin: Any, softmin: Any) -> Any:
    """The doubt that cases are ranked by, in [0, 1], of one case or (N,), numbers or tensors: what the given classes
    lack to the most probable ones, weighed by the worst voxels. It ranked best of what was tried."""
    return margin * softmin


def num_pixel_issues(prob: Tensor, label: Tensor, limit: Tensor | None = None) -> Tensor:
    """cleanlab's other score of an image, turned round, (N,): the share of its annotated voxels that confident learning
    over all cases calls wrong (``cleanlab.segmentation.rank``, 2.9).

    ``limit``: what ``confident.limits(..., "segmentation")`` gives after two readings of all cases, one at a time;
    without it these are all cases.
    """
    if limit is None:
        flagged = confident.find(prob, label, "segmentation")
    else:
        flagged = confident.flagged(prob, label, limit, "segmentation")
    return flagged.flatten(1).sum(1) / (label != IGNORE).flatten(1).sum(1).clamp_min(1)


@dataclass(frozen=True)
class Wrong:
    """Voxels of each class, (N, K) each: ``given`` as it; of these, those ``believed`` wrong, by what the class lacks
    to the most probable one; ``other``, most probably another; ``unsure``, the errors that are expected of the most
    probable. ``gained`` are most probably of the class, and given another."""

    believed: Tensor
    other: Tensor
    unsure: Tensor
    given: Tensor
    gained: Tensor


def wrong(prob: Tensor, label: Tensor) -> Wrong:
    """How much of each class is wrong, by the judge and by its own doubts."""
    return Wrong(*_summed(_wrong, prob, label))


def _wrong(prob: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of one block, in the order of ``Wrong``."""
    (top, best), own = prob.max(1), given(prob, label)
    differs = (best != label) & (label != IGNORE)

    def summed(value: Tensor, where: Tensor) -> Tensor:
        return torch.stack([torch.where(where == k, value, 0).flatten(1).sum(1) for k in range(prob.shape[1])], 1)

    return (
        summed(top - own, label),
        summed(differs.float(), label),
        summed(1 - top, label),
        summed(torch.ones_like(top), label),
        summed(differs.float(), best),
    )


def redraw(regret: Any, certainty: Any, cut: float = CUT) -> Any:
    """Whether a whole mask becomes the judge's, of one case or (N,), numbers or tensors: it is clearly another, and
    that is not little beside what the judge's own is expected to lack, ``1 - certainty``.

    ``cut`` is what ``usual`` gives for all cases. Right masks were harmed pixel by pixel, and by a fixed cut alone
    where judges are weak or had not learnt from the labels.
    """
    return (regret > cut) & (regret > AGAIN * (1 - certainty))


def usual(regret: Sequence[float] | np.ndarray) -> float:
    """The regret that is still usual, of all cases (N,): three robust standard deviations above the median, but ``CUT``
    at least. A judge differs from every label by its own errors. Where most labels are wrong, hardly any is unusual."""
    values = np.asarray(regret, float)
    if not values.size:
        return CUT
    middle = np.median(values)
    return max(CUT, float(middle + 3 * 1.4826 * np.median(np.abs(values - middle))))


# --- predictions from elsewhere ---------------------------------------------------------------------------------------


def from_mask(label: np.ndarray, classes: int, spacing_mm: Sequence[float]) -> np.ndarray:
    """Probabilities (K, *S) float32 of a mask (*S) that came without any: logistic in the distance to its boundary, one
    voxel (its shortest side) wide; of several classes, the softmax of less the distances to where they begin.

    Foreground is ``MOST_SURE`` at most, the rest is the background's. Background is not held back: of what is far from
    everything, a tenth would outweigh any object.
    """
    from edt import edt

    size = tuple(float(step) / min(spacing_mm) for step in spacing_mm)
    score = np.full((classes, *label.shape), -np.inf, np.float32)
    for k in range(classes):
        if (outside := np.ascontiguousarray(label != k)).all():
            continue
        score[k] = np.minimum(0.5 - edt(outside, anisotropy=size), 0)  # the boundary is between two voxels
    for part in planes(label.shape):
        prob = torch.from_numpy(score[:, part]).softmax(0).numpy()
        prob[0] += (prob[1:] - MOST_SURE).clip(0).sum(0)
        prob[1:].clip(max=MOST_SURE, out=prob[1:])
        score[:, part] = prob
    return score


def sharpened(prob: Tensor, temperature: float) -> Tensor:
    """softmax(log p / T), (N, K, *S): flatter where T > 1 (Guo et al., ICML 2017)."""
    return (prob.clamp_min(1e-6).log() / temperature).softmax(1)


def temperature(prob: Tensor, label: Tensor) -> float:
    """The one of ``TEMPERATURES`` (e^-1 to e^2.5) under which labels are likeliest. ``prob`` is (M, K), of voxels near
    boundaries that the judge had not learnt from, ``label`` is (M,)."""
    logs = prob.clamp_min(1e-6).log()
    losses = [torch.nn.functional.cross_entropy(logs / t, label, ignore_index=IGNORE) for t in TEMPERATURES]
    return float(TEMPERATURES[int(torch.stack(losses).argmin())])
