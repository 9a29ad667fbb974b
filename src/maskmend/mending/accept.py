"""Which label each case gets: the given one, what a person left, or where it is asked for, what the judge drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..audit.store import AGAIN, Audit, Finding, Row
from ..data.formats import Picture
from ..errors import InputError
from ..review.edit import check_stroke, current, planes
from ..review.journal import FILE, CaseState
from ..review.outcome import sure

Accept = Literal["reviewed", "automatic", "all"]
By = Literal["reviewed", "automatic"]
Doubtful = Literal["keep", "ignore", "weights"]
Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Mended:
    """The label of one case, (*S) with IGNORE where nobody annotated, and the given one.

    settled: (*S), where nothing is left to doubt: a person spoke of it, or somebody changed it.
    found: (*S), voxels of findings. accepted, taken: findings whose suggestion a person took, or nobody but mend.
    clean: a person is done with the case, and sure. people: who spoke of it, and when last.
    """

    case: str
    given: Picture
    label: Array
    settled: Mask
    found: Mask
    by: By | None = None
    accepted: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    clean: bool = False
    verdicts: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> Mask:
        """(*S), voxels of findings that nobody decided."""
        found: Mask = self.found & ~self.settled
        return found


def concerns(row: Row, state: CaseState, accept: Accept, doubtful: Doubtful) -> bool:
    """Whether a case may get another label, or weights; the others need not be read."""
    silent = row.findings > 0 and (accept == "all" or doubtful == "ignore")
    return state.begun or silent or redrawn(row, state, accept) or doubtful == "weights"


def redrawn(row: Row, state: CaseState, accept: Accept) -> bool:
    """Whether a case gets the judge's own mask: the audit says that it can be redrawn, and nobody spoke of it."""
    return accept != "reviewed" and row.hint == "redraw" and not state.begun


def mended(audit: Audit, row: Row, state: CaseState, accept: Accept) -> Mended:
    """The label that a case gets.

    reviewed: what a person accepted or drew. automatic: also the judge's own mask, whole, where ``redrawn``; pixel by
    pixel it would harm right masks. all: also every suggestion that nobody spoke of, where she drew nothing.

    Raises:
        InputError: the given label changed since the audit, or a file of the audit does not fit it.
    """
    given = audit.given(row.case)
    numbers = _map(audit, "findings", row.case, given)
    if redrawn(row, state, accept) and (drawn := _map(audit, "predicted", row.case, given)) is not None:
        everywhere, by = np.ones(given.array.shape, bool), _who(drawn, given, "automatic")
        return Mended(row.case, given, drawn.astype(given.array.dtype), everywhere, ~everywhere, by)
    _check_strokes(audit, row.case, state, given)
    suggested = _map(audit, "suggestions", row.case, given)
    label = current(audit, row.case, state, given).array
    by = _who(label, given, "reviewed")
    findings = audit.findings(row.case)
    taking = [f for f in findings if accept == "all" and f.suggested and not _decided(f, state, ())]
    if taking and suggested is not None and numbers is not None:
        silent = _of(numbers, taking) & (label == given.array)
        label = np.where(silent, suggested, label).astype(label.dtype)
        by = by or _who(label, given, "automatic")
    decided = _of(numbers, [f for f in findings if f in taking or _decided(f, state, ("unsure",))], label.shape)
    found = _of(numbers, findings, label.shape)
    return Mended(
        case=row.case,
        given=given,
        label=label,
        settled=decided | (label != given.array) | (~found if state.done else False),
        found=found,
        by=by,
        accepted=tuple(f.id for f in findings if f.suggested and f.id in state.accepted),
        taken=tuple(f.id for f in taking),
        clean=sure(state),
        verdicts={finding: str(event.verdict) for finding, event in state.verdicts.items()},
        people=_people(state),
    )


def _who(label: Array, given: Picture, who: By) -> By | None:
    return None if np.array_equal(label, given.array) else who


def _decided(finding: Finding, state: CaseState, but: Sequence[str]) -> bool:
    """Whether a person spoke of a finding, other than with the verdicts ``but``, or is done with all of them."""
    event = state.verdicts.get(finding.id)
    return event.verdict not in but if event else state.done is not None


def _of(numbers: Array | None, findings: Sequence[Finding], shape: tuple[int, ...] = ()) -> Mask:
    """(*S), the voxels of these findings; of none, nowhere in ``shape``."""
    if numbers is None:
        return np.zeros(shape, bool)
    found: Mask = np.isin(numbers, [f.number for f in findings if f.number])
    return found


def _people(state: CaseState) -> dict[str, str]:
    said = [*state.verdicts.values(), *state.strokes, *([state.done] if state.done else [])]
    return {event.reviewer: event.at for event in sorted(said, key=lambda event: event.n)}


# --- files that somebody may have changed -----------------------------------------------------------------------------


def _map(audit: Audit, room: str, case: str, given: Picture) -> Array | None:
    """An array of the audit (*S), checked against the given label; None if absent."""
    array = audit.map(room, case)
    if array is None:
        return None
    if array.shape != given.array.shape:
        raise InputError(
            f"{audit.file(room, case)} has the shape {array.shape}, its label {given.array.shape}; {AGAIN}."
        )
    strange = array.max(initial=0)
    if room != "findings" and strange > max(audit.about.labels.values()):
        raise InputError(f"{audit.file(room, case)} holds the value {strange}, which is no class; {AGAIN}.")
    return array


def _check_strokes(audit: Audit, case: str, state: CaseState, given: Picture) -> None:
    """Raises InputError where the journal draws outside of a label, or a value that nobody declared."""
    about = audit.about
    allowed = {*about.labels.values(), *([] if about.ignore is None else [about.ignore])}
    for stroke in state.strokes:
        axis, index = (-1 if n is None else n for n in (stroke.axis, stroke.index))
        try:
            check_stroke(planes(given.array).shape, allowed, axis, index, stroke.runs or ())
        except InputError as error:
            raise InputError(f"{audit.folder / FILE}, event {stroke.n}, case {case}: {error}") from None
