"""The mended data set: new masks, the given ones beside them, and a record of every change."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..audit.store import About, Audit, stored
from ..data.dataset import Dataset
from ..data.formats import replacing, write_image, write_json, write_label
from ..data.layout import read_json_object
from ..progress import track
from ..review.journal import CaseState
from ..review.outcome import spoken_of
from ..runs.derived import carry, check_endings, copy_beside
from ..types import IGNORE, Trust
from .accept import Accept, Doubtful, Mended, concerns, mended
from .change import NOBODY, Change, changed
from .diff import write_diff
from .records import record, write_provenance

BESIDE = ("patients.csv", "noise.json")
"""Carried over where they are there, besides what every derived data set keeps."""


@dataclass
class Written:
    """What was done so far: the changes, what mend.json says of each case, and the cases that are clean now."""

    changes: list[Change] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    clean: set[str] = field(default_factory=set)


def write(audit: Audit, root: Path, accept: Accept, doubtful: Doubtful) -> Written:
    """Fill the new folder ``root``; nothing that was given is touched. Where no label and no weight is new, ``root``
    stays empty.

    Raises:
        InputError: a label changed since the audit, a file of the audit does not fit, or the disk is full.
    """
    check_endings(audit.dataset, list(audit.cases.values()))
    about, done = _with_ignore(audit.about, doubtful), Written()
    method = f"mend --accept {accept} --doubtful {doubtful}"
    for each in track(_concerned(audit, accept, doubtful), "Mending"):
        label = np.where(each.open, IGNORE, each.label) if doubtful == "ignore" else each.label
        change = None
        if doubtful == "weights":
            _write_weights(audit, each, root)
        if not np.array_equal(label, each.given.array):
            path = root / "labelsTr" / f"{each.case}{about.file_ending}"
            write_label(path, stored(label, about), each.given.geometry)
            write_provenance(audit, each, root, path, method)
            change = changed(each.case, each.by or NOBODY, each.given, label, about.labels)
            done.changes.append(change)
        if change is not None or each.people:
            done.records[each.case] = record(each, change)
        done.clean |= {each.case} if each.clean else set()
    if done.changes or doubtful == "weights":
        _write_rest(audit, about, root, done)
        asked = {"accept": accept, "doubtful": doubtful}
        source = {"maskmend": __version__, "audit": str(audit.folder.resolve()), "dataset": audit.about.dataset}
        write_json(root / "mend.json", source | asked | {"cases": done.records})
    return done


def _concerned(audit: Audit, accept: Accept, doubtful: Doubtful) -> Iterator[Mended]:
    """The cases that may get another label, one in memory at a time; not those whose label cannot be read."""
    states = spoken_of(audit)
    for row in audit.rows:
        state = states.get(row.case) or CaseState()
        broken = row.worst_kind == "file" and any(
            f.kind == "file" and f.confidence == 1 for f in audit.findings(row.case)
        )
        if concerns(row, state, accept, doubtful) and not broken:
            yield mended(audit, row, state, accept)


def _write_rest(audit: Audit, about: About, root: Path, done: Written) -> None:
    """All that is as it was, who is clean, and the page."""
    source = audit.dataset
    copy_beside(source, root)
    for name in BESIDE:
        if (source.root / name).exists():
            shutil.copy2(source.root / name, root / name)
    new = {change.case for change in done.changes}
    for case in source.train:
        if case.label is None:
            continue
        carry(case.label, root / "labelsTr_given", case.name, link=True)
        truth = source.root / "labelsTr_truth" / f"{case.name}{source.file_ending}"
        if truth.is_file():
            carry(truth, root / "labelsTr_truth", case.name, link=True)
        earlier = source.root / "provenance" / f"{case.name}.json"
        if case.name not in new:
            carry(case.label, root / "labelsTr", case.name)
            if earlier.is_file():
                (root / "provenance").mkdir(exist_ok=True)
                shutil.copy2(earlier, root / "provenance" / earlier.name)
    if any(change.ignored for change in done.changes):
        _declare_ignore(root / "dataset.json", source, about)
    _write_supervision(root / "supervision.csv", audit, done.clean)
    write_diff(audit, root, about.ignore, done.changes, done.records)


def _write_supervision(path: Path, audit: Audit, clean: Collection[str]) -> None:
    """A case that a person is done with is clean; the others are what they were."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["case", "supervision"])
        for case in audit.dataset.train:
            rows.writerow([case.name, (Trust.CLEAN if case.name in clean else case.trust).name.lower()])


# --- what is not decided ----------------------------------------------------------------------------------------------


def _with_ignore(about: About, doubtful: Doubtful) -> About:
    """With an ignore value where one is needed: the data set's own, else the highest label and one."""
    if doubtful != "ignore" or about.ignore is not None:
        return about
    return about.model_copy(update={"ignore": max(about.labels.values()) + 1})


def _declare_ignore(path: Path, source: Dataset, about: About) -> None:
    content = read_json_object(path)
    background = next(iter(source.labels))
    content["labels"] = {background: 0, **(source.regions or source.labels), "ignore": about.ignore}
    write_json(path, content)


def _write_weights(audit: Audit, each: Mended, root: Path) -> None:
    """How much each voxel may count: one less its doubt, and 1 where nothing is left to doubt."""
    doubt = audit.doubt(each.case)
    weights: NDArray[np.float32] = np.ones(each.label.shape, np.float32)
    if doubt is not None:
        weights = np.where(each.settled, 1, 1 - doubt.astype(np.float32) / 255).astype(np.float32)
    write_image(root / "weightsTr" / f"{each.case}{audit.about.file_ending}", weights, each.given.geometry)
