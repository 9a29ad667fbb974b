"""Dice and Jaccard from one pass over a pair of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..types import IGNORE, Region, members

Label = NDArray[Any]
R = TypeVar("R", bound=Region)

CHUNK = 2**14
"""Pixels counted at a time, few enough for the processor's cache."""


@dataclass(frozen=True)
class Counts:
    """Pixels of one class in one case: right, wrongly claimed, missed, and rightly left alone."""

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: Counts) -> Counts:
        """Of both together, such as of a volume's slices."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def empty(self) -> bool:
        """Neither the prediction nor the reference holds the class."""
        return self.tp + self.fp + self.fn == 0


def overlap(prediction: Label, reference: Label, labels: Sequence[R], ignore: int = IGNORE) -> dict[R, Counts]:
    """Counts for each of ``labels`` (one at least), values or regions. prediction, reference: integer (*S). Pixels
    whose reference is ``ignore`` do not count.

    Values that are in neither ``labels`` nor 0 are a class that nobody asked about. Raises ValueError if the shapes
    differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has the shape {prediction.shape}, the reference {reference.shape}")
    values = np.unique([value for label in labels for value in members(label)])
    table = np.zeros((len(values) + 1, len(values) + 1), dtype=np.int64)
    flat_prediction, flat_reference = prediction.reshape(-1), reference.reshape(-1)
    for start in range(0, reference.size, CHUNK):
        guess, truth = flat_prediction[start : start + CHUNK], flat_reference[start : start + CHUNK]
        seen = truth != ignore
        table += _confusion(_positions(guess[seen], values), _positions(truth[seen], values), len(table))
    total, predicted, present = int(table.sum()), table.sum(axis=0), table.sum(axis=1)
    counts = {}
    for label in labels:
        places = np.searchsorted(values, members(label))
        tp = int(table[np.ix_(places, places)].sum())
        n_pred, n_ref = int(predicted[places].sum()), int(present[places].sum())
        counts[label] = Counts(tp, n_pred - tp, n_ref - tp, total - n_pred - n_ref + tp)
    return counts


def dice(counts: Counts) -> float:
    """2 TP / (2 TP + FP + FN); NaN where prediction and reference are both empty, which says nothing, and 0 where one
    is."""
    return 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn) if not counts.empty else float("nan")


def jaccard(counts: Counts) -> float:
    """TP / (TP + FP + FN); NaN where prediction and reference are both empty, and 0 where one is."""
    return counts.tp / (counts.tp + counts.fp + counts.fn) if not counts.empty else float("nan")


def _positions(values: Label, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value's place in ``known``, which are sorted, or their number if it has none; (N,) -> (N,)."""
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[place] == values, place, len(known))


def _confusion(prediction: NDArray[np.int64], reference: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Pixels by class in the reference (rows) and in the prediction (columns). Both (N,)."""
    return np.bincount(reference * classes + prediction, minlength=classes**2).reshape(classes, classes)
