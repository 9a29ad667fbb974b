"""A data set of nnU-Net with regions, from training to mended masks: classes are learnt, regions are scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tests.system.conftest import TINY, Maskmend
from tests.system.test_mend import accept_all
from tests.toy import write_toy

from maskmend import audit, evaluate, mend
from maskmend.audit.store import open_audit
from maskmend.data.dataset import open_dataset
from maskmend.data.formats import Geometry, read_label, write_json, write_label
from maskmend.metrics import dice

LABELS = {"background": 0, "whole": [1, 2, 3], "core": [3, 2], "active": [3]}
ORDER = [1, 2, 3]
CLASSES = {"background": 0, "whole 1": 1, "core 2": 2, "active": 3}
PIXELS = Geometry((1.0, 1.0))


def declare(root: Path) -> Path:
    """The same data set, whose classes are of regions."""
    about = json.loads((root / "dataset.json").read_text())
    write_json(root / "dataset.json", about | {"labels": LABELS, "regions_class_order": ORDER})
    return root


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    return declare(write_toy(tmp_path / "Dataset001_Regions", 2, 4, cases=6, clean=2))


def test_evaluate_scores_regions_beside_classes(tmp_path: Path) -> None:
    """Worked by hand: the class 3 is taken for 2, which their region does not mind; the last pixel is not known."""
    for folder, row in (("pred", [0, 1, 2, 2, 1, 3]), ("labelsTs", [0, 1, 2, 3, 0, 4])):
        write_label(tmp_path / folder / "a.png", np.array([row], np.uint8), PIXELS)
    write_json(tmp_path / "dataset.json", {"labels": LABELS | {"ignore": 4}, "regions_class_order": ORDER})
    found = evaluate(tmp_path / "pred", tmp_path / "labelsTs", surface=True)
    assert {name: dice(found.cases[0].counts[label]) for name, label in found.labels.items()} == pytest.approx(
        {"whole 1": 2 / 3, "core 2": 2 / 3, "active": 0, "whole": 6 / 7, "core": 1}
    )
    assert found.mean[3, 2]["HD"] == 0
    written = json.loads((tmp_path / "pred" / "summary.json").read_text())
    assert [*written["mean"]] == [*written["metric_per_case"][0]["metrics"]] == ["(1, 2, 3)", "(3, 2)", "(3,)"]
    assert written["foreground_mean"]["Dice"] == pytest.approx((6 / 7 + 1) / 3)
    assert found.case_means()["a"] == pytest.approx((6 / 7 + 1) / 3)
    assert "mean of regions | 61.90" in found.table()
    with (tmp_path / "pred" / "cases.csv").open(encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == [*found.labels]


def test_mended_data_sets_keep_their_regions(regions: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    assert audit(regions, out, predictions=[regions / "truth"]).audit.about.labels == CLASSES
    assert [*open_audit(out).about.labels] == [*CLASSES], "whose names are in another order"
    accept_all(out, 1)
    mended = tmp_path / "Dataset002_Mended"
    mend(out, mended, doubtful="ignore")
    about = json.loads((mended / "dataset.json").read_text())
    assert about["labels"] == LABELS | {"ignore": 4}
    assert [*about["labels"]] == [*LABELS, "ignore"], "their order is that of regions_class_order"
    assert about["regions_class_order"] == ORDER
    opened = open_dataset(mended)
    assert (opened.labels, opened.ignore, opened.regions) == (CLASSES, 4, open_dataset(regions).regions)
    assert any((read_label(case.label).array == 4).any() for case in opened.train if case.label)


@pytest.mark.slow
def test_classes_are_learnt_and_regions_scored(maskmend: Maskmend, regions: Path, tmp_path: Path) -> None:
    run = tmp_path / "RUN"
    trained = maskmend("train", regions, "-o", run, "--method", "supervised", *TINY, "train.epochs=12", "optim.lr=0.01")
    assert trained.exit_code == 0, trained.output
    plan = json.loads((run / "plan.json").read_text())
    assert plan["labels"] == CLASSES
    with (run / "cases.csv").open(encoding="utf-8") as file:
        names = [f"dice_{name}" for name in (*CLASSES, "whole", "core") if name != "background"]
        rows = [{name: float(row[name]) for name in names} for row in csv.DictReader(file)]
    means = {name: np.mean([row[name] for row in rows]) for name in names}
    regional = np.mean([means[f"dice_{name}"] for name in ("whole", "core", "active")])
    assert f"dice {regional:.4f}" in trained.output.splitlines()[-2]
    assert means["dice_whole"] > means["dice_whole 1"]
    predicted = maskmend("predict", run, regions / "imagesTr", "-o", tmp_path / "OUT")
    assert predicted.exit_code == 0, predicted.output
    values = {int(v) for path in (tmp_path / "OUT").glob("*.png") for v in np.unique(read_label(path).array)}
    assert {0} < values <= {0, 1, 2, 3}
