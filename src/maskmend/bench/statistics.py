"""What can be said of scores: two kinds of ±, intervals, tests, ranks and the gap. Plain numpy in, plain numbers out.

Scores are shares in [0, 1], higher is better. R runs (seeds) of a method by N cases make an array (R, N); NaN stands
for what was not scored and is left out. Two methods are compared by their difference, case by case and seed by seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """mean ± sd of ``n`` values; ``sd`` is NaN where there are too few of them."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float


def over_seeds(runs: ArrayLike) -> Spread:
    """Seed variance: mean and sample sd (n - 1) of one number for each run, (R,)."""
    known = _known(runs)
    sd = float(known.std(ddof=1)) if known.size > 1 else math.nan
    return Spread(float(known.mean()) if known.size else math.nan, sd, known.size)


def over_last_epochs(curve: ArrayLike, k: int) -> Spread:
    """The papers' ±: mean and sd of the last ``k`` validated epochs of one run, (E,). Not seed variance.

    The sd divides by n, as GSD-Net's released code does (``np.std``). Fewer than ``k`` epochs show in ``n``.
    """
    if k < 1:
        raise ValueError(f"k is {k}; at least the last epoch is needed")
    known = _known(np.asarray(curve, dtype=float)[-k:])
    sd = float(known.std()) if known.size > 1 else math.nan
    return Spread(float(known.mean()) if known.size else math.nan, sd, known.size)


def bootstrap(
    values: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 9999,
    seed: int = 0,
    kind: Literal["bca", "percentile"] = "bca",
    same_cases: bool = True,
) -> Interval:
    """Confidence interval of the mean over runs of each run's mean over cases, (R, N), by resampling cases.

    Give it the difference of two methods and it is the paired bootstrap. Every run keeps its N cases in every draw, so
    runs are strata. ``same_cases``: column n is one case, scored by every run, and is drawn for all runs at once; drawn
    for each run by itself (False: runs were tested on different cases), the R scores of a case would count as R cases
    and the interval come out too narrow. It speaks of other cases, not of other seeds. One ``seed``, one N: the same
    draws, whatever the methods. "bca": bias corrected and accelerated (Efron, JASA 1987); "percentile": plain.
    """
    table = np.atleast_2d(np.asarray(values, dtype=float))
    known = ~np.isnan(table)
    table, known = table[known.any(1)], known[known.any(1)]
    estimate = _means(table, known, np.ones((1, 1, table.shape[1])))[0] if table.size else math.nan
    if known.any(0).sum() < 2:
        return Interval(float(estimate), math.nan, math.nan)
    rng, (runs, cases) = np.random.default_rng(seed), table.shape
    strata = 1 if same_cases else runs
    found = []
    for start in range(0, draws, 1000):  # in chunks, for the memory
        size = (min(1000, draws - start), strata)
        found.append(_means(table, known, rng.multinomial(cases, np.full(cases, 1 / cases), size=size)))
    drawn = np.concatenate(found)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if kind == "bca":
        tails = _bca(tails, drawn, float(estimate), _without_one(table, known, same_cases))
    low, high = np.nanquantile(drawn, tails)
    return Interval(float(estimate), float(low), float(high))


def _means(table: Array, known: NDArray[np.bool_], counts: NDArray[Any]) -> Array:
    """(B,) means over runs of the means over cases, case n taken ``counts`` (B, R or 1, N) times."""
    counts = np.broadcast_to(counts, (len(counts), *table.shape))
    total = np.einsum("brn,rn->br", counts, np.where(known, table, 0.0))
    number = np.einsum("brn,rn->br", counts, known.astype(float))
    with np.errstate(invalid="ignore"):
        means = total / number
    scored = ~np.isnan(means)
    with np.errstate(invalid="ignore"):
        return np.where(scored, means, 0.0).sum(1) / scored.sum(1)  # type: ignore[no-any-return]


