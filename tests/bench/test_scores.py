"""scores.csv: what is written is what is read, and what cannot be meant is refused by its line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from maskmend.bench import scores
from maskmend.bench.scores import Score
from maskmend.errors import InputError

ROW = Score(
    "k1", "Chest", "S_R, mild", "supervised", "", "unet", 3, "last", 23, 'a "quoted", case', "lung", "Dice", 0.1 + 0.2
)


def test_written_is_read(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, checkpoint="epoch", case="", epoch=0), replace(ROW, case="Lésion\nb", value=1 / 3)]
    scores.write(tmp_path / "scores.csv", rows)
    assert scores.read(tmp_path / "scores.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]  # nothing temporary is left
    header = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "key,dataset,noise,method,preset,network,seed,checkpoint,epoch,case,class,metric,value"


def test_nan_stays_nan(tmp_path: Path) -> None:
    scores.write(tmp_path / "scores.csv", [replace(ROW, value=math.nan)])
    assert math.isnan(scores.read(tmp_path / "scores.csv")[0].value)


def test_no_scores_are_a_header(tmp_path: Path) -> None:
    scores.write(tmp_path / "scores.csv", [])
    assert scores.read(tmp_path / "scores.csv") == []


def test_order_of_columns_and_columns_of_others_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    scores.write(path, [replace(ROW, case="a", noise="S_R")])
    turned = [",".join(["x", *reversed(line.split(","))]) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("\n".join(turned) + "\n", encoding="utf-8")
    assert scores.read(path) == [replace(ROW, case="a", noise="S_R")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("last", "newest", r"scores.csv:2: checkpoint is 'newest'; it must be last, best or epoch"),
        ("0.5", "50", r"scores.csv:2: Dice is 50; it must be a share"),
        ("Dice,0.5", "HD95,-1", r"scores.csv:2: HD95 is -1; it must be a distance of 0 or more"),
        ("Dice", "F1", r"scores.csv:2: metric is 'F1'; it must be one of Dice, Jaccard"),
        ("0.5", "good", r"scores.csv:2: could not convert .*; seed and epoch must be whole numbers"),
        (",lung,Dice,0.5", "", r"scores.csv:2: 10 of 13 cells are there"),
        ("class", "label", r"scores.csv: the columns class are missing"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "scores.csv"
    scores.write(path, [replace(ROW, case="a", value=0.5)])
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        scores.read(path)


def test_no_file_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`maskmend bench` writes it"):
        scores.read(tmp_path / "scores.csv")
