"""The summary: nnU-Net's file, the CSV, the table."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from maskmend.metrics import CaseResult, Scale, Summary, mean_sd, overlap, surface_distances, surface_metrics

OVERLAP = ("Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref")
REFERENCE = np.array([[0, 1, 1, 2], [0, 1, 0, 2]])


@pytest.fixture
def summary():
    without_2 = np.where(REFERENCE == 2, 0, REFERENCE)
    pairs = {"a": (REFERENCE, REFERENCE), "b": (without_2, without_2), "c": (np.zeros_like(REFERENCE), REFERENCE)}
    cases = [
        CaseResult(name, f"refs/{name}.png", f"preds/{name}.png", overlap(*pair, [1, 2]))
        for name, pair in pairs.items()
    ]
    return Summary({"organ": 1, "lesion": 2}, tuple(cases))


def test_means_leave_out_what_is_empty_and_count_it(summary):
    assert summary.values("Dice", 1) == [1, 1, 0]
    assert summary.mean[1]["Dice"] == pytest.approx(2 / 3)
    assert summary.mean[2]["IoU"] == pytest.approx(1 / 2)
    assert summary.empty == {1: 0, 2: 1}
    assert summary.foreground_mean["Dice"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert summary.case_means() == {"a": 1, "b": 1, "c": 0}


def test_json_is_nnunets(summary, tmp_path):
    summary.write_json(tmp_path / "summary.json")
    found = json.loads((tmp_path / "summary.json").read_text())
    assert set(found) == {"metric_per_case", "mean", "foreground_mean"}
    assert set(found["mean"]) == {"1", "2"}
    first, second, _ = found["metric_per_case"]
    assert first["reference_file"] == "refs/a.png"
    assert first["prediction_file"] == "preds/a.png"
    assert first["metrics"]["1"] == {"Dice": 1, "IoU": 1, "TP": 3, "FP": 0, "FN": 0, "TN": 5, "n_pred": 3, "n_ref": 3}
    assert math.isnan(second["metrics"]["2"]["Dice"])
    assert found["foreground_mean"]["FN"] == pytest.approx((3 / 3 + 2 / 3) / 2)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_csv_has_a_row_for_each_case_and_class(summary, tmp_path):
    summary.write_csv(tmp_path / "cases.csv")
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert [(row["case"], row["class"]) for row in rows] == [(c, k) for c in "abc" for k in ("organ", "lesion")]
    assert float(rows[4]["Dice"]) == 0
    assert math.isnan(float(rows[3]["IoU"]))


def test_the_table_says_mean_and_spread(summary):
    table = summary.table()
    assert "66.67 ± 57.74" in table
    assert "50.00 ± 70.71" in table
    assert len({len(line) for line in table.splitlines()}) == 1


@pytest.fixture
def with_surfaces(summary):
    """The same cases: a is perfect, in b nobody shows the lesion, in c the prediction is empty."""
    masks = {"refs": REFERENCE, "b": np.where(REFERENCE == 2, 0, REFERENCE), "c": np.zeros_like(REFERENCE)}
    pairs = [(masks["refs"], masks["refs"]), (masks["b"], masks["b"]), (masks["c"], masks["refs"])]
    cases = [
        replace(case, surface={k: surface_metrics(d, 2) for k, d in surface_distances(*pair, [1, 2]).items()})
        for case, pair in zip(summary.cases, pairs, strict=True)
    ]
    return replace(summary, cases=tuple(cases), scale=Scale("px", 2))


def test_means_of_distances_leave_out_what_is_missed_and_count_it(with_surfaces, summary):
    assert with_surfaces.mean[1]["HD95"] == 0
    assert with_surfaces.mean[1]["NSD"] == pytest.approx(2 / 3)
    assert with_surfaces.mean[2]["NSD"] == pytest.approx(1 / 2)
    assert with_surfaces.empty == {1: 0, 2: 1}
    assert with_surfaces.missed == {1: 1, 2: 1}
    assert summary.missed == {1: 0, 2: 0}
    assert with_surfaces.case_means("NSD") == {"a": 1, "b": 1, "c": 0}


def test_surface_metrics_in_json_csv_and_table(with_surfaces, tmp_path):
    with_surfaces.write_json(tmp_path / "summary.json")
    found = json.loads((tmp_path / "summary.json").read_text())
    assert set(found) == {"metric_per_case", "mean", "foreground_mean", "surface"}
    assert found["surface"] == {
        "unit": "px",
        "tolerance": 2,
        "empty": {"1": 0, "2": 1},
        "missed": {"1": 1, "2": 1},
    }
    assert set(found["mean"]["1"]) == {*OVERLAP, "HD95", "HD95_pooled", "HD", "ASD", "ASSD", "NSD"}
    with_surfaces.write_csv(tmp_path / "cases.csv")
    row = list(csv.DictReader((tmp_path / "cases.csv").open()))[-1]
    assert (row["HD95"], row["NSD"], row["unit"], row["tolerance"]) == ("nan", "0.0", "px", "2")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in with_surfaces.table().splitlines()]
    titles = ["HD95 (px)", "ASSD (px)", "ASD (px)", "NSD@2 px", "cases", "empty", "missed"]
    assert lines[0] == ["class", "Dice", "Jaccard", *titles]
    assert lines[2][3:] == ["0.00 ± 0.00"] * 3 + ["66.67 ± 57.74", "3", "0", "1"]
    assert lines[3][3:] == ["0.00"] * 3 + ["50.00 ± 70.71", "3", "1", "1"]
    assert lines[4][6:] == ["66.67 ± 57.74", "3", "", ""]


def test_mean_and_sd():
    assert mean_sd([1, math.nan, 3]) == (2, pytest.approx(math.sqrt(2)))
    assert mean_sd([5.0])[0] == 5
    assert math.isnan(mean_sd([5.0])[1])
    assert math.isnan(mean_sd([])[0])
