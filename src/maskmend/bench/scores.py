"""What a benchmark measured: one row for each (run, checkpoint, case, class, metric), as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .measures import MEASURES, Measure

Checkpoint = Literal["last", "best", "epoch"]


@dataclass(frozen=True)
class Score:
    """One metric of one class of one case, under one checkpoint of one run.

    ``checkpoint``: "last" (the L model, after the last epoch), "best" (the B model, best on validation), or "epoch":
    the mean over all cases after a validated ``epoch``, its ``case`` empty. ``epoch`` is that of the weights, as the
    run's events count it. ``value`` of the ``metric`` (``measures.MEASURES``): shares are in [0, 1], distances 0 or
    more; NaN where it says nothing, as where neither prediction nor truth holds the class.
    """

    key: str
    dataset: str
    noise: str
    method: str
    preset: str
    network: str
    seed: int
    checkpoint: Checkpoint
    epoch: int
    case: str
    class_name: str  # the column is called "class"
    metric: str
    value: float


COLUMNS = tuple("class" if field.name == "class_name" else field.name for field in fields(Score))


def write(path: Path, scores: Iterable[Score]) -> None:
    """All of the scores as CSV with a header, in the order given; the whole file or none of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    names = [field.name for field in fields(Score)]
    writer.writerows([getattr(score, name) for name in names] for score in scores)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> list[Score]:
    """The scores ``write`` wrote, in their order; columns in any order, and other columns are passed over."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of scores; `maskmend bench` writes it")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: the columns {', '.join(missing)} are missing; the header needs all of {COLUMNS}")
        return [_parse(row, f"{path}:{rows.line_num}") for row in rows]


def _parse(row: dict[str, str | None], place: str) -> Score:
    cells = {column: word for column in COLUMNS if (word := row[column]) is not None}
    if len(cells) < len(COLUMNS):
        raise InputError(f"{place}: {len(cells)} of {len(COLUMNS)} cells are there; the row is cut off, write it anew")
    checkpoint = cells["checkpoint"]
    if checkpoint not in ("last", "best", "epoch"):
        raise InputError(f"{place}: checkpoint is {checkpoint!r}; it must be last, best or epoch")
    try:
        seed, epoch, value = int(cells["seed"]), int(cells["epoch"]), float(cells["value"])
    except ValueError as error:
        raise InputError(f"{place}: {error}; seed and epoch must be whole numbers, value a number or nan") from None
    if (measure := MEASURES.get(cells["metric"])) is None:
        raise InputError(f"{place}: metric is {cells['metric']!r}; it must be one of {', '.join(MEASURES)}")
    if value < 0 or (measure.share and value > 1):
        raise InputError(f"{place}: {measure.name} is {value:g}; it must be {_range(measure)}, or nan")
    run = {name: cells[name] for name in ("key", "dataset", "noise", "method", "preset", "network", "case", "metric")}
    return Score(**run, seed=seed, checkpoint=checkpoint, epoch=epoch, class_name=cells["class"], value=value)  # type: ignore[arg-type]


def _range(measure: Measure) -> str:
    return "a share from 0 to 1" if measure.share else "a distance of 0 or more"
