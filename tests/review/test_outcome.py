"""What answers a finding that suggests nothing: a changed mask; and one way to count what a review came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskmend.audit.store import Finding
from maskmend.mending.accept import mended
from maskmend.review import effort
from maskmend.review.journal import Journal, Said, read
from maskmend.review.outcome import Tally, spoken_of
from maskmend.review.session import Refused, Session
from tests.review.made import make_audit

EMPTY = Finding(id="a:file:1", number=0, kind="file", class_="lesion", source="check", confidence=1, text="Empty.")
STROKE: dict[str, Any] = {"do": "stroke", "axis": 0, "index": 0, "runs": ((0, 0, 3, 1),)}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Of case a two findings with a suggestion, and a check without."""
    audit = make_audit(tmp_path, (6, 9, 12))
    found = Session(audit, Journal(audit.folder, "Anna"), None, 0.0, 0)
    found.found["a"] = [*found.found["a"], EMPTY]
    return found


def say(session: Session, **said: Any) -> dict[str, Any]:
    return session.say("a", Said(**said))


def judge(session: Session, verdict: str, only: int | None = None) -> None:
    for finding in session.found["a"][:2][:only]:
        say(session, do="verdict", finding=finding.id, verdict=verdict)


def tally(session: Session) -> Tally:
    return Tally.of(len(session.rows), session.states.values())


def test_an_accepted_suggestion_answers_the_check(session: Session) -> None:
    judge(session, "accepted", 1)
    with pytest.raises(Refused, match="1 of 3 findings"):  # the other suggestion is still to be judged
        say(session, do="done")
    judge(session, "accepted")
    assert say(session, do="done")["case"]["findings"][2]["verdict"] == "redrawn"
    assert [(event.finding, event.verdict) for event in read(session.audit.folder)][-2:] == [
        (EMPTY.id, "redrawn"), (None, None),
    ]  # fmt: skip
    assert session.summary()["verdicts"] == {"accepted": 2, "redrawn": 1}
    assert tally(session) == Tally(2, 1, 1, 0)


def test_a_stroke_answers_it_until_it_is_undone(session: Session) -> None:
    judge(session, "refused")
    with pytest.raises(Refused, match="1 of 3 findings"):
        say(session, do="done")
    assert not session.states["a"].done, "nothing was changed: the question stays"
    say(session, **STROKE)
    say(session, do="done")
    assert session.states["a"].verdicts[EMPTY.id].verdict == "redrawn"
    say(session, do="reopen")
    say(session, do="undo")
    say(session, do="undo")
    with pytest.raises(Refused, match="1 of 3 findings"):
        say(session, do="done")


def test_nothing_is_redrawn_once_the_mask_is_as_given_again(session: Session) -> None:
    judge(session, "accepted")
    say(session, do="done")
    say(session, do="reopen")
    judge(session, "refused")
    with pytest.raises(Refused, match="1 of 3 findings"):
        say(session, do="done")
    say(session, do="verdict", finding=EMPTY.id, verdict="refused")
    say(session, do="done")
    assert tally(session) == Tally(2, 1, 0, 0)


def test_her_own_word_on_a_check_stands(session: Session) -> None:
    say(session, do="verdict", finding=EMPTY.id, verdict="unsure")
    judge(session, "accepted")
    say(session, do="done")
    assert session.states["a"].verdicts[EMPTY.id].verdict == "unsure"
    assert tally(session) == Tally(2, 1, 1, 1)


@pytest.mark.parametrize("unsure", [False, True])
def test_page_and_terminal_and_mend_count_alike(session: Session, unsure: bool) -> None:
    judge(session, "accepted")
    if unsure:
        say(session, do="verdict", finding=EMPTY.id, verdict="unsure")
    told = say(session, do="done")["progress"]
    assert told["sentence"] == str(tally(session)) == "1 of 2 cases done, 1 of them changed"
    lines = {line["case"]: (line["state"], line["changed"]) for line in session.worklist()["cases"]}
    assert lines == {"a": ("done", True), "b": ("new", False)}
    assert session.summary()["curve"] == effort.curve(session.states) == [(1, 1)]
    audit, states = session.audit, spoken_of(session.audit)
    each = mended(audit, audit.rows[0], states["a"], "reviewed")
    assert (each.by, each.clean) == ("reviewed", not unsure)
    assert Tally.of(len(audit.rows), states.values()).sure == each.clean
