"""The journal: nothing acknowledged is lost, and what is replayed is what was said and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmend.data.formats import write_label
from maskmend.errors import InputError
from maskmend.review import edit, outcome
from maskmend.review.journal import FILE, Journal, read, state, states
from tests.review.made import boxes, make_audit

SHA = "0" * 64


def talk(folder: Path) -> Journal:
    journal = Journal(folder, "Ü. R.")
    journal.append("a", "open", SHA)
    journal.append("a", "verdict", SHA, finding="a:1", verdict="accepted", seconds=1.5, shown="suggestion")
    journal.append("a", "stroke", SHA, axis=0, index=0, runs=((0, 1, 3, 2),), tool="brush")
    journal.append("b", "comment", SHA, comment="who drew this?")
    return journal


def test_what_is_said_is_read(tmp_path: Path) -> None:
    journal = talk(tmp_path)
    assert read(tmp_path) == journal.events
    assert [event.n for event in journal.events] == [1, 2, 3, 4]
    found = states(journal.events)
    assert found["a"].accepted == ("a:1",)
    assert found["b"].comments == {None: "who drew this?"}
    assert Journal(tmp_path, "later").append("b", "done", SHA).n == 5


def test_a_torn_line_is_left_out_wherever_it_tore(tmp_path: Path) -> None:
    """Killed after every byte: replay gives the last whole state, and writing goes on from there."""
    whole = talk(tmp_path).events
    content = (tmp_path / FILE).read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content) + 1):
        (tmp_path / FILE).write_bytes(content[:size])
        kept = sum(end <= size for end in ends)
        assert read(tmp_path) == whole[:kept]
        if size % 37 == 0:
            journal = Journal(tmp_path, "x")
            journal.append("a", "done", SHA)
            assert read(tmp_path)[:-1] == whole[:kept]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    talk(tmp_path)
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(InputError, match="line 2"):
        read(tmp_path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.sampled_from(["accept", "refuse", "stroke", "undo", "redo"]), max_size=20))
def test_undo_and_redo_are_those_of_a_stack(tmp_path: Path, doing: list[str]) -> None:
    (tmp_path / FILE).unlink(missing_ok=True)
    journal, done, undone = Journal(tmp_path, "r"), list[Any](), list[Any]()
    for number, word in enumerate(doing):
        now = journal.of("a")
        if word == "undo":
            assert (now.undo is None) == (not done)
            if done:
                undone.append(done.pop())
                journal.append("a", "undo", SHA, names=now.undo)
        elif word == "redo":
            assert (now.redo is None) == (not undone)
            if undone:
                done.append(undone.pop())
                journal.append("a", "redo", SHA, names=now.redo)
        elif word == "stroke":
            done.append(("stroke", number))
            undone.clear()
            journal.append("a", "stroke", SHA, axis=0, index=number, runs=((0, 0, 1, 1),))
        else:
            done.append(("verdict", f"{word}ed".replace("refuseed", "refused")))
            undone.clear()
            journal.append("a", "verdict", SHA, finding="a:1", verdict=done[-1][1])
    found = state([event for event in read(tmp_path) if event.case == "a"])
    assert [stroke.index for stroke in found.strokes] == [n for kind, n in done if kind == "stroke"]
    verdicts = [value for kind, value in done if kind == "verdict"]
    assert [event.verdict for event in found.verdicts.values()] == verdicts[-1:]
    journal.close()


def test_the_label_as_it_stands(tmp_path: Path) -> None:
    """Given, with accepted suggestions in it, and strokes on top; undone, it is the given one again."""
    audit = make_audit(tmp_path, (8, 8, 8))
    sha = audit.about.files["a"][0]
    journal = Journal(audit.folder, "r")
    (lesion, corner) = sorted(audit.findings("a"), key=lambda f: f.kind, reverse=True)
    assert lesion.kind == "spurious"
    journal.append("a", "verdict", sha, finding=lesion.id, verdict="accepted")
    journal.append("a", "verdict", sha, finding=corner.id, verdict="refused")
    journal.append("a", "stroke", sha, axis=1, index=4, runs=((4, 3, 5, 2),))
    expected = boxes((8, 8, 8)).astype(int)
    expected[expected == 2] = 1
    expected[4, 4, 3:5] = 2
    assert (edit.current(audit, "a", journal.of("a")).array == expected).all()
    assert outcome.reviewed(audit) == {}
    assert outcome.touched(audit) == {"a"}
    journal.append("a", "done", sha)
    assert (outcome.reviewed(audit)["a"].array == expected).all()
    for _ in range(3):
        journal.append("a", "undo", sha, names=journal.of("a").undo)
    assert (edit.current(audit, "a", journal.of("a")).array == boxes((8, 8, 8))).all()


@pytest.mark.parametrize(
    ("axis", "index", "runs", "said"),
    [
        (3, 0, [(0, 0, 1, 1)], "no slice"),
        (0, 8, [(0, 0, 1, 1)], "no slice"),
        (0, 0, [], "0 runs"),
        (0, 0, [(8, 0, 1, 1)], "leaves"),
        (0, 0, [(0, 5, 5, 1)], "leaves"),
        (0, 0, [(0, 0, 9, 1)], "leaves"),
        (0, 0, [(0, -1, 2, 1)], "leaves"),
        (0, 0, [(0, 0, 1, 7)], "no class"),
    ],
)
def test_a_stroke_outside_is_refused(axis: int, index: int, runs: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        edit.check_stroke((8, 8, 8), {0, 1, 2}, axis, index, runs)


def test_a_picture_is_one_slice_and_the_ignore_value_is_nobodys(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 10), ending=".png", ignore=3)
    journal = Journal(audit.folder, "r")
    journal.append("b", "stroke", audit.about.files["b"][0], axis=0, index=0, runs=((0, 2, 4, 3),))
    label = edit.current(audit, "b", journal.of("b")).array
    assert label[0].tolist() == [0, 0, -1, -1, 0, 0, 0, 0, 0, 0]


def test_a_label_that_changed_is_refused(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 8))
    journal = Journal(audit.folder, "r")
    journal.append("a", "done", audit.about.files["a"][0])
    path = audit.cases["a"].label
    assert path is not None
    write_label(path, np.ones((8, 8), np.uint8), audit.given("b").geometry)
    with pytest.raises(InputError, match="changed since"):
        outcome.reviewed(audit)
