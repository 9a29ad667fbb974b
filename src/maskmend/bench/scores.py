"""What a benchmark measured: one row for each (run, checkpoint, case, class, metric), as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from ..data.formats import replacing

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
    with replacing(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8", newline="")
