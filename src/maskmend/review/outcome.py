"""What a review came to: which cases a person is done with, and their labels as she left them."""

from __future__ import annotations

from ..audit.store import Audit
from ..data.formats import Picture
from . import journal
from .edit import current
from .journal import CaseState


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