def _without_one(table: Array, known: NDArray[np.bool_], same_cases: bool) -> Array:
    """The estimate without each case in turn (the jackknife): (N,), or (R * N,) where runs have their own cases."""
    filled, number = np.where(known, table, 0.0), known.sum(1, keepdims=True)
    means = filled.sum(1, keepdims=True) / number
    with np.errstate(invalid="ignore", divide="ignore"):
        fewer = np.where(known, (filled.sum(1, keepdims=True) - filled) / (number - 1), means)
    fewer = np.where(np.isfinite(fewer), fewer, means)
    if same_cases:
        return fewer.mean(0)  # type: ignore[no-any-return]
    return (means.mean() + (fewer - means) / len(table)).ravel()  # type: ignore[no-any-return]


def _bca(tails: Array, drawn: Array, estimate: float, without_one: Array) -> Array:
    """Corrected quantiles (2,); the plain ones where all draws lie on one side or nothing varies."""
    from scipy.special import ndtr, ndtri

    drawn = drawn[~np.isnan(drawn)]
    below = ((drawn < estimate).mean() + (drawn <= estimate).mean()) / 2
    lean = without_one.mean() - without_one
    spread = (lean**2).sum()
    if not 0 < below < 1 or spread == 0:
        return tails
    bias, acceleration = ndtri(below), (lean**3).sum() / (6 * spread**1.5)
    at = bias + ndtri(tails)
    return np.asarray(ndtr(bias + at / (1 - acceleration * at)), dtype=float)


def wilcoxon(difference: ArrayLike) -> float:
    """Two-sided p of the Wilcoxon signed-rank test that a method differs from another, from (R, N) differences.

    A case counts once: its differences are averaged over the runs first, as the runs of a method are not independent of
    one another. Zeros are left out (Wilcoxon's own way); 1 where nothing else is left.
    """
    from scipy import stats

    table = np.atleast_2d(np.asarray(difference, dtype=float))
    known = ~np.isnan(table)
    cases = np.where(known, table, 0.0).sum(0)[known.any(0)] / known.sum(0)[known.any(0)]
    if not cases.size:
        return math.nan
    return float(stats.wilcoxon(cases, zero_method="wilcox").pvalue) if cases.any() else 1.0


def holm(p: ArrayLike) -> Array:
    """Holm's step-down correction of p values (M,) (Scand. J. Statistics 1979); NaN stays NaN and does not count."""
    values = np.asarray(p, dtype=float)
    out, known = np.full(values.shape, np.nan), np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return out


def mean_ranks(scores: ArrayLike) -> tuple[Array, int]:
    """Mean rank (M,) of M methods over settings, (S, M), 1 the best, ties sharing the mean of their ranks, and the
    number of settings it is over: those that every method was scored in."""
    from scipy import stats

    table = np.atleast_2d(np.asarray(scores, dtype=float))
    table = table[~np.isnan(table).any(1)]
    ranks = stats.rankdata(-table, axis=1)
    return (ranks.mean(0) if len(table) else np.full(table.shape[1], np.nan)), len(table)


def friedman(scores: ArrayLike) -> float:
    """p of Friedman's test that M methods are alike, from scores (S, M); NaN below 3 methods or 2 whole settings."""
    from scipy import stats

    table = np.atleast_2d(np.asarray(scores, dtype=float))
    table = table[~np.isnan(table).any(1)]
    return float(stats.friedmanchisquare(*table.T).pvalue) if table.shape[0] > 1 and table.shape[1] > 2 else math.nan


def critical_difference(methods: int, settings: int, alpha: float = 0.05) -> float:
    """How far two mean ranks must lie apart, by Nemenyi's test (Demšar, JMLR 2006, section 3.2.2)."""
    from scipy import stats

    q = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * settings)))


def gap(method: float, supervised: float, truth: float, least: float = 0.01) -> float:
    """Share of what wrong masks cost that a method wins back: (method - supervised) / (truth - supervised).

    NaN where they cost less than ``least`` (a point of Dice): the share of nearly nothing is noise.
    """
    return (method - supervised) / (truth - supervised) if truth - supervised >= least else math.nan


def _known(values: ArrayLike) -> Array:
    array: Array = np.asarray(values, dtype=float).ravel()
    return array[~np.isnan(array)]
