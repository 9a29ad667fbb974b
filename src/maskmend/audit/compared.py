"""One case of an audit beside its true label: how wrong it is, which findings are true, what mending makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.align import aligned
from ..data.formats import Picture, read_label
from ..errors import InputError
from ..metrics import dice, mean_sd, overlap
from ..types import IGNORE
from .findings import differences
from .parts import Ints
from .store import Audit, Doubted, Finding, Row

HIT = 0.1
"""IoU with a true difference from which a finding has found it; or its voxel to look at lies in one."""
BAND = 5
"""Voxels around given and true objects, to which places are told apart: further off nobody doubts anything."""
SURE = 0.9
"""Confidence above which a finding on an untouched label is a false alarm worth counting."""
BOUNDARY = ("too_wide", "too_tight")
GIVEN, ALL, JUDGE = "as given", "every suggestion taken", "redrawn where the hint says so"


@dataclass(frozen=True)
class Compared:
    """One case.

    dice: of the given label with the truth, by class; classes that neither has are left out. mended: mean Dice by what
    was done. places: (2, 256) voxels of the band by 255 times their doubt, right and wrong ones; None without a map.
    found: (M, 2) of each finding its confidence and whether it is true. best: (T,) of each true difference the
    confidence of the surest finding that hit it, -1 if none did. kinds: (true, found) of each that was hit.
    depth_mm: by how much a finding of the right kind at a boundary errs in depth.
    """

    row: Row
    dice: Mapping[str, float]
    mended: Mapping[str, float]
    places: Ints | None
    found: NDArray[np.float64]
    best: NDArray[np.float64]
    kinds: Sequence[tuple[str, str]] = ()
    depth_mm: Sequence[float] = ()
    corrupted: bool | None = None

    @property
    def worst(self) -> float:
        """Dice of the worst class; 1 where there is none."""
        return min(self.dice.values(), default=1.0)

    @property
    def sure(self) -> int:
        """Findings of a confidence above ``SURE``."""
        return int((self.found[:, 0] > SURE).sum())


def compared(audit: Audit, row: Row, truth: Path, corrupted: bool | None) -> Compared:
    """Reads a case and its true label ``truth``.

    Raises InputError where they do not lie on one grid, or the true label holds what is no class.
    """
    given, labels = audit.given(row.case), audit.about.labels
    true = true_label(audit, row.case, truth, given)
    label = np.where(true == IGNORE, IGNORE, given.array)
    known = given.geometry.known
    real = differences(label, true, labels, given.geometry.spacing_mm, audit.about.tolerance_mm, known)
    findings = [finding for finding in audit.findings(row.case) if finding.number]
    numbers, doubt = audit.map("findings", row.case), audit.doubt(row.case)
    dice_given = _dice(given.array, true, labels)
    return Compared(
        row=row,
        dice=dice_given,
        mended=_mended(audit, row, true, _mean(dice_given)),
        places=None if doubt is None else _places(doubt, label, true),
        corrupted=corrupted,
        **_matched(findings, real, np.zeros(true.shape, np.uint8) if numbers is None else numbers),
    )


def true_label(audit: Audit, case: str, path: Path, given: Picture) -> NDArray[np.int32]:
    """The true label (*S) of a case from the file ``path``; IGNORE where either label is of nobody.

    Raises InputError where it does not lie on the grid of the ``given`` one, or holds what is no class.
    """
    true = aligned(read_label(path), given, str(path), f"the given label of {case}").array.astype(np.int32)
    true[(true == audit.about.ignore) | (given.array == IGNORE)] = IGNORE
    strange = np.setdiff1d(true, [IGNORE, *audit.about.labels.values()])
    if strange.size:
        raise InputError(
            f"{path} holds the value {strange[0]}, which is no class of {audit.about.dataset}; correct it."
        )
    return true


def _dice(label: NDArray[Any], true: NDArray[Any], labels: Mapping[str, int]) -> dict[str, float]:
    foreground = {name: value for name, value in labels.items() if value}
    counts = overlap(label, true, list(foreground.values()))
    found = {name: dice(counts[value]) for name, value in foreground.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _mean(found: Mapping[str, float]) -> float:
    return mean_sd(found.values())[0] if found else 1.0


def _mended(audit: Audit, row: Row, true: NDArray[Any], before: float) -> dict[str, float]:
    """Mean Dice with the truth by what was done."""
    rooms = {ALL: "suggestions", JUDGE: "predicted" if row.hint == "redraw" else None}
    mended = {GIVEN: before}
    for done, room in rooms.items():
        label = audit.map(room, row.case) if room else None
        mended[done] = before if label is None else _mean(_dice(label, true, audit.about.labels))
    return mended


def _places(doubt: NDArray[np.uint8], label: NDArray[Any], true: NDArray[Any]) -> Ints:
    from scipy.ndimage import maximum_filter

    band = maximum_filter(((label > 0) | (true > 0)).astype(np.uint8), size=2 * BAND + 1) > 0
    band &= true != IGNORE
    wrong = label != true
    return np.stack([np.bincount(doubt[band & which], minlength=256) for which in (~wrong, wrong)])


def _matched(findings: Sequence[Finding], real: Sequence[Doubted], numbers: NDArray[Any]) -> dict[str, Any]:
    """Which findings are true, and what of each true difference was found."""
    true = np.zeros(numbers.shape, np.int32)
    for place, each in enumerate(real, 1):
        true.flat[each.voxels] = place
    sizes = np.array([0, *(each.voxels.size for each in real)])
    at = np.flatnonzero((true > 0) & (numbers > 0))
    pairs, common = np.unique(np.stack([true.flat[at], numbers.flat[at]]), axis=1, return_counts=True)
    iou = np.zeros((len(real) + 1, max((f.number for f in findings), default=0) + 1))
    area = np.bincount(numbers.ravel(), minlength=iou.shape[1])
    iou[pairs[0], pairs[1]] = common / (sizes[pairs[0]] + area[pairs[1]] - common)
    hit = iou >= HIT
    for finding in findings:
        if finding.slice is not None and (place := int(true[finding.slice])):
            hit[place, finding.number] = True
    return _told(findings, real, iou, hit)


def _told(
    findings: Sequence[Finding], real: Sequence[Doubted], iou: NDArray[Any], hit: NDArray[np.bool_]
) -> dict[str, Any]:
    by_number = {finding.number: finding for finding in findings}
    best, kinds, depth_mm = np.full(len(real), -1.0), [], []
    for place, each in enumerate(real, 1):
        hits = [by_number[number] for number in np.flatnonzero(hit[place]).tolist()]
        if not hits:
            continue
        best[place - 1] = max(finding.confidence for finding in hits)
        nearest = max(hits, key=lambda finding: iou[place, finding.number])
        kinds.append((each.kind, nearest.kind))
        if each.kind == nearest.kind in BOUNDARY and each.depth_mm is not None and nearest.depth_mm is not None:
            depth_mm.append(abs(nearest.depth_mm - each.depth_mm))
    found = np.array([(f.confidence, hit[:, f.number].any()) for f in findings], float).reshape(-1, 2)
    return {"found": found, "best": best, "kinds": kinds, "depth_mm": depth_mm}
