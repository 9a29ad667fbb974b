"""A copy of a data set whose training labels are made of its raters', and how well each rater draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Case, Dataset, case_arrays, declared_label, open_dataset
from ..data.empty import check_masks
from ..data.formats import write_json, write_label
from ..data.fusion import CHOICES, FUSIONS, around, average, choose, disagreement, likeliest, majority, rate, staple
from ..data.layout import nearest, read_json_object
from ..data.scratch import check_new, new_folder
from ..data.threads import in_threads
from ..errors import InputError
from ..metrics import dice, mean_sd, overlap
from ..progress import track
from ..runs.derived import carry, check_endings, copy_beside
from ..types import IGNORE

if TYPE_CHECKING:
    from rich.console import RenderableType

RULES = (*FUSIONS, *CHOICES)
SAID = {
    "majority": "the majority of {}; ties go to the lower class",
    "staple": "what STAPLE makes of {}",
    "random_rater": "for each case those of one, drawn by chance, of {}",
    "cycle": "for each case those of one, in turn, of {}",
}
MEASURES = ("dice", "sensitivity", "specificity")


@dataclass(frozen=True)
class Rating:
    """How one rater drew one case, by the name of the class; NaN where there was nothing to draw."""

    dice: Mapping[str, float]
    sensitivity: Mapping[str, float]
    specificity: Mapping[str, float]

    def mean(self, measure: str) -> float:
        """Of one of ``MEASURES``, over classes."""
        return mean_sd(getattr(self, measure).values())[0]


@dataclass(frozen=True)
class FusedCase:
    """What became of one case. ``raters``: how well each drew it, empty where the given label was kept; ``chosen``: the
    one whose label it has now; ``disagreement``: share of what anybody drew on which not all agree."""

    name: str
    raters: Mapping[str, Rating]
    chosen: str | None = None
    disagreement: float = math.nan


@dataclass(frozen=True)
class FusionSummary:
    """What became of all of them, in the order of their names."""

    output: Path
    rule: str
    seed: int
    cases: tuple[FusedCase, ...]

    @property
    def fused(self) -> tuple[FusedCase, ...]:
        """The cases that some rater drew."""
        return tuple(case for case in self.cases if case.raters)

    @property
    def measured_against(self) -> str:
        """What raters are compared with: the majority, unless it is STAPLE that fuses."""
        return "staple" if self.rule == "staple" else "majority"

    def raters(self) -> dict[str, dict[str, float]]:
        """Of each rater the number of cases, and the mean over them of each of ``MEASURES``."""
        names = sorted({name for case in self.fused for name in case.raters})
        return {name: self._of([case.raters[name] for case in self.fused if name in case.raters]) for name in names}

    def _of(self, ratings: Sequence[Rating]) -> dict[str, float]:
        means = {measure: mean_sd(rating.mean(measure) for rating in ratings)[0] for measure in MEASURES}
        return {"cases": len(ratings), **means}

    def table(self) -> RenderableType:
        """One row for each rater, to print with rich."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("rater", "cases", *MEASURES):
            table.add_column(column, justify="left" if column == "rater" else "right")
        for name, row in self.raters().items():
            table.add_row(Text(name), str(row["cases"]), *(_cell(row[measure]) for measure in MEASURES))
        apart = mean_sd(case.disagreement for case in self.fused)[0]
        kept = len(self.cases) - len(self.fused)
        said = f"{self.output}: {len(self.fused)} labels by {self.rule}, {kept} as given. "
        said += f"Raters disagree on {apart:.0%} of what anybody drew; against the {self.measured_against} label:"
        return Group(Text(said.replace("the staple label", "STAPLE's label")), table)

    def manifest(self) -> dict[str, Any]:
        """The content of ``fusion.json``."""
        return {
            "rule": self.rule,
            "seed": self.seed,
            "measured_against": self.measured_against,
            "raters": {name: {key: _known(value) for key, value in row.items()} for name, row in self.raters().items()},
            "cases": {case.name: _of_case(case) for case in self.cases},
        }


