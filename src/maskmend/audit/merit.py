"""How well a score ranks what is wrong, and how sure that is: every measure for many resamplings of the cases at once.

Weights (B, N) say how often each of N cases is taken in each of B draws; in the first draw each is taken once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Config

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DRAWS = 1000


class Estimate(Config):
    """A number with its 95 % percentile bootstrap interval over cases; None where nothing can be said."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def text(self, digits: int = 3) -> str:
        """ "0.931 (0.905–0.952)"."""
        value, low, high = ("–" if x is None else f"{x:.{digits}f}" for x in (self.value, self.low, self.high))
        return value if self.low is None else f"{value} ({low}–{high})"


def resampled(cases: int, seed: int = 0) -> Floats:
    """(1 + DRAWS, N) weights: the cases as they are, then drawn with replacement."""
    if not cases:
        return np.ones((1 + DRAWS, 0))
    return np.concatenate(
        [np.ones((1, cases)), np.random.default_rng(seed).multinomial(cases, np.full(cases, 1 / cases), DRAWS)]
    )


def estimate(draws: ArrayLike) -> Estimate:
    """Of (B,) values; draws that say nothing (NaN) are left out."""
    value, *rest = np.asarray(draws, float)
    known = np.array([each for each in rest if not math.isnan(each)])
    if math.isnan(value):
        return Estimate(value=None)
    if len(known) < DRAWS / 2:
        return Estimate(value=float(value))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high))


def auroc(score: Floats, wrong: Bools, weights: Floats) -> Floats:
    """(B,) the chance that a wrong case has a higher score than a right one, equal ones counting half. Both (N,)."""
    bad, good = _by_score(score, wrong, weights)
    return _ratio((bad * (good.sum(1, keepdims=True) - good.cumsum(1) + good / 2)).sum(1), bad.sum(1) * good.sum(1))


def average_precision(score: Floats, wrong: Bools, weights: Floats) -> Floats:
    """(B,) mean over wrong cases of the precision at each one's score, as scikit-learn has it; by chance the share of
    wrong ones."""
    bad, good = _by_score(score, wrong, weights)
    return _ratio((bad * _ratio(bad.cumsum(1), (bad + good).cumsum(1), 0)).sum(1), bad.sum(1))


def precision_at_k(score: Floats, wrong: Bools, weights: Floats) -> Floats:
    """(B,) share of wrong ones among the k highest scores, k their number; of equal scores, as on average."""
    bad, good = _by_score(score, wrong, weights)
    both, k = bad + good, bad.sum(1, keepdims=True)
    taken = (k - both.cumsum(1) + both).clip(0, both)
    return _ratio((taken * _ratio(bad, both, 0)).sum(1), k[:, 0])


def effort(score: Floats, wrong: Bools, weights: Floats) -> Floats:
    """(B,) area between the curve of wrong cases found against cases seen and the diagonal, from -1/2 to 1/2."""
    bad, good = _by_score(score, wrong, weights)
    found, seen = (np.pad(_ratio(x.cumsum(1), x.sum(1, keepdims=True)), ((0, 0), (1, 0))) for x in (bad, bad + good))
    return (np.diff(seen) * (found[:, 1:] + found[:, :-1]) / 2).sum(1) - 0.5  # type: ignore[no-any-return]


def spearman(a: Floats, b: Floats, weights: Floats) -> Floats:
    """(B,) rank correlation of two scores (N,), equal ones sharing the mean of their ranks."""
    x, y = (_ranks(score, weights) for score in (a, b))
    total = weights.sum(1, keepdims=True)
    x, y = (rank - _ratio((weights * rank).sum(1, keepdims=True), total) for rank in (x, y))
    return _ratio((weights * x * y).sum(1), np.sqrt((weights * x**2).sum(1) * (weights * y**2).sum(1)))


def mean(values: Floats, weights: Floats) -> Floats:
    """(B,) of values (N,), of which NaN are left out."""
    known = ~np.isnan(values)
    return _ratio(weights[:, known] @ values[known], weights[:, known].sum(1))


def share(part: Floats, whole: Floats, weights: Floats) -> Floats:
    """(B,) all parts (N,) of all wholes (N,)."""
    return _ratio(weights @ part, weights @ whole)


def _by_score(score: Floats, wrong: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """(B, G) weights of wrong and of right cases at each of G different scores, the highest first."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)
    if not len(starts):
        return np.zeros((len(weights), 1)), np.zeros((len(weights), 1))
    bad, good = (np.add.reduceat(weights[:, order] * which[order], starts, axis=1) for which in (wrong, ~wrong))
    return bad, good


def _ranks(score: Floats, weights: Floats) -> Floats:
    """(B, N) mid-ranks."""
    heavy, _ = _by_score(-score, np.ones(len(score), bool), weights)
    ranks: Floats = heavy.cumsum(1) - (heavy - 1) / 2
    return ranks[:, np.unique(score, return_inverse=True)[1]]


def _ratio(part: NDArray[Any], whole: NDArray[Any], empty: float = math.nan) -> Floats:
    """part / whole, and ``empty`` where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, empty, float), where=whole > 0)
    return ratio
