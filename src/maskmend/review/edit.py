"""From the journal to a label: the given one, the accepted suggestions in it, and what was drawn on top."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audit.store import Audit, Finding
from ..audit.suggest import taken
from ..data.formats import Picture
from ..errors import InputError
from ..types import IGNORE
from .journal import CaseState, Run

Read = Callable[[str], "NDArray[Any] | None"]
"""Gives the numbers of findings, or suggestions, by the name of their room."""
MOST_RUNS = 100_000
"""In one stroke."""


def planes(label: NDArray[Any]) -> NDArray[Any]:
    """The same voxels with three axes: a picture (H, W) is one slice (1, H, W)."""
    return label.reshape((1, *label.shape)) if label.ndim == 2 else label


def check_stroke(shape: Sequence[int], allowed: Collection[int], axis: int, index: int, runs: Sequence[Run]) -> None:
    """Raises InputError where a stroke would draw outside of a label (D, H, W), or with an undeclared value."""
    if not 0 <= axis < 3 or not 0 <= index < shape[axis]:
        raise InputError(
            f"there is no slice {index} across axis {axis} of a label of shape {tuple(shape)}; draw inside it."
        )
    rows, columns = (length for a, length in enumerate(shape) if a != axis)
    if not 0 < len(runs) <= MOST_RUNS:
        raise InputError(f"a stroke of {len(runs)} runs; it should have 1 to {MOST_RUNS}.")
    for row, start, end, value in runs:
        if not (0 <= row < rows and 0 <= start < end <= columns):
            raise InputError(
                f"the run {[row, start, end, value]} leaves a slice of {rows} × {columns}; draw inside it."
            )
        if value not in allowed:
            raise InputError(f"the value {value} is no class of this data set; draw with one of {sorted(allowed)}.")


def draw(label: NDArray[Any], axis: int, index: int, runs: Sequence[Run], ignore: int | None) -> None:
    """Draw on a label (D, H, W) in place; the data set's ``ignore`` value becomes IGNORE."""
    plane = np.moveaxis(label, axis, 0)[index]
    for row, start, end, value in runs:
        plane[row, start:end] = IGNORE if value == ignore else value


def current(
    audit: Audit, case: str, state: CaseState, given: Picture | None = None, read: Read | None = None
) -> Picture:
    """The label as it stands: (*S) on the given one's grid, IGNORE where nobody annotated.

    Args:
        audit: what the review is of.
        case: its name.
        state: what was said and drawn of it.
        given: its given label, if it was read.
        read: a map of a room, if they were read; by default from its file.

    Raises:
        InputError: the given label changed since the audit, or the journal speaks of another one; what was accepted
            is gone.
    """
    given = given or audit.given(case)
    check_same(audit, case, state)
    label = given.array.copy()
    volume = planes(label)
    if accepted := [f for f in audit.findings(case) if f.id in state.accepted and f.suggested]:
        numbers, suggested = (read(room) if read else audit.map(room, case) for room in ("findings", "suggestions"))
        if numbers is None or suggested is None:
            raise InputError(
                f"{audit.file('suggestions', case)} or its numbers are gone, and some of it was accepted; put them "
                "back, or audit the data set again with `maskmend audit`."
            )
        box = _around(accepted)
        volume[box] = taken(volume[box], suggested[box], numbers[box], [f.number for f in accepted])
    for stroke in state.strokes:
        assert stroke.axis is not None
        assert stroke.index is not None
        draw(volume, stroke.axis, stroke.index, stroke.runs or (), audit.about.ignore)
    return Picture(label, given.geometry)


def _around(findings: Sequence[Finding]) -> tuple[Any, ...]:
    """Where they all lie, in arrays (*S) and (D, H, W) alike."""
    boxes = [f.box for f in findings if f.box is not None]
    ends = zip(*boxes, strict=True) if len(boxes) == len(findings) else ()
    return (..., *(slice(min(first), max(last)) for first, last in (zip(*axis, strict=True) for axis in ends)))


def check_same(audit: Audit, case: str, state: CaseState) -> None:
    """Raises InputError where the journal speaks of another label than the audit."""
    if not state.labels <= {audit.about.files[case][0]}:
        raise InputError(
            f"{audit.folder / 'review.jsonl'} speaks of another label of {case} than the one that was audited; put "
            "that label back, or review the case in a new audit."
        )
