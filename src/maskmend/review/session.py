"""One review: the audit, its journal, what is held in memory, and what the page is told and may say."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import numpy as np

from ..audit.pictures import thumbnail
from ..audit.records import KINDS
from ..audit.store import Audit, stored
from ..data.formats import write_label
from ..errors import InputError
from ..functional.rng import case_rng
from . import effort, journal, outcome, views
from .edit import check_same, check_stroke, current, draw
from .journal import CaseState, Event, Journal, Said
from .views import Shelf, View


class Refused(Exception):
    """What the page sent cannot be done; ``status`` as of HTTP."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Session:
    """A review that is going on. ``readonly``: why nothing can be written, if it cannot.

    blind: that share of undoubted cases is mixed in among the doubted, and that share of findings comes without its
    suggestion until there was a verdict; chosen by ``seed`` and names alone. first: of each finding the first verdict,
    whatever was undone since.
    """

    def __init__(self, audit: Audit, writer: Journal | None, readonly: str | None, blind: float, seed: int) -> None:
        self.audit, self.writer, self.readonly = audit, writer, readonly
        self.reviewer = writer.reviewer if writer else ""
        self.events = writer.events if writer else journal.read(audit.folder)
        self.states = journal.states(self.events)
        self.rows = {row.case: row for row in audit.rows}
        self.found = {case: audit.findings(case) for case in self.rows}
        self.keys = {event.key for event in self.events if event.key}
        self.first: dict[str | None, Event] = {}
        for event in self.events:
            self._answered(event)
        self.veiled = {
            f.id for found in self.found.values() for f in found
            if f.suggested and case_rng(seed, f.id).random() < blind
        }  # fmt: skip
        self.order, self.blind = effort.order(audit.rows, blind, seed), blind > 0
        self.shelf = Shelf(self._load)
        self.lock, self.reading, self.drawing = RLock(), Lock(), Lock()
        self.thumbnails: dict[tuple[str, bool], bytes] = {}
        self.allowed = {*audit.about.labels.values()} | (
            {audit.about.ignore} if audit.about.ignore is not None else set()
        )

    def state(self, case: str) -> CaseState:
        return self.states.get(case) or CaseState()

    def view(self, case: str) -> View:
        with self.lock:
            return self.shelf[case]

    def _load(self, case: str) -> View:
        """Whole cases are read one at a time, so that memory does not grow with what is asked at once."""
        with self.reading:
            view = views.load(self.audit, case)
        view.now(self.state(case))
        return view

    def thumbnail(self, case: str) -> bytes:
        """A PNG, made once; it does not tell whether a case is doubted, and where, while that is hidden.

        One waits to read at a time: a case that is opened comes before those in the queue.
        """
        with self.drawing, self.reading:
            key = case, not self.veils(case)
            if key not in self.thumbnails:
                self.thumbnails[key] = thumbnail(self.audit, *key)
            return self.thumbnails[key]

    def hidden(self, case: str) -> set[int]:
        """Numbers of the findings whose suggestion is not shown yet."""
        return {f.number for f in self.found[case] if f.id in self.veiled and f.id not in self.first}

    def veils(self, case: str) -> bool:
        """Whether nobody may see yet if a case is doubted: undoubted ones are mixed in, and she is not done with it."""
        return self.blind and self.state(case).done is None

    def _answered(self, event: Event) -> None:
        if event.do == "verdict":
            self.first.setdefault(event.finding, event)

    # --- what the page is told ---

    def worklist(self) -> dict[str, Any]:
        about = self.audit.about
        return {
            "dataset": Path(about.dataset).name,
            "dims": about.dims,
            "classes": [{"value": value, "name": name} for name, value in about.labels.items()],
            "ignore": about.ignore,
            "kinds": list(KINDS),
            "reviewer": self.reviewer,
            "readonly": self.readonly,
            "sentences": list(about.sentences),
            "blind": self.blind,
            "cases": [self._line(case) for case in self.order],
            "progress": self.progress(),
        }

    def _line(self, case: str) -> dict[str, Any]:
        row, state, found = self.rows[case], self.state(case), self.found[case]
        kinds = sorted({f.kind for f in found}, key=KINDS.index)
        how = "done" if state.done else "begun" if state.begun else "new"
        told = {
            "doubt": row.doubt,
            "findings": len(found),
            "seen": sum(f.id in state.verdicts for f in found),
        }
        return {
            "case": case,
            "classes": row.classes,  # to filter by, as the kinds
            "kinds": kinds,
            "state": how,
            "changed": outcome.changed(state),
            "told": None if self.veils(case) else told,
        }

    def progress(self) -> dict[str, Any]:
        rows, rest = self.audit.rows, effort.left(self.audit.rows, self.states)
        return {
            "done": len(effort.finished(self.states)),
            "total": len(rows),
            "left": None if rest is None else {"value": rest.value, "low": rest.low, "high": rest.high},
            "sentence": effort.sentence(rows, self.states),
            "next": effort.following(self.order, rows, self.states)[0],
        }

    def case(self, case: str) -> dict[str, Any]:
        state, hidden = self.state(case), self.hidden(case)
        found = [views.finding(f, state, f.number in hidden and f.number > 0) for f in self.found[case]]
        return {**self.view(case).about(), **views.words(state), "findings": found}

    # --- what the page says ---

    def say(self, case: str, said: Said) -> dict[str, Any]:
        """Write an event, and tell what is so then.

        Raises:
            Refused: it cannot be done.
            OSError: it cannot be written; nothing changed.
        """
        with self.lock:
            if said.key is None or said.key not in self.keys:
                self._write(case, said)
            told = {"n": self.events[-1].n if self.events else 0, "progress": self.progress()}
            return told | {"case": self.case(case)}

    def _write(self, case: str, said: Said) -> None:
        if self.writer is None:
            raise Refused(409, self.readonly or "this review is closed")
        try:
            check_same(self.audit, case, self.state(case))
            fields = self._checked(case, said)
        except InputError as error:
            raise Refused(422, str(error)) from None
        sha = self.audit.about.files[case][0]
        try:
            if said.do == "done":
                outcome.record_redrawn(self.writer, case, sha, self.found[case])
            event = self.writer.append(case, said.do, sha, key=said.key, **fields)
        finally:
            self.states[case] = self.writer.of(case)
        if said.key is not None:
            self.keys.add(said.key)
        self._answered(event)
        if case in self.shelf.held:
            self._drawn(self.shelf.held[case], event)
        if self.states[case].done:
            self._keep(case)

    def _checked(self, case: str, said: Said) -> dict[str, Any]:
        """What goes into the journal. Raises Refused, and InputError for strokes outside."""
        state, known = self.state(case), {f.id: f for f in self.found[case]}
        if said.finding is not None and said.finding not in known:
            raise Refused(404, "there is no such finding in this case")
        if said.do in ("undo", "redo"):
            names = state.undo if said.do == "undo" else state.redo
            if state.done:
                raise Refused(409, "this case is done; open it again first")
            if names is None:
                raise Refused(409, f"there is nothing to {said.do}")
            return {"names": names}
        if said.do == "verdict":
            if said.finding is None or said.verdict is None:
                raise Refused(422, "a verdict speaks of a finding")
            if said.verdict == "accepted" and not known[said.finding].suggested:
                raise Refused(422, "nothing is suggested here; draw what is right")
            hidden = said.finding in self.veiled and said.finding not in self.first
            fields = said.model_dump(include={"finding", "verdict", "seconds", "shown", "comment"})
            return fields | ({"shown": "hidden"} if hidden else {})
        if said.do == "stroke":
            if said.axis is None or said.index is None or said.runs is None:
                raise Refused(422, "a stroke needs axis, index and runs")
            check_stroke(self.view(case).given.shape, self.allowed, said.axis, said.index, said.runs)
            return said.model_dump(include={"axis", "index", "runs", "tool", "finding"})
        if said.do == "done" and (open_ := sum(outcome.answer(f, state) is None for f in known.values())):
            raise Refused(409, f"{open_} of {len(known)} findings have no verdict yet; give one to each")
        if said.do == "done":
            self.audit.check_unchanged(case)
        return said.model_dump(include={"comment", "finding", "seconds"})

    def _drawn(self, view: View, event: Event) -> None:
        """A stroke goes onto the label in memory; after anything else that is made anew when it is asked for."""
        label = view.__dict__.get("label")
        if event.do == "stroke" and label is not None and not np.may_share_memory(label, view.given):
            assert event.axis is not None
            assert event.index is not None
            draw(label, event.axis, event.index, event.runs or (), self.audit.about.ignore)
            view.state = self.state(view.case)
        else:
            view.now(self.state(view.case))

    def _keep(self, case: str) -> None:
        """The label as it stands, in a file to look at; it can be made again from the journal at any time."""
        path, given = self.audit.file("drawn", case), self.view(case).picture
        label = current(self.audit, case, self.state(case), given)
        if np.array_equal(label.array, given.array):
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        write_label(path, stored(label.array, self.audit.about), label.geometry)

    # --- how it went ---

    def summary(self) -> dict[str, Any]:
        said = [
            (f, e) for case, found in self.found.items() for f in found if (e := self.state(case).verdicts.get(f.id))
        ]
        by_kind: dict[str, Counter[str]] = {}
        for each, event in said:
            by_kind.setdefault(each.kind, Counter())[str(event.verdict)] += 1
        return {
            "curve": effort.curve(self.states),
            "verdicts": Counter(str(event.verdict) for _, event in said),
            "seconds": sum(event.seconds or 0 for _, event in said),
            "by_kind": by_kind,
            "blind": self._blind(),
            "sentence": f"{effort.sentence(self.audit.rows, self.states)}. {self.progress()['next']}.",
        }

    def _blind(self) -> Mapping[str, tuple[int, int]] | None:
        """Found wrong, of how many: findings with and without their suggestion in sight, and undoubted cases."""
        told: dict[str, list[bool]] = {"shown": [], "hidden": []}
        for case, found in self.found.items():
            for f in found:
                first, last = self.first.get(f.id), self.state(case).verdicts.get(f.id)
                if first is not None and first.shown == "hidden":
                    told["hidden"].append(first.verdict in ("accepted", "redrawn"))
                elif last is not None and f.suggested:
                    told["shown"].append(last.verdict in ("accepted", "redrawn"))
        fine = [case for case in effort.finished(self.states) if effort.undoubted(self.rows[case])]
        told["undoubted"] = [outcome.changed(self.states[case]) for case in fine]
        if not told["hidden"] and not fine:
            return None
        return {name: (sum(each), len(each)) for name, each in told.items()}

    def table(self) -> str:
        """review.csv: a line for each verdict."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["case", "finding", "kind", "class", "verdict", "reviewer", "at", "seconds", "comment"])
        for case in self.order:
            for f in self.found[case]:
                event = self.state(case).verdicts.get(f.id)
                if event is not None:
                    told = [case, f.id, f.kind, f.class_, event.verdict, event.reviewer, event.at, event.seconds]
                    rows.writerow([*told, self.state(case).comments.get(f.id, "")])
        return text.getvalue()
