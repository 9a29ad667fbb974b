"""scores.csv: what is written is what is read."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

from maskmend.bench import scores
from maskmend.bench.scores import Score

ROW = Score(
    "k1", "Chest", "S_R, mild", "supervised", "", "unet", 3, "last", 23, 'a "quoted", case', "lung", "Dice", 0.1 + 0.2
)


def read(path: Path) -> list[Score]:
    """The scores of a file, in their order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{"class_name": row.pop("class"), **row} for row in csv.DictReader(file)]
    numbers = {"seed": int, "epoch": int, "value": float}
    return [Score(**{name: numbers.get(name, str)(text) for name, text in row.items()}) for row in rows]


def test_written_is_read(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, checkpoint="epoch", case="", epoch=0), replace(ROW, case="Lésion\nb", value=1 / 3)]
    scores.write(tmp_path / "scores.csv", rows)
    assert read(tmp_path / "scores.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]  # nothing temporary is left
    header = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "key,dataset,noise,method,preset,network,seed,checkpoint,epoch,case,class,metric,value"


def test_nan_stays_nan(tmp_path: Path) -> None:
    scores.write(tmp_path / "scores.csv", [replace(ROW, value=math.nan)])
    assert math.isnan(read(tmp_path / "scores.csv")[0].value)


def test_no_scores_are_a_header(tmp_path: Path) -> None:
    scores.write(tmp_path / "scores.csv", [])
    assert read(tmp_path / "scores.csv") == []
