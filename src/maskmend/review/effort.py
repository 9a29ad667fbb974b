"""How far a review is: what was found for what was seen, how many wrong labels may be left, what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import beta

from ..audit.store import Row
from .journal import CaseState

FEWEST = 5
"""Cases of a kind that must be done before the others are spoken of."""
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
    """How many wrong labels nobody has looked at; None while too few are done.

    Of the doubted cases, and of the others, apart: the share wrong of those that are left is that of the less doubted
    half of those that are done, with Jeffreys' interval (Brown et al., Statistical Science 2001). Where no other
    case was looked at, they are taken to be wrong as often as those, or never.
    """
    done = set(finished(states))
    kinds = [[row for row in rows if (row.hint == "fine") == fine] for fine in (False, True)]
    shares: list[tuple[float, float, float]] = []
    for of_kind in kinds:
        seen = [row for row in of_kind if row.case in done]
        lower = sorted(seen, key=lambda row: row.doubt or 0.0)[: max(FEWEST, -(-len(seen) // 2))]
        if len(lower) >= FEWEST:
            shares.append(_share(sum(wrong(states[row.case]) for row in lower), len(lower)))
        elif shares:
            shares.append((shares[0][0] / 2, 0.0, shares[0][2]))
        else:
            shares.append((float("nan"),) * 3)
    counts = [sum(row.case not in done for row in of_kind) for of_kind in kinds]
    if any(count and share[0] != share[0] for count, share in zip(counts, shares, strict=True)):
        return None
    sums = [sum(count * share[i] for count, share in zip(counts, shares, strict=True) if count) for i in range(3)]
    return Left(*sums)


def _share(k: int, n: int) -> tuple[float, float, float]:
    """Mean and 90 % interval of a share of which k in n were seen."""
    posterior = beta(k + 0.5, n - k + 0.5)
    return (k + 0.5) / (n + 1), 0.0 if k == 0 else float(posterior.ppf(0.05)), float(posterior.ppf(0.95))


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
