"""What a person said and drew, one line after the other: ``review.jsonl`` in the audit's folder.

Every line is complete in itself, and is on the disk before it is acknowledged. A line that was torn by a crash is the
last one, was never acknowledged, and is left out. The present state is what is given, and the journal replayed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo

from ..audit.records import Record
from ..config import parse
from ..errors import InputError

FILE = "review.jsonl"

Verdict = Literal["accepted", "refused", "redrawn", "unsure"]
Do = Literal["open", "verdict", "stroke", "undo", "redo", "comment", "done", "reopen"]
UNDONE = ("verdict", "stroke", "comment")
"""What ``undo`` takes back, the last first."""

Run = tuple[int, int, int, int]
"""[row, from, to, value] in voxels of a plane, ``to`` not included."""


class Said(Record):
    """What a person says of a case. key: what the page calls it, so that it is written once however often it is sent.
    seconds: she looked at it. shown: what she saw of a suggestion meanwhile; hidden: it was kept from her."""

    do: Do
    key: str | None = Field(None, max_length=64)
    finding: str | None = Field(None, max_length=400)
    verdict: Verdict | None = None
    seconds: float | None = Field(None, ge=0)
    shown: Literal["given", "suggestion", "both", "hidden"] | None = None
    comment: str | None = Field(None, max_length=2000)
    axis: int | None = None
    index: int | None = None
    runs: tuple[Run, ...] | None = None
    tool: str | None = Field(None, max_length=40)

    @classmethod
    def _kinds_of(cls, info: ValidationInfo) -> set[Any]:
        """There are many runs, and each is held against the label's shape before it is drawn."""
        return set() if info.field_name == "runs" else super()._kinds_of(info)


class Event(Said):
    """One line. label: sha256 of the given label it speaks of. names: the event that is undone or done again."""

    n: int = Field(ge=1)
    at: str
    reviewer: str
    case: str
    label: str
    names: int | None = None


@dataclass(frozen=True)
class CaseState:
    """What was said and drawn of one case so far.

    verdicts: of each finding the last event about it. strokes: in order. done: whether she is done with the case.
    undo, redo: the events that would be taken back, or done again; None if there are none. labels: sha256 of each given
    label that was spoken of.
    """

    verdicts: Mapping[str, Event] = field(default_factory=dict)
    strokes: tuple[Event, ...] = ()
    comments: Mapping[str | None, str] = field(default_factory=dict)
    done: Event | None = None
    undo: int | None = None
    redo: int | None = None
    labels: frozenset[str] = frozenset()
    begun: bool = False

    @property
    def accepted(self) -> tuple[str, ...]:
        """Findings whose suggestion was taken."""
        return tuple(finding for finding, event in self.verdicts.items() if event.verdict == "accepted")


def states(events: Iterable[Event]) -> dict[str, CaseState]:
    """The state of every case that the journal speaks of."""
    of: dict[str, list[Event]] = {}
    for event in events:
        of.setdefault(event.case, []).append(event)
    return {case: state(part) for case, part in of.items()}


def state(events: Sequence[Event]) -> CaseState:
    """The state of one case after its events."""
    live, undone = _replayed(events)
    verdicts: dict[str, Event] = {}
    comments: dict[str | None, str] = {}
    strokes = []
    for event in live:
        if event.do == "verdict" and event.finding is not None:
            verdicts[event.finding] = event
        if event.do == "stroke":
            strokes.append(event)
        if event.comment or event.do == "comment":
            comments[event.finding] = event.comment or ""
    ends = [event for event in events if event.do in ("done", "reopen")]
    return CaseState(
        verdicts=verdicts,
        strokes=tuple(strokes),
        comments=comments,
        done=ends[-1] if ends and ends[-1].do == "done" else None,
        undo=live[-1].n if live else None,
        redo=undone[-1].n if undone else None,
        labels=frozenset(event.label for event in events),
        begun=any(event.do != "open" for event in events),
    )


def _replayed(events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """What stands, in order, and what was taken back since the last new event."""
    live: list[Event] = []
    undone: list[Event] = []
    for event in events:
        if event.do in UNDONE:
            live.append(event)
            undone.clear()
        elif event.do == "undo" and live and live[-1].n == event.names:
            undone.append(live.pop())
        elif event.do == "redo" and undone and undone[-1].n == event.names:
            live.append(undone.pop())
    return live, undone


# --- the file ---------------------------------------------------------------------------------------------------------


def read(folder: Path) -> list[Event]:
    """Every event; none where there is no journal.

    Raises:
        InputError: a line before the last is damaged.
    """
    return [event for event, _ in _lines(folder / FILE)]


def _lines(path: Path) -> Iterator[tuple[Event, int]]:
    """Each whole event, and where in the file it ends."""
    if not path.exists():
        return
    content, end = path.read_bytes(), 0
    for number, line in enumerate(content.split(b"\n"), 1):
        end += len(line) + 1
        if end > len(content):  # what a crash left behind the last whole line
            return
        try:
            event: Event = parse(Event, json.loads(line.decode("utf-8")))
        except (ValueError, InputError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number}, cannot be read; restore it, or take that line out.") from error
        yield event, end


class Journal:
    """The journal of an audit, opened to write. One writer at a time: who opens it holds the review's lock.

    Raises:
        InputError: a line before the last is damaged, or the file cannot be written.
    """

    def __init__(self, folder: Path, reviewer: str) -> None:
        self.path, self.reviewer = folder / FILE, reviewer
        found = list(_lines(self.path))
        self.events = [event for event, _ in found]
        self.end = found[-1][1] if found else 0
        try:
            self.file = self.path.open("r+b" if self.path.exists() else "x+b", buffering=0)
            self.file.truncate(self.end)
            _settle(folder)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}); check the folder.") from error

    def append(self, case: str, do: Do, label: str, **said: Any) -> Event:
        """Write one event, and return when it is on the disk.

        Raises:
            OSError: it is not; nothing changed.
        """
        n = self.events[-1].n + 1 if self.events else 1
        at = datetime.now(UTC).isoformat(timespec="seconds")
        event = Event(n=n, at=at, reviewer=self.reviewer, case=case, do=do, label=label, **said)
        content = {"n": n} | event.model_dump(mode="json", exclude_none=True)
        line = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        try:
            self._write(line)
        except OSError:
            with suppress(OSError):  # it is cut off before the next line, at the latest
                self.file.truncate(self.end)
            raise
        self.end += len(line)
        self.events.append(event)
        return event

    def _write(self, line: bytes) -> None:
        """The line alone behind what was acknowledged, on the disk."""
        self.file.truncate(self.end)
        self.file.seek(self.end)
        rest = memoryview(line)
        while rest:  # a disk that is nearly full takes a part
            rest = rest[self.file.write(rest) :]
        os.fsync(self.file.fileno())

    def of(self, case: str) -> CaseState:
        return state([event for event in self.events if event.case == case])

    def close(self) -> None:
        self.file.close()


def _settle(folder: Path) -> None:
    """That there is a new file in it is on the disk too; not every system can open a folder for that."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
