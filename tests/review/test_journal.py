"""The journal: nothing acknowledged is lost, and what is replayed is what was said and drawn."""

from __future__ import annotations

import errno
import io
import json
import time
from contextlib import suppress
from multiprocessing import Pipe, get_context
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


class FullDisk(io.FileIO):
    """A file on a disk with room for a few bytes more."""

    left = 60

    def write(self, content: Any) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(content)[: self.left]
        self.left -= len(part)
        return super().write(part)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """What was half written is gone, and the journal goes on, with a shorter line too, once there is room."""
    journal = talk(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    room, journal.file = journal.file, FullDisk(tmp_path / FILE, "r+")
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            journal.append("a", "stroke", SHA, axis=0, index=0, runs=((0, 0, 1, 1),) * 99)
        assert (tmp_path / FILE).read_bytes() == before
    journal.file = room
    assert journal.append("a", "open", SHA).n == 5
    assert read(tmp_path) == journal.events


def speak(folder: Path, told: Any) -> None:
    journal = Journal(folder, "r")
    while True:
        told.send(journal.append("a", "stroke", SHA, axis=0, index=0, runs=((0, 0, 1, 1),) * 99).n)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    for wait_s in (0.0, 0.01, 0.02):
        ear, mouth = Pipe(duplex=False)
        speaker = get_context("fork").Process(target=speak, args=(tmp_path, mouth))
        speaker.start()
        mouth.close()
        last = ear.recv()
        time.sleep(wait_s)
        speaker.kill()
        speaker.join()
        with suppress(EOFError):
            while True:
                last = ear.recv()
        written = [event.n for event in read(tmp_path)]
        assert written == list(range(1, len(written) + 1))
        assert len(written) - last in (0, 1)  # one more may be on the disk, and the word of it lost


def test_a_comment_can_be_taken_out_again(tmp_path: Path) -> None:
    journal = talk(tmp_path)
    journal.append("b", "comment", SHA, comment="")
    assert not journal.of("b").comments[None]
    journal.append("b", "undo", SHA, names=journal.of("b").undo)
    assert journal.of("b").comments[None] == "who drew this?"


def test_each_line_is_strict_json(tmp_path: Path) -> None:
    journal = talk(tmp_path)
    for seconds in (float("inf"), float("nan"), -1):
        with pytest.raises(ValueError, match="seconds"):
            journal.append("a", "verdict", SHA, finding="a:1", verdict="accepted", seconds=seconds)

    def never(word: str) -> None:
        raise AssertionError(word)

    for line in (tmp_path / FILE).read_text("utf-8").splitlines():
        assert json.loads(line, parse_constant=never)["label"] == SHA


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


def test_a_suggestion_that_was_accepted_and_is_gone_is_refused(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 8, 8))
    journal = Journal(audit.folder, "r")
    journal.append("a", "verdict", audit.about.files["a"][0], finding=audit.findings("a")[0].id, verdict="accepted")
    audit.file("suggestions", "a").unlink()
    with pytest.raises(InputError, match=r"suggestions/a\.nii\.gz or its numbers are gone"):
        edit.current(audit, "a", journal.of("a"))


@pytest.mark.parametrize("order", [1, -1])
def test_a_journal_that_spoke_of_another_label_is_refused(tmp_path: Path, order: int) -> None:
    audit = make_audit(tmp_path, (8, 8))
    journal = Journal(audit.folder, "r")
    for sha in (SHA, audit.about.files["a"][0])[::order]:
        journal.append("a", "stroke", sha, axis=0, index=0, runs=((0, 0, 1, 1),))
    with pytest.raises(InputError, match="another label of a"):
        edit.current(audit, "a", journal.of("a"))


def test_a_label_that_changed_is_refused(tmp_path: Path) -> None:
    audit = make_audit(tmp_path, (8, 8))
    journal = Journal(audit.folder, "r")
    journal.append("a", "done", audit.about.files["a"][0])
    path = audit.cases["a"].label
    assert path is not None
    write_label(path, np.ones((8, 8), np.uint8), audit.given("b").geometry)
    with pytest.raises(InputError, match="changed since"):
        outcome.reviewed(audit)