def fuse(dataset: Path, output: Path, rule: str = "majority", seed: int = 0) -> FusionSummary:
    """Copies the nnU-Net data set ``dataset`` to ``output``, with training labels made of its raters' by ``rule``.

    ``rule``: majority; staple; random_rater, one rater's label for each case, by ``seed`` and the case's name; cycle,
    the raters' in turn. A case that no rater of labelsTr_raters drew, or that a ``supervision.csv`` calls clean or
    unlabeled, keeps what it was given. Images and the raters' labels become hard links where the disk allows it; test
    cases stay as they are; the source is never changed. ``fusion.json`` says how well each rater drew each case.
    Raises InputError for an unknown rule, a data set without raters' labels, one that does not fit its image, and an
    ``output`` that holds something already.
    """
    dataset, output = Path(dataset), Path(output)
    if rule not in RULES:
        raise InputError(f"there is no rule {rule!r}{nearest(rule, RULES)}; choose one of {', '.join(RULES)}.")
    if seed < 0:
        raise InputError(f"the seed {seed} is negative; choose 0 or more.")
    check_new(output)
    source = open_dataset(dataset)
    labelled = sorted((case for case in source.train if case.label is not None), key=lambda case: case.name)
    if not any(case.opinions for case in labelled):
        raise InputError(
            f"{dataset / 'labelsTr_raters'} holds no rater's label of a noisy case; put them there as "
            f"RATER/CASE{source.file_ending}."
        )
    check_endings(source, source.train)
    with new_folder(output) as root:
        copy_beside(source, root)
        _copy_raters(source, root)
        work = partial(_write_case, source=source, root=root, rule=rule, seed=seed)
        cases = tuple(track(in_threads(work, labelled), "Fusing labels", total=len(labelled)))
        summary = FusionSummary(output, rule, seed, cases)
        write_json(root / "dataset.json", read_json_object(root / "dataset.json") | {"annotation": _said(summary)})
        write_json(root / "fusion.json", summary.manifest())
        made = open_dataset(root)
        check_masks(made, made.train, output)
    return summary


def _copy_raters(source: Dataset, root: Path) -> None:
    for path in sorted(source.root.glob("labelsT[rs]_raters/*/*")):
        if path.name.endswith(source.file_ending) and not path.name.startswith("."):
            place = root / path.parent.relative_to(source.root)
            carry(path, place, path.name.removesuffix(source.file_ending), link=True)


def _write_case(case: Case, *, source: Dataset, root: Path, rule: str, seed: int) -> FusedCase:
    """Writes the label of one case."""
    assert case.label is not None
    image, given = case_arrays(case, source)
    if not case.opinions:
        carry(case.label, root / "labelsTr", case.name)
        return FusedCase(case.name, {})
    drawn = {path: declared_label(path, image, case, source).array for path in case.opinions}
    labels = list(drawn.values())
    box = around(labels)
    inside = [label[box] for label in labels]  # all agree outside
    prob = staple(inside, source.classes) if rule == "staple" else average([majority(inside)], source.classes)
    label = majority(labels)
    label[box] = fused = likeliest(prob)
    chosen = next((choose(case, source, turn, seed) for turn in CHOICES if turn == rule), None)
    label = drawn[chosen] if chosen else label
    raw = label if source.ignore is None else np.where(label == IGNORE, source.ignore, label)
    write_label(root / "labelsTr" / f"{case.name}{source.file_ending}", raw, given.geometry)
    names = [path.parent.name for path in drawn]
    ratings = _ratings(inside, prob, fused, {name: k for name, k in source.labels.items() if k})
    whose = chosen.parent.name if chosen else None
    return FusedCase(case.name, dict(zip(names, ratings, strict=True)), whose, disagreement(labels))


def _ratings(
    labels: Sequence[NDArray[Any]], prob: NDArray[Any], fused: NDArray[Any], classes: Mapping[str, int]
) -> list[Rating]:
    """How well each rater drew, against a fused label and its probabilities (K, *S)."""
    sensitivity, specificity = rate(labels, prob)
    found = []
    for label, *rates in zip(labels, sensitivity, specificity, strict=True):
        counts = overlap(label, np.where(label == IGNORE, IGNORE, fused), list(classes.values()))
        sure, careful = ({name: float(row[k]) for name, k in classes.items()} for row in rates)
        found.append(Rating({name: dice(counts[k]) for name, k in classes.items()}, sure, careful))
    return found


def _said(summary: FusionSummary) -> str:
    """What dataset.json says of the labels."""
    names = list(summary.raters())
    who = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return "labels are " + SAID[summary.rule].format(f"{len(names)} raters ({who})")


def _of_case(case: FusedCase) -> dict[str, Any]:
    raters = {
        name: {measure: {c: _known(v) for c, v in getattr(rating, measure).items()} for measure in MEASURES}
        for name, rating in case.raters.items()
    }
    return {"chosen": case.chosen, "disagreement": _known(case.disagreement), "raters": raters}


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
