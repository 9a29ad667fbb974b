"""A grade as a person reads it: tables for a terminal, and the picture of the work it saves."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from .compared import ALL, GIVEN, JUDGE
from .grade import Effort, Grade

Titled = tuple[str, Table]


def table(grade: Grade) -> RenderableType:
    """What ``maskmend evaluate AUDIT TRUTH`` prints."""
    shown = [_ranking(grade, name) for name, wrong in grade.wrong.items() if 0 < wrong < grade.cases]
    parts = [*shown, _mending(grade), *([_kinds(grade)] if grade.kinds else [])]
    return Group(*(line for part in parts for line in part), _lines(grade))


def draw(effort: Effort, path: Path) -> None:
    """Wrong cases found against cases seen, beside random order, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        effort.seen, effort.found, color="#0072B2", label=f"the audit's order, {effort.area.text(2)} above random"
    )
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="random order")
    axes.set(xlabel="share of cases seen", ylabel="share of wrong cases found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, fontsize="small")
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight")


def _table(*columns: str) -> Table:
    shown = Table(box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        shown.add_column(column, justify="right" if place else "left")
    return shown


def _ranking(grade: Grade, definition: str) -> Titled:
    wrong = grade.wrong[definition]
    title = f"Wrong is {definition}: {wrong} of {grade.cases} cases (AP by chance {wrong / grade.cases:.3f})"
    shown = _table("score", "AUROC", "AP", f"precision at {wrong}", "Spearman with 1 - Dice")
    for name, each in grade.ranking[definition].items():
        values = (each.auroc, each.ap, each.precision_at_k, grade.spearman[name])
        shown.add_row(name, *(value.text() for value in values))
    return title, shown


def _mending(grade: Grade) -> Titled:
    shown = _table("cases", GIVEN, ALL, JUDGE)
    for name, dice in grade.mending.items():
        shown.add_row(name, *(dice[done].text() for done in (GIVEN, ALL, JUDGE)))
    return "Mean Dice with the truth", shown


def _kinds(grade: Grade) -> Titled:
    found = list(dict.fromkeys(kind for row in grade.kinds.values() for kind in row))
    shown = _table("", *found)
    for kind, row in grade.kinds.items():
        shown.add_row(kind, *(str(row.get(other, 0)) for other in found))
    return "Kinds of the differences that were found (rows: the truth; columns: the finding)", shown


def _lines(grade: Grade) -> str:
    recall = ", ".join(f"{each.text(2)} at {most}" for most, each in grade.recall.items())
    chance = "–" if grade.voxel_chance is None else f"{grade.voxel_chance:.3f}"
    lines = [
        f"True differences found, by false findings a case: {recall}.",
        f"Right kind {grade.right_kind.text(2)}; depth off by {grade.depth_error_mm.text(2)} mm (px of pictures).",
        f"AP of single voxels {grade.voxel_ap.text()} (by chance {chance}).",
        f"Findings of confidence above 0.9 an untouched case: {grade.false_alarms.text(2)}.",
    ]
    if grade.effort:
        saved = f"{grade.effort.seen_for_most:.0%} of the cases must be seen to find 90 % of the wrong ones"
        lines.append(f"{saved}; the area between the order and a random one is {grade.effort.area.text()}.")
    return "\n".join(lines)
