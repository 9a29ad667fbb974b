"""Who judges once some labels are reviewed: networks of these alone, if they draw them better than those of all labels.

Both are asked about reviewed cases that they had not learnt the reviewed label of. Where networks of the reviewed
labels are better, one of all of them judges the rest; else the cross-fit does, with the reviewed labels put in.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.formats import Picture
from ..metrics import dice, overlap
from .cross import ENOUGH, Crossing, Reviewed
from .rank import counted
from .sources import Several
from .store import Audit


@dataclass(frozen=True)
class Choice:
    """The judge, and what a person is told of the choice."""

    judge: Several
    sentence: str


def choose(crossing: Crossing, before: Audit, reviewed: Reviewed, others: Several | None = None) -> Choice:
    """The judge of the labels that are not reviewed. others: judges from elsewhere, who keep their say unless the
    networks of the reviewed labels are better.

    Warns before anything is trained where too few are reviewed.

    Raises:
        InputError: as ``Crossing.given``.
    """
    if len(reviewed) < ENOUGH:
        then = "the judges stay" if others else "networks learn from all masks, the reviewed ones put in"
        few = counted(len(reviewed), "reviewed mask")
        said = f"{few} cannot judge the others alone, for that takes {ENOUGH} or more; {then}."
        warnings.warn(said, stacklevel=2)
        return Choice(others or crossing.given(reviewed), said)
    alone = _answers(crossing, crossing.halves(reviewed), reviewed)
    ours, theirs = mean_dice(alone, reviewed), mean_dice(_drawn_before(crossing, before, reviewed), reviewed)
    told = f"Dice {ours:.3f} in cross-validation, against {theirs:.3f}"
    if ours > theirs:
        said = f"A network of the {len(reviewed)} reviewed masks alone judges the rest: it draws them better ({told})."
        return Choice(crossing.of_reviewed(reviewed), said)
    if others is not None:
        return Choice(
            others, f"The judges stay: networks of the {len(reviewed)} reviewed masks draw no better ({told})."
        )
    said = (
        f"Networks of all masks judge, the {len(reviewed)} reviewed ones put in: alone these draw no better ({told})."
    )
    return Choice(crossing.given(reviewed), said)


def _drawn_before(crossing: Crossing, before: Audit, reviewed: Reviewed) -> dict[str, NDArray[np.int64]]:
    """What the judge of the audit before drew of the reviewed cases; if none did, what a cross-fit draws."""
    found = {case: mask for case in reviewed if (mask := before.map("predicted", case)) is not None}
    return found if len(found) == len(reviewed) else _answers(crossing, crossing.given({}), reviewed)


def _answers(crossing: Crossing, judge: Several, reviewed: Reviewed) -> dict[str, NDArray[np.int64]]:
    cases = {case.name: case for case in crossing.dataset.train}
    return {case: judge.probabilities(cases[case], label).argmax(0) for case, label in reviewed.items()}


def mean_dice(drawn: Mapping[str, NDArray[np.int64]], labels: Mapping[str, Picture]) -> float:
    """Mean over cases of the mean Dice over the classes that either mask holds; 1 where both are empty."""
    values = []
    for case, mask in drawn.items():
        label = labels[case].array
        top = int(max(label.max(initial=0), mask.max(initial=0)))
        each = [dice(counts) for counts in overlap(mask, label, range(1, top + 1)).values() if not counts.empty]
        values.append(sum(each) / len(each) if each else 1.0)
    return float(np.mean(values))
