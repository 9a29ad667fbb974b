"""How many wrong labels are left: the interval holds the truth, whatever the audit is worth and however far one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskmend.audit.records import Row
from maskmend.review import effort
from maskmend.review.journal import CaseState, Event
from maskmend.review.session import Session

from .made import make_audit


def said(n: int, wrong: bool) -> CaseState:
    """Done as the nth; accepted what was suggested, or refused."""
    event = Event(n=n, at="", reviewer="Anna", case="", do="done", label="", verdict="accepted" if wrong else "refused")
    return CaseState(done=event, verdicts={"": event}, begun=True)


def reviewed(
    seed: int, share: float, worth: float, blind: float, seen: float
) -> tuple[list[Row], Mapping[str, CaseState], int]:
    """60 cases, ``share`` of them wrong, whose doubt is ``worth`` standard deviations higher; so many are seen in the
    order of a review. Also how many wrong ones are left."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(60) < share
    doubt = rng.normal(size=60) + worth * wrong
    rows = [
        Row(case=str(i), rank=rank, doubt=1 / (1 + np.exp(1 - doubt[i])), hint="review" if doubt[i] > 1 else "fine")
        for rank, i in enumerate(np.argsort(-doubt), 1)
    ]
    done = effort.order(rows, blind, seed)[: round(60 * seen)]
    return rows, {case: said(n, wrong[int(case)]) for n, case in enumerate(done, 1)}, sum(wrong) - sum(
        wrong[int(case)] for case in done
    )  # fmt: skip


@pytest.mark.parametrize("blind", [0.0, 0.1])
@pytest.mark.parametrize("worth", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_the_interval_holds_the_truth(share: float, worth: float, blind: float) -> None:
    held = []
    for seed in range(60):
        for seen in (0.2, 0.4):
            rows, states, truth = reviewed(seed, share, worth, blind, seen)
            found = effort.left(rows, states)
            assert found is not None
            held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.85


@pytest.mark.parametrize("seen", [0.3, 0.6])
def test_what_no_doubt_tells_of_is_held_too(seen: float) -> None:
    """As where all masks err alike, and only the worst of them are doubted: the doubted and 70 of 100 others are wrong,
    so the interval must not end before them."""
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        wrong = np.concatenate([np.ones(24, bool), rng.random(36) < 0.7])
        rows = [Row(case=str(i), rank=i + 1, doubt=1 - i / 60, hint="review" if i < 24 else "fine") for i in range(60)]
        done = effort.order(rows, 0.1, seed)[: round(60 * seen)]
        found = effort.left(rows, {case: said(n, bool(wrong[int(case)])) for n, case in enumerate(done, 1)})
        assert found is not None
        held.append(found.low <= sum(wrong) - sum(wrong[int(case)] for case in done) <= found.high)
    assert np.mean(held) >= 0.85


def test_that_an_audit_set_the_reviewed_last_changes_nothing() -> None:
    rows, states, _ = reviewed(0, 0.3, 2.0, 0.1, 0.3)
    last = sorted(rows, key=lambda row: row.case in states)
    assert last != rows
    assert effort.left(last, states) == effort.left(rows, states)


def test_it_narrows_and_comes_to_nothing() -> None:
    widths = []
    for seen in (0.2, 0.5, 0.8, 1.0):
        rows, states, truth = reviewed(0, 0.3, 2.0, 0.0, seen)
        found = effort.left(rows, states)
        assert found is not None
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert (truth, found.value, found.low, found.high) == (0, 0, 0, 0)


def test_of_a_few_nothing_is_said() -> None:
    rows, states, _ = reviewed(0, 0.3, 2.0, 0.0, (effort.FEWEST - 1) / 60)
    assert effort.left(rows, states) is None
    assert effort.sentence(rows, states).startswith(f"{effort.FEWEST - 1} of 60 cases done, ")


def test_enough_follows_from_the_interval() -> None:
    rows, states, _ = reviewed(0, 0.0, 1.0, 0.0, 0.8)
    order = [row.case for row in rows]
    assert effort.following(order, rows, states) == ("Enough: more reviewing changes little", True)
    told, enough = effort.following(order, rows, {})
    assert (told.startswith(f"Next: {rows[0].case}, "), told.count(","), enough) == (True, effort.NEXT - 1, False)
    states = {case: said(n, False) for n, case in enumerate(order[:10], 1)}  # right ones, and much is not known yet
    found = effort.left(rows, states)
    assert found is not None
    assert found.high > 3
    assert not effort.following(order, rows, states)[1]
    states = {case: said(n, True) for n, case in enumerate(order, 1)}
    assert effort.following(order, rows, states) == ("Enough: every case was seen", True)


def test_undoubted_cases_are_mixed_in_anywhere() -> None:
    """Those without a finding alone; over the seeds they come at every place among the doubted."""
    hints = ["review"] * 10 + ["fine"] * 6 + ["reviewed"]
    rows = [
        Row.model_validate({"case": str(i), "rank": i + 1, "doubt": 0.0, "hint": hint, "findings": int(i == 10)})
        for i, hint in enumerate(hints)
    ]
    places = set()
    for seed in range(60):
        order = effort.order(rows, 0.1, seed)
        mixed = [case for case in order[:11] if int(case) >= 10]
        assert len(mixed) == 1
        assert mixed != ["10"]
        assert order[-1] == "16"
        assert [case for case in order[:11] if int(case) < 10] == [str(i) for i in range(10)]
        places.add(order.index(mixed[0]))
    assert places == set(range(11))
    assert effort.order(rows, 0.0, 0) == [row.case for row in rows]


def test_the_page_lists_what_an_audit_set_last_at_the_end(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (20, 24), ("a", "b", "c"), ".png")
    hints = {"a": "fine", "b": "review", "c": "reviewed"}
    rows = tuple(row.model_copy(update={"hint": hints[row.case]}) for row in audit.rows)
    assert Session(replace(audit, rows=rows), None, None, 0.0, 0).order == ["b", "a", "c"]
    assert Session(replace(audit, rows=rows), None, None, 1.0, 0).order[-1] == "c"
