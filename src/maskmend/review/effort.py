"""How far a review is: what was found for what was seen, how many wrong labels may be left, what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit, ndtr, ndtri, softmax

from ..audit.store import Row
from ..functional.rng import case_rng
from .journal import CaseState
from .outcome import Tally, changed

FEWEST = 8
"""Cases that must be done before the others are spoken of."""
AT, SLOPE = (-2.0, 4.0), (5.0, 4.0)
"""Mean and standard deviation before anything is seen: log odds of wrong in the middle of the list, and how they grow
with a normal score. Wide, so that what is seen decides: audits reach an AUROC of .7 to .98, a slope of 1 to 5."""
UNTOLD = np.concatenate([[0.0], (np.arange(9) + 0.5) / 9])
"""Shares of labels that are wrong whatever their doubt, as where all err alike and the judge learnt it. Before anything
is seen none is as likely as any, and all others are alike likely."""
NEXT = 8
"""Cases that are named as the next ones."""
SLACK = 0.05
"""Share of labels that may still be wrong when reviewing on changes little."""


@dataclass(frozen=True)
class Left:
    """Wrong labels among those that nobody looked at: expected, and a 90 % interval."""

    value: float
    low: float
    high: float


def undoubted(row: Row) -> bool:
    """Whether nothing speaks against a label: no place in it, and a doubt that is usual."""
    return row.hint == "fine" and not row.findings


def order(rows: Sequence[Row], blind: float, seed: int) -> list[str]:
    """The cases in the order of a review: the doubted ones, the most doubtful first, and among them, at places that
    ``seed`` draws, so many undoubted ones as ``blind`` is of their number; then the others, those reviewed last."""
    doubted = [row.case for row in rows if row.hint in ("redraw", "review")]
    fine = [row.case for row in rows if undoubted(row)]
    rng = case_rng(seed, "order")
    mixed = [fine[i] for i in rng.permutation(len(fine))[: round(blind * len(doubted))]]
    coming = list(doubted)
    for name in mixed:
        coming.insert(int(rng.integers(0, len(coming) + 1)), name)
    rest = sorted(rows, key=lambda row: row.hint == "reviewed")
    return coming + [row.case for row in rest if row.case not in set(coming)]


def finished(states: Mapping[str, CaseState]) -> list[str]:
    """The cases she is done with, in that order."""
    ends = {case: state.done.n for case, state in states.items() if state.done is not None}
    return sorted(ends, key=lambda case: ends[case])


def curve(states: Mapping[str, CaseState]) -> list[tuple[int, int]]:
    """(seen, found wrong) after each case that is done."""
    found, points = 0, []
    for seen, case in enumerate(finished(states), 1):
        found += changed(states[case])
        points.append((seen, found))
    return points


def left(rows: Sequence[Row], states: Mapping[str, CaseState]) -> Left | None:
    """How many wrong labels nobody has looked at; None while fewer than ``FEWEST`` are done.

    A share of labels is wrong whatever their doubt; of the others, a logistic regression on a case's place in the order
    of doubt (as normal scores: Blom, Statistical Estimates and Transformed Beta-Variables, 1958) foretells which are.
    Both are learnt from the cases that are done. All of the posterior counts, on a grid: what is seen from the top of
    the list alone says little of its end, and the interval tells so.
    """
    done = {case: changed(states[case]) for case in finished(states)}
    order = sorted(rows, key=lambda row: -1.0 if row.doubt is None else row.doubt, reverse=True)  # no case set last
    seen = tuple((place, done[row.case]) for place, row in enumerate(order) if row.case in done)
    return _foretold(len(rows), seen) if len(seen) >= FEWEST else None


@lru_cache(1)
def _foretold(total: int, seen: tuple[tuple[int, bool], ...]) -> Left:
    """``seen``: of each case that is done its place among all, the most doubted first, and whether it was wrong."""
    score = ndtri((total - np.arange(total) - 0.375) / (total + 0.25))
    spread = np.linspace(-3, 3, 21)
    grid = np.meshgrid(AT[0] + AT[1] * spread, SLOPE[0] + SLOPE[1] * spread, UNTOLD, indexing="ij")
    at, slope, untold = (axis.reshape(-1, 1) for axis in grid)
    prior = -0.5 * (((at - AT[0]) / AT[1]) ** 2 + ((slope - SLOPE[0]) / SLOPE[1]) ** 2)
    prior = prior + np.where(untold == 0, np.log(len(UNTOLD) - 1), 0.0)
    share = (untold + (1 - untold) * expit(at + slope * score)).clip(1e-9, 1 - 1e-9)  # (points of the grid, cases)
    places, found = (np.array(part) for part in zip(*seen, strict=True))
    likely = np.where(found, share[:, places], 1 - share[:, places])
    weight = softmax(prior.ravel() + np.log(likely).sum(1))
    kept = weight > 1e-6 * weight.max()
    weight, chance = weight[kept] / weight[kept].sum(), np.delete(share[kept], places, 1)
    mean, sd = chance.sum(1), np.sqrt((chance * (1 - chance)).sum(1)) + 1e-9
    counts = np.arange(total - len(seen) + 1)
    below = weight @ ndtr((counts + 0.5 - mean[:, None]) / sd[:, None])
    low, high = (int(min(np.searchsorted(below, part), counts[-1])) for part in (0.05, 0.95))
    return Left(float(weight @ mean), low, high)


def sentence(rows: Sequence[Row], states: Mapping[str, CaseState]) -> str:
    """ "12 of 40 cases done, 5 of them changed; about 3 (0–7) wrong ones left"."""
    told, rest = Tally.of(len(rows), states.values()), left(rows, states)
    if told.done == told.total or rest is None:
        return str(told)
    if rest.high == 0:
        return f"{told}; probably no wrong ones left"
    return f"{told}; about {rest.value:.0f} ({rest.low:.0f}–{rest.high:.0f}) wrong ones left"


def following(order: Sequence[str], rows: Sequence[Row], states: Mapping[str, CaseState]) -> tuple[str, bool]:
    """ "Next: …", or "Enough: …" and True where, in all likelihood, few wrong labels are left."""
    done, rest = set(finished(states)), left(rows, states)
    coming = [case for case in order if case not in done]
    if not coming:
        return "Enough: every case was seen", True
    if rest is not None and rest.high <= max(1, SLACK * len(rows)):
        return "Enough: more reviewing changes little", True
    return f"Next: {', '.join(coming[:NEXT])}", False
