"""What a review came to: what is answered, which cases a person is done with, and their labels as she left them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..audit.rank import counted
from ..audit.store import Audit, Finding
from ..data.formats import Picture
from . import journal
from .edit import current
from .journal import CaseState, Journal, Verdict


def changed(state: CaseState) -> bool:
    """Whether the mask is another than the given one: a suggestion was accepted, or something was drawn."""
    return bool(state.strokes or state.accepted)


def answer(finding: Finding, state: CaseState) -> Verdict | None:
    """What was said of a finding. Where nothing is suggested, as of an empty mask, its cure is another mask: it is
    redrawn once the mask is changed. Nothing is redrawn while the mask is as it was given."""
    said = state.verdicts.get(finding.id)
    if said is not None and said.verdict != "redrawn":
        return said.verdict
    return "redrawn" if changed(state) and (said or not finding.suggested) else None


def record_redrawn(writer: Journal, case: str, label: str, found: Sequence[Finding]) -> None:
    """Write into the journal which findings the changed mask answers, before the case is done.

    label: sha256 of the given one.

    Raises:
        OSError: it cannot be written.
    """
    state = writer.of(case)
    for finding in found:
        if finding.id not in state.verdicts and answer(finding, state):
            writer.append(case, "verdict", label, finding=finding.id, verdict="redrawn")


@dataclass(frozen=True)
class Tally:
    """How many cases there are; are done; of these, whose mask is changed; of these, where she was unsure."""

    total: int
    done: int
    changed: int
    unsure: int

    @classmethod
    def of(cls, total: int, states: Iterable[CaseState]) -> Tally:
        done = [state for state in states if state.done is not None]
        return cls(total, len(done), sum(map(changed, done)), sum(not sure(state) for state in done))

    @property
    def sure(self) -> int:
        """Masks that may be believed."""
        return self.done - self.unsure

    def __str__(self) -> str:
        cases = counted(self.total, "case")
        return f"{self.done} of {cases} done" + (f", {self.changed} of them changed" if self.done else "")


def spoken_of(audit: Audit) -> dict[str, CaseState]:
    """The cases of which anything was said or drawn.

    Raises:
        InputError: the journal is damaged.
    """
    found = journal.states(journal.read(audit.folder))
    known = {row.case for row in audit.rows}
    return {case: state for case, state in found.items() if state.begun and case in known}


def touched(audit: Audit) -> frozenset[str]:
    """Their names: the findings that a person spoke of must stay as they were."""
    return frozenset(spoken_of(audit))


def reviewed(audit: Audit) -> dict[str, Picture]:
    """Of each case that a person is done with, and sure of, the label as she left it (*S).

    Raises:
        InputError: a label changed since the audit.
    """
    return {case: current(audit, case, state) for case, state in spoken_of(audit).items() if sure(state)}


def sure(state: CaseState) -> bool:
    """Whether a case may be believed from here on: she is done with it, and unsure of nothing."""
    return state.done is not None and all(event.verdict != "unsure" for event in state.verdicts.values())
