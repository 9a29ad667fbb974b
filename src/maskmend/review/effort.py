"""How far a review is: what was found for what was seen, how many wrong labels may be left, what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit, log_expit, ndtr, ndtri, softmax

from ..audit.store import Row
from .journal import CaseState

FEWEST = 8
"""Cases that must be done before the others are spoken of."""
AT, SLOPE = (-1.0, 2.0), (3.0, 2.5)
"""Mean and standard deviation before anything is seen: log odds of wrong in the middle of the list, and how they grow
with a normal score. Audits reach an AUROC of .7 to .98, which is a slope of 1 to 5."""
NEXT = 8
"""Cases that are named as the next ones."""
SLACK = 0.05
"""Share of wrong labels left that reviewing on changes little."""


@dataclass(frozen=True)
class Left:
    """Wrong labels among those that nobody looked at: expected, and a 90 % interval."""

    value: float
    low: float
    high: float


def wrong(state: CaseState) -> bool:
    """Whether she changed the label: a suggestion accepted, or anything drawn."""
    return bool(state.strokes) or any(e.verdict in ("accepted", "redrawn") for e in state.verdicts.values())


def finished(states: Mapping[str, CaseState]) -> list[str]:
    """The cases she is done with, in that order."""
    ends = {case: state.done.n for case, state in states.items() if state.done is not None}
    return sorted(ends, key=lambda case: ends[case])


def curve(states: Mapping[str, CaseState]) -> list[tuple[int, int]]:
    """(seen, found wrong) after each case that is done."""
    found, points = 0, []
    for seen, case in enumerate(finished(states), 1):
        found += wrong(states[case])
        points.append((seen, found))
    return points


def left(rows: Sequence[Row], states: Mapping[str, CaseState]) -> Left | None:
    """How many wrong labels nobody has looked at; None while fewer than ``FEWEST`` are done.

    A logistic regression of wrong on a case's place in the order of doubt (as normal scores: Blom, Statistical
    Estimates and Transformed Beta-Variables, 1958), learnt from those that are done, foretells the others. All of its
    posterior counts, on a grid: what is seen from the top of the list alone says little of its end, and the interval
    tells so.
    """
    done = {case: wrong(states[case]) for case in finished(states)}
    order = sorted(rows, key=lambda row: -1.0 if row.doubt is None else row.doubt, reverse=True)  # no case set last
    seen = tuple((place, done[row.case]) for place, row in enumerate(order) if row.case in done)
    return _foretold(len(rows), seen) if len(seen) >= FEWEST else None


@lru_cache(1)
def _foretold(total: int, seen: tuple[tuple[int, bool], ...]) -> Left:
    """``seen``: of each case that is done its place among all, the most doubted first, and whether it was wrong."""
    score = ndtri((total - np.arange(total) - 0.375) / (total + 0.25))
    at, slope = np.meshgrid(np.linspace(-3, 3, 31) * AT[1] + AT[0], np.linspace(-3, 3, 31) * SLOPE[1] + SLOPE[0])
    prior = -0.5 * (((at - AT[0]) / AT[1]) ** 2 + ((slope - SLOPE[0]) / SLOPE[1]) ** 2).ravel()
    odds = at.reshape(-1, 1) + slope.reshape(-1, 1) * score  # log, (points of the grid, cases)
    places, found = (np.array(part) for part in zip(*seen, strict=True))
    weight = softmax(prior + log_expit(np.where(found, 1, -1) * odds[:, places]).sum(1))
    chance = expit(np.delete(odds, places, 1))
    mean, sd = chance.sum(1), np.sqrt((chance * (1 - chance)).sum(1)) + 1e-9
    counts = np.arange(total - len(seen) + 1)
    below = weight @ ndtr((counts + 0.5 - mean[:, None]) / sd[:, None])
    low, high = (int(min(np.searchsorted(below, share), counts[-1])) for share in (0.05, 0.95))
    return Left(float(weight @ mean), low, high)


def sentence(rows: Sequence[Row], states: Mapping[str, CaseState]) -> str:
    """ "12 of 40 seen; about 3 (0-7) wrong ones left"."""
    seen, rest = len(finished(states)), left(rows, states)
    told = f"{seen} of {len(rows)} seen"
    if seen == len(rows) or rest is None:
        return told
    return f"{told}; about {rest.value:.0f} ({rest.low:.0f}–{rest.high:.0f}) wrong ones left"


def following(order: Sequence[str], rows: Sequence[Row], states: Mapping[str, CaseState]) -> str:
    """ "next: …", or "enough: …" where the last cases were right and few wrong ones seem to be left."""
    done, rest = finished(states), left(rows, states)
    coming = [case for case in order if case not in set(done)][:NEXT]
    if not coming:
        return "enough: every case was seen"
    quiet = len(done) >= NEXT and not any(wrong(states[case]) for case in done[-NEXT:])
    if quiet and rest is not None and rest.value <= max(1.0, SLACK * len(rows)):
        return "enough: more reviewing changes little"
    return f"next: {', '.join(coming)}"
