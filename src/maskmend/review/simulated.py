"""A reviewer who knows the truth, for demonstrations and benchmarks: her words go through the journal as a person's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audit.compared import true_label
from ..audit.store import MOST, Audit, open_audit
from ..data.lock import hold
from ..errors import InputError
from ..types import IGNORE
from .edit import current, planes
from .elsewhere import strokes
from .journal import Journal
from .outcome import record_redrawn


def simulated_review(audit_folder: Path, truth_folder: Path, cases: Iterable[str], reviewer: str = "simulated") -> None:
    """Review ``cases``, one after the other, as a person would who knows the truth.

    She accepts each finding whose suggestion brings the label nearer to the truth, in voxels, and refuses the others.
    Where the label is not the truth then, she redraws it. Where nothing is suggested, she refuses the finding if the
    label stayed as given. Each case is done at its end; where the truth is unknown (the ignore value), the label stays.

    Args:
        audit_folder: what ``audit`` made; her words are added to its review.jsonl.
        truth_folder: true labels, named as the given ones.
        cases: names of cases.
        reviewer: her name in the journal.

    Raises:
        InputError: a case is not of this audit; a true label is missing, of another grid or holds what is no class;
            the given label changed since the audit; somebody else reviews.
    """
    audit = open_audit(Path(audit_folder))
    with hold(audit.folder):
        journal = Journal(audit.folder, reviewer)
        try:
            for case in cases:
                _review(audit, journal, case, Path(truth_folder))
        finally:
            journal.close()


def _review(audit: Audit, journal: Journal, case: str, truth_folder: Path) -> None:
    if case not in audit.cases:
        raise InputError(f"{audit.folder} holds no case {case}; name one of its audit.csv.")
    path = truth_folder / f"{case}{audit.about.file_ending}"
    if not path.is_file():
        raise InputError(f"{path} is missing; name the folder of true labels, as DATASET/labelsTr_truth.")
    sha, given = audit.about.files[case][0], audit.given(case)
    true = true_label(audit, case, path, given)
    truth = np.where(true == IGNORE, given.array, true)
    suggested, numbers = audit.map("suggestions", case), audit.map("findings", case)
    gain: NDArray[Any] = np.zeros(MOST + 1)  # of each finding by its number, in voxels
    if suggested is not None and numbers is not None:
        better = (suggested == truth).astype(int) - (given.array == truth)
        gain = np.bincount(numbers.ravel(), better.ravel(), len(gain))
    found = audit.findings(case)
    for finding in found:
        if finding.suggested:
            verdict = "accepted" if gain[finding.number] > 0 else "refused"
            journal.append(case, "verdict", sha, finding=finding.id, verdict=verdict)
    now = current(audit, case, journal.of(case), given).array
    for index, runs in strokes(planes(now), planes(truth)):
        journal.append(case, "stroke", sha, axis=0, index=index, runs=runs, tool="truth")
    record_redrawn(journal, case, sha, found)
    said = journal.of(case).verdicts
    for finding in found:
        if finding.id not in said:
            journal.append(case, "verdict", sha, finding=finding.id, verdict="refused")
    journal.append(case, "done", sha)
