"""Networks that trained long are too sure: a temperature makes their probabilities say how often they are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.dataset import Case
from ..data.formats import Picture
from ..functional.doubt import planes, temperature
from ..types import IGNORE
from .parts import around, mask_of
from .sources import Array, Several, Source

CASES, VOXELS, BAND = 20, 20_000, 2
"""What a temperature is fitted on: so many cases, of each so many voxels, all within so many steps of a boundary."""
LEAST = 1e-6
"""A probability that is less counts as this."""


@dataclass(frozen=True)
class Calibrated:
    """A source whose probabilities are made flatter (temperature above 1) or sharper (below)."""

    source: Source
    temperature: float

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def held_out(self) -> bool:
        return self.source.held_out

    @property
    def paths(self) -> tuple[str, ...]:
        return self.source.paths

    def names(self) -> frozenset[str]:
        return self.source.names()

    def probabilities(self, case: Case, label: Picture) -> NDArray[np.float32]:
        prob = self.source.probabilities(case, label)
        for part in planes(label.shape):
            block = prob[:, part]
            np.maximum(block, LEAST, out=block)
            np.power(block, 1 / self.temperature, out=block)
            block /= block.sum(0)
        return prob


def calibrated(judge: Several, cases: Sequence[Case], label_of: Callable[[Case], Picture]) -> Several:
    """``judge``, each of its sources with one temperature for all: that under which the given labels are likeliest near
    boundaries (Guo et al., On Calibration of Modern Neural Networks, ICML 2017), in the half of the cases that it
    agrees with most. It is 1 where none of ``cases`` is judged.

    The judge must not have learnt from them. ``label_of`` gives (*S) with IGNORE where nobody annotated.
    """
    judged = [case for case in cases if case.name in judge.names()]
    rows = [_near_boundaries(judge, case, label_of(case)) for case in judged[:: -(-len(judged) // CASES) or 1]]
    fitted = 1.0
    if rows:
        kept = sorted(rows, key=_disagreement)[: -(-len(rows) // 2)]
        probs, labels = (torch.from_numpy(np.concatenate(part)) for part in zip(*kept, strict=True))
        fitted = temperature(probs, labels)
    return Several(tuple(Calibrated(source, fitted) for source in judge.sources))


def _disagreement(row: tuple[Array, Array]) -> float:
    """Mean cross-entropy of a case; wrong labels would make a judge less sure than it may be."""
    prob, label = row
    return float(-np.log(np.maximum(prob[np.arange(len(label)), label], LEAST)).mean()) if len(label) else 0.0


def _near_boundaries(source: Source, case: Case, label: Picture) -> tuple[Array, Array]:
    """Probabilities (M, K) and labels (M,) of voxels near a boundary, given or predicted."""
    from scipy.ndimage import maximum_filter, minimum_filter

    prob = source.probabilities(case, label)
    maps, size = (label.array, mask_of(prob)), 2 * BAND + 1
    band, objects = np.zeros(label.shape, bool), (maps[0] != 0) | (maps[1] != 0)
    if objects.any():
        box = tuple(slice(max(0, side.start - BAND), side.stop + BAND) for side in around(objects))
        for each in (each[box] for each in maps):
            band[box] |= maximum_filter(each, size) != minimum_filter(each, size)
    voxels = np.flatnonzero(band & (label.array != IGNORE))
    if len(voxels) > VOXELS:
        voxels = np.random.default_rng(0).choice(voxels, VOXELS, replace=False)
    return prob.reshape(len(prob), -1)[:, voxels].T, label.array.ravel()[voxels].astype(np.int64)
