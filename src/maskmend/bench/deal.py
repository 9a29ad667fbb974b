"""Which cases a run learns from, with what labels, and which it is measured on: the same for all methods and seeds."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.dataset import Case, Dataset
from ..data.splits import split
from ..data.stack import Volume, read_volumes
from ..errors import InputError
from ..types import Trust
from .plan import Labels


@dataclass(frozen=True)
class Deal:
    """``clean``: share of the training cases with true masks for who gets some; ``unlabeled``: share of the others
    without any. ``fold``: measured on what it holds out, None on the test cases. At most ``train`` and ``test`` cases,
    None all. Chosen cases are spread evenly over their names."""

    labels: Labels
    clean: float = 0.0
    unlabeled: float = 0.0
    fold: int | None = None
    train: int | None = None
    test: int | None = None

    def cases(self, true: Dataset, given: Dataset) -> tuple[list[Case], list[Case]]:
        """Training cases, and those to measure on with their true labels.

        Those that keep their true masks are the data set's own clean cases, or else ``clean`` of the training cases.
        Who learns from given masks alone gets no case without one.
        """
        truth = {case.name: replace(case, trust=Trust.CLEAN) for case in true.train}
        if self.fold is None:
            cases = spread(given.train, self.train)
            test = [replace(case, label=case.reference, trust=Trust.CLEAN) for case in true.test]
        else:
            kept, held = split(given, self.fold)
            cases, test = spread(kept, self.train), [truth[case.name] for case in held]
        test = spread(test, self.test)
        if self.labels == "truth":
            return [truth[case.name] for case in cases], test
        clean = self._clean(cases)
        hidden = self._hidden([case for case in cases if case.name not in clean])
        if self.labels == "given":
            return [case for case in cases if case.name not in hidden], test
        if self.labels == "clean":
            return [truth[case.name] for case in cases if case.name in clean], test
        without = (replace(case, label=None, trust=Trust.UNLABELED) if case.name in hidden else case for case in cases)
        return [truth[case.name] if case.name in clean else case for case in without], test

    def volumes(self, true: Dataset, test: Sequence[Case], wanted: bool | None) -> tuple[Volume, ...]:
        """The volumes that the cases to measure on are slices of; none if not ``wanted``, or nothing says so.

        Raises InputError where none say so though ``wanted``, and where ``test`` holds a part of a volume only.
        """
        if wanted is False:
            return ()
        pool = [case.name for case in (true.test if self.fold is None else true.train)]
        names = {case.name for case in test}
        found = tuple(v for v in read_volumes(true.root, pool) if not names.isdisjoint(v.places))
        if wanted and not found:
            raise InputError(f"nothing says what the cases of {true.root} are slices of; add volumes.csv.")
        if cut := [volume.name for volume in found if not names.issuperset(volume.places)]:
            part = "test_cases" if self.fold is None else f"fold {self.fold}"
            raise InputError(f"{part} holds some slices of {cut[0]} only; take whole volumes, or set volumes: false.")
        return found

    def _clean(self, cases: Sequence[Case]) -> set[str]:
        """Names of the cases that keep their true masks."""
        own = {case.name for case in cases if case.trust is Trust.CLEAN}
        labelled = [case for case in cases if case.label is not None]
        count = max(1, round(self.clean * len(labelled))) if self.clean else 0
        return own or {case.name for case in spread(labelled, count)}

    def _hidden(self, cases: Sequence[Case]) -> set[str]:
        """Names of the cases whose given masks are hidden."""
        labelled = [case for case in cases if case.label is not None]
        return {case.name for case in spread(labelled, round(self.unlabeled * len(labelled)))}


def spread(cases: Iterable[Case], count: int | None) -> list[Case]:
    """``count`` of the cases, evenly spread over their names, in order; all where there are no more."""
    every = sorted(cases, key=lambda case: case.name)
    count = len(every) if count is None else min(count, len(every))
    return [every[place * len(every) // count] for place in range(count)]


def raters_of(case: Case, root: Path) -> dict[str, Path]:
    """What raters drew of a case of the data set at ``root``, by rater: of labelsTs_raters, else of labelsTr_raters."""
    name = glob.escape(case.label.name) if case.label else ""
    paths = [path for part in ("Ts", "Tr") for path in root.glob(f"labels{part}_raters/*/{name}")]
    return {path.parent.name: path for path in sorted(paths)}
