"""`maskmend evaluate --surface`: units, tolerance, tables, and what overlap alone leaves as it was."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from maskmend.data.formats import Geometry, write_label
from maskmend.errors import InputError
from maskmend.metrics import surface_distances, surface_metrics
from maskmend.verbs.evaluate import evaluate

LABELS = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
SURFACE = {"HD95", "HD95_pooled", "HD", "ASD", "ASSD", "NSD"}


def draw(shift, shape=(20, 24, 22)):
    """An organ with a lesion in it, and a corner that nobody annotated."""
    grid = np.indices(shape[-2:] if len(shape) == 2 else shape)
    middle = np.array([n / 2 for n in shape]).reshape(-1, *[1] * len(shape))
    middle[-1] += shift
    radius = np.sqrt(((grid - middle) ** 2).sum(0))
    label = np.where(radius < 3, 2, np.where(radius < 8, 1, 0)).astype(np.uint8)
    label[:3] = 3
    return label


def write(folder, ending, labels, spacing):
    origin, dims = ((0.0,) * len(spacing), len(spacing)) if ending == ".nii.gz" else (None, 0)
    geometry = Geometry(spacing, origin, tuple(np.eye(dims).ravel()) if dims else None)
    folder.mkdir(parents=True, exist_ok=True)
    for name, label in labels.items():
        write_label(folder / f"{name}{ending}", label, geometry)


@pytest.fixture
def volumes(tmp_path):
    """Predictions and references of 2.5 × 1 × 0.5 mm; of one case the lesion is missed, of one nobody shows it."""
    references, predictions = tmp_path / "Dataset001_Toy/labelsTs", tmp_path / "predictions"
    truth = {name: draw(0) for name in ("moved", "missed", "none")}
    truth["none"][truth["none"] == 2] = 1
    guess = {"moved": draw(2), "missed": np.minimum(draw(0) % 3, 1), "none": truth["none"] % 3}
    write(references, ".nii.gz", truth, (2.5, 1.0, 0.5))
    write(predictions, ".nii.gz", guess, (2.5, 1.0, 0.5))
    (references.parent / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    return predictions, references, guess, truth


def rows(path):
    return {(row["case"], row["class"]): row for row in csv.DictReader(path.open())}


def test_the_command_writes_and_shows_distances_in_mm(volumes, maskmend):
    predictions, references, guess, truth = volumes
    result = maskmend("evaluate", predictions, references, "--surface", "--tolerance-mm", "0.7")
    assert result.exit_code == 0, result.output
    found = rows(predictions / "cases.csv")
    for name in truth:
        expected = surface_distances(guess[name], truth[name], [1, 2], (2.5, 1.0, 0.5), ignore=3)
        for label, class_name in ((1, "organ"), (2, "lesion")):
            row = found[name, class_name]
            numbers = {metric: float(row[metric]) for metric in SURFACE}
            assert numbers == pytest.approx(surface_metrics(expected[label], 0.7), nan_ok=True)
            assert (row["unit"], row["tolerance"]) == ("mm", "0.7")
    assert float(found["moved", "lesion"]["HD"]) == 1  # two columns of half a millimetre
    summary = json.loads((predictions / "summary.json").read_text())
    surface = {"unit": "mm", "tolerance": 0.7, "empty": {"1": 0, "2": 1}, "missed": {"1": 0, "2": 1}}
    assert summary["surface"] == surface
    assert summary["mean"]["2"]["HD"] == 1
    assert "HD95 (mm)" in result.output
    assert "NSD@0.7 mm" in result.output
    lesion = next(line for line in result.output.splitlines() if "lesion" in line)
    assert [cell.strip() for cell in lesion.strip("|").split("|")][-3:] == ["3", "1", "1"]  # cases, empty, missed


def test_overlap_alone_is_the_default(volumes, maskmend):
    predictions, references, *_ = volumes
    assert "HD95" not in maskmend("evaluate", predictions, references).output
    assert set(json.loads((predictions / "summary.json").read_text())) == {
        "foreground_mean",
        "mean",
        "metric_per_case",
    }
    assert not SURFACE & set(rows(predictions / "cases.csv")["moved", "organ"])


@pytest.mark.parametrize(("spacing", "unit", "distance"), [((1.0, 1.0), "px", 3), ((0.5, 0.5), "mm", 1.5)])
def test_pictures_are_measured_in_pixels_and_tiffs_as_they_say(tmp_path, spacing, unit, distance):
    ending = ".png" if unit == "px" else ".tif"
    write(tmp_path / "truth", ending, {"x": draw(0, (40, 44)) % 3 % 2}, spacing)
    write(tmp_path / "guess", ".png", {"x": draw(3, (40, 44)) % 3 % 2}, (1.0, 1.0))
    summary = evaluate(tmp_path / "guess", tmp_path / "truth", surface=True)
    assert f"HD95 ({unit})" in summary.table()
    assert f"NSD@1 {unit}" in summary.table()
    assert summary.mean[1]["HD"] == pytest.approx(distance)


def test_millimetres_and_pixels_are_not_averaged(tmp_path):
    for folder in ("guess", "truth"):
        write(tmp_path / folder, ".png", {"x": draw(0, (40, 44)) % 3}, (1.0, 1.0))
        write(tmp_path / folder, ".tif", {"y": draw(0, (40, 44)) % 3}, (0.5, 0.5))
    assert evaluate(tmp_path / "guess", tmp_path / "truth").values("Dice", 1) == [1, 1]
    with pytest.raises(InputError, match=r"truth/y\.tif has a spacing in mm, but x\.png has none; convert"):
        evaluate(tmp_path / "guess", tmp_path / "truth", surface=True)


@pytest.mark.parametrize("tolerance_mm", [-1, math.nan, math.inf])
def test_a_tolerance_that_is_none(volumes, tolerance_mm):
    with pytest.raises(InputError, match=f"the tolerance {tolerance_mm} mm is no distance"):
        evaluate(*volumes[:2], surface=True, tolerance_mm=tolerance_mm)


def test_of_many_cases_the_first_wrong_one_is_named(tmp_path):
    masks = {f"case{number:02d}": draw(0, (40, 44)) % 3 for number in range(30)}
    write(tmp_path / "truth", ".png", masks, (1.0, 1.0))
    masks["case07"], masks["case11"] = masks["case07"][:30], masks["case11"][:20]
    write(tmp_path / "guess", ".png", masks, (1.0, 1.0))
    with pytest.raises(InputError, match=r"case07\.png has the shape \(30, 44\)"):
        evaluate(tmp_path / "guess", tmp_path / "truth", surface=True)
    assert not (tmp_path / "guess/summary.json").exists()
