"""An audit against the truth, where it is known: does it rank, place, name and mend what is wrong, and leave the rest?

A case is wrong if the Dice of its given label with the true one is below 0.95 in any class; also counted are 0.9, 0.8,
and the cases that ``noise.json`` says were corrupted. Intervals are percentile bootstraps over cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.formats import replacing, write_json
from ..errors import InputError
from ..progress import track
from ..texts import read_object
from . import merit
from .compared import ALL, GIVEN, JUDGE, Compared, compared
from .merit import Bools, Estimate, Floats
from .store import KINDS, Audit, Record

if TYPE_CHECKING:
    from rich.console import RenderableType

FILE = "grade.json"
LIMITS = (0.95, 0.9, 0.8)
"""Dice below which a case is wrong; the first is what the rest of the grade goes by."""
FALSE = (1, 2, 4)
"""False findings a case at which the share of true differences found is told."""
MOST = 0.9
"""Share of the wrong cases, to find which so many must be seen."""


class Ranking(Record):
    """How well one score tells wrong cases from right ones."""

    auroc: Estimate
    ap: Estimate
    precision_at_k: Estimate


class Effort(Record):
    """Wrong cases found against cases seen, both as shares, in the audit's order. area: between it and random order."""

    seen: tuple[float, ...]
    found: tuple[float, ...]
    area: Estimate
    seen_for_most: float


class Grade(Record):
    """What ``grade.json`` holds.

    wrong: cases that are, by definition of wrong; their share is the AP of chance. ranking: by definition and score.
    spearman: of each score with 1 - true Dice. recall: share of true differences found, by false findings a case.
    kinds: true kind -> kind of the finding that hit it -> how often. mending: mean Dice of wrong, right and all cases
    by what was done. false_alarms: findings of confidence above 0.9 an untouched case.
    """

    audit: str
    truth: str
    cases: int
    wrong: Mapping[str, int]
    ranking: Mapping[str, Mapping[str, Ranking]]
    spearman: Mapping[str, Estimate]
    voxel_ap: Estimate
    voxel_chance: float | None
    recall: Mapping[str, Estimate]
    kinds: Mapping[str, Mapping[str, int]]
    right_kind: Estimate
    depth_error_mm: Estimate
    effort: Effort | None
    mending: Mapping[str, Mapping[str, Estimate]]
    false_alarms: Estimate

    def table(self) -> RenderableType:
        """Three small tables and a few lines, for a terminal."""
        from .grade_table import table

        return table(self)


def grade(audit: Audit, truth: Path, output: Path | None = None, seed: int = 0) -> Grade:
    """Grades an audit by the true labels in the folder ``truth``, as ``simulate`` keeps them in ``labelsTr_truth``.

    Writes ``output`` (by default grade.json in the audit) and beside it, as PNG, how many wrong cases are found after
    how many are seen. One case is in memory at a time.

    Raises:
        InputError: a true label is missing, lies on another grid than the given one or holds what is no class; the
            given labels changed since the audit; the audit is of no case.
    """
    files = _files(audit, Path(truth))
    corrupted = _corrupted(audit)
    rows = track(audit.rows, "Grading cases")
    cases = [compared(audit, row, files[row.case], corrupted.get(row.case)) for row in rows]
    result = graded(cases, str(audit.folder), str(truth), seed)
    path = audit.folder / FILE if output is None else Path(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place with -o.") from error
    write_json(path, result.model_dump(mode="json"))
    if result.effort:
        from .grade_table import draw

        with replacing(path.with_suffix(".png")) as part:
            draw(result.effort, part)
    return result


def graded(cases: Sequence[Compared], audit: str = "", truth: str = "", seed: int = 0) -> Grade:
    """The grade of cases that were compared."""
    weights = merit.resampled(len(cases), seed)
    wrong, scores = _wrong(cases), _scores(cases)
    first = wrong[f"Dice < {LIMITS[0]:g}"]
    lost = np.array([1 - case.mended[GIVEN] for case in cases])
    untouched = np.array([case.worst == 1 for case in cases])
    alarms = np.array([case.sure if clean else np.nan for case, clean in zip(cases, untouched, strict=True)], float)
    right = np.array([sum(a == b for a, b in case.kinds) for case in cases], float)
    hit = np.array([len(case.kinds) for case in cases], float)
    deep = np.array([np.mean(case.depth_mm) if case.depth_mm else np.nan for case in cases])
    voxel_ap, voxel_chance = _places(cases, weights)
    return Grade(
        audit=audit,
        truth=truth,
        cases=len(cases),
        wrong={name: int(which.sum()) for name, which in wrong.items()},
        ranking={name: {s: _ranking(v, wrong[name], weights) for s, v in scores.items()} for name in wrong},
        spearman={s: _known(merit.spearman, v, lost, weights) for s, v in scores.items()},
        voxel_ap=voxel_ap,
        voxel_chance=voxel_chance,
        recall={str(most): merit.estimate(recall(cases, most, weights)) for most in FALSE},
        kinds=_kinds(cases),
        right_kind=merit.estimate(merit.share(right, hit, weights)),
        depth_error_mm=merit.estimate(merit.mean(deep, weights)),
        effort=_effort(cases, first, weights),
        mending=_mending(cases, first, weights),
        false_alarms=merit.estimate(merit.mean(alarms, weights)),
    )


def recall(cases: Sequence[Compared], most: float, weights: Floats) -> Floats:
    """(B,) share of all true differences hit by findings surer than those with which more than ``most`` a case are
    false."""
    found = np.concatenate([case.found for case in cases])
    of_found = np.repeat(np.arange(len(cases)), [len(case.found) for case in cases])
    of_best = np.repeat(np.arange(len(cases)), [len(case.best) for case in cases])
    false = np.flatnonzero(found[:, 1] == 0)
    false = false[np.argsort(-found[false, 0], kind="stable")]
    best = np.concatenate([case.best for case in cases])
    drawn = []
    for taken in weights:
        beyond = np.flatnonzero(taken[of_found[false]].cumsum() > most * taken.sum())
        least = found[false[beyond[0]], 0] if len(beyond) else -0.5
        here = taken[of_best]
        drawn.append((here * (best > least)).sum() / here.sum() if here.sum() else np.nan)
    return np.array(drawn)


def _files(audit: Audit, truth: Path) -> dict[str, Path]:
    files = {row.case: truth / f"{row.case}{audit.about.file_ending}" for row in audit.rows}
    if not files:
        raise InputError(f"{audit.folder} is an audit of no case; there is nothing to grade.")
    missing = next((path for path in files.values() if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing} is missing; name the folder of true labels, as DATASET/labelsTr_truth.")
    return files


def _corrupted(audit: Audit) -> dict[str, bool]:
    """Case -> whether ``noise.json`` says it was; nothing where it does not."""
    path = Path(audit.about.dataset) / "noise.json"
    cases = read_object(path).get("cases") if path.is_file() else None
    entries = cases.items() if isinstance(cases, dict) else ()
    return {
        name: bool(entry["corrupted"]) for name, entry in entries if isinstance(entry, dict) and "corrupted" in entry
    }


def _wrong(cases: Sequence[Compared]) -> dict[str, Bools]:
    """Which cases are, by each definition."""
    worst = np.array([case.worst for case in cases])
    wrong = {f"Dice < {limit:g}": worst < limit for limit in LIMITS}
    if all(case.corrupted is not None for case in cases):
        wrong["corrupted"] = np.array([bool(case.corrupted) for case in cases])
    return wrong


def _scores(cases: Sequence[Compared]) -> dict[str, Floats]:
    """(N,) by name, NaN where a case lacks it."""
    names = list(dict.fromkeys(name for case in cases for name in case.row.scores))
    found = {"doubt": [case.row.doubt for case in cases], **{n: [c.row.scores.get(n) for c in cases] for n in names}}
    return {name: np.array(values, float) for name, values in found.items()}


def _known(measure: Callable[[Floats, Any, Floats], Floats], score: Floats, other: Any, weights: Floats) -> Estimate:
    """The measure over the cases that have the score."""
    known = ~np.isnan(score)
    return merit.estimate(measure(score[known], other[known], weights[:, known]))


def _ranking(score: Floats, wrong: Bools, weights: Floats) -> Ranking:
    return Ranking(
        auroc=_known(merit.auroc, score, wrong, weights),
        ap=_known(merit.average_precision, score, wrong, weights),
        precision_at_k=_known(merit.precision_at_k, score, wrong, weights),
    )


def _places(cases: Sequence[Compared], weights: Floats) -> tuple[Estimate, float | None]:
    """Average precision of the doubt of each voxel in the band, over the voxels of all cases; and by chance."""
    empty = np.zeros((2, 256), np.int64)
    right, wrong = np.stack([empty if case.places is None else case.places for case in cases], 1).astype(float)
    if not wrong.any():
        return Estimate(value=None), None
    score, is_wrong = np.tile(np.arange(256.0), 2), np.repeat([False, True], 256)
    ap = merit.average_precision(score, is_wrong, weights @ np.concatenate([right, wrong], axis=1))
    return merit.estimate(ap), float(wrong.sum() / (wrong + right).sum())


def _effort(cases: Sequence[Compared], wrong: Bools, weights: Floats) -> Effort | None:
    if not wrong.any():
        return None
    order = -np.array([case.row.rank for case in cases], float)
    found = wrong[np.argsort(-order, kind="stable")].cumsum() / wrong.sum()
    seen = np.arange(1, len(cases) + 1) / len(cases)
    return Effort(
        seen=(0.0, *seen.tolist()),
        found=(0.0, *found.tolist()),
        area=merit.estimate(merit.effort(order, wrong, weights)),
        seen_for_most=float(seen[np.argmax(found >= MOST)]),
    )


def _mending(cases: Sequence[Compared], wrong: Bools, weights: Floats) -> dict[str, dict[str, Estimate]]:
    groups = {"wrong": wrong, "right": ~wrong, "all": np.ones_like(wrong)}
    dice = {done: np.array([case.mended[done] for case in cases]) for done in (GIVEN, ALL, JUDGE)}
    return {
        name: {done: merit.estimate(merit.mean(np.where(which, x, np.nan), weights)) for done, x in dice.items()}
        for name, which in groups.items()
    }


def _kinds(cases: Sequence[Compared]) -> dict[str, dict[str, int]]:
    """True kind -> found kind -> how often, both in their usual order."""
    count = Counter(pair for case in cases for pair in case.kinds)
    true = [kind for kind in KINDS if any(pair[0] == kind for pair in count)]
    return {kind: {other: count[kind, other] for other in KINDS if count[kind, other]} for kind in true}
