"""2D networks on volumes, from the data set to scores and audits: everything that is kept is a volume."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.system.conftest import TINY, Maskmend
from tests.system.test_bench import GRID, WORDS

from maskmend.data.formats import read_label

SLICES = "data.slices=coronal"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("supervised", []),
        ("robust", []),
        ("self_cleansing", []),
        ("mlb_seg", ["method.views=[in,flip]", "train.batch={clean: 2, imperfect: 2}"]),
    ],
)
def test_train_predict_evaluate(
    method: str, words: list[str], toys: Callable[[int, int], Path], tmp_path: Path, maskmend: Maskmend
) -> None:
    data, run, out = toys(3, 2), tmp_path / "run", tmp_path / "out"
    tiny = [word for word in TINY if "supervoxel" not in word]
    settings = [*tiny, SLICES, "data.patch=[16,16]", "train.epochs=2", "train.steps=3", *words]
    found = maskmend("train", data, "--method", method, "-o", run, *settings)
    assert found.exit_code == 0, found.output
    plan = json.loads((run / "plan.json").read_text())
    assert (plan["dims"], plan["slices"], plan["patch"]) == (2, "coronal", [16, 16])
    assert {row["case"] for row in rows_of(run / "cases.csv")} < {
        p.name.split("_0000")[0] for p in data.glob("imagesTr/*")
    }
    for label in (run / "refined").rglob("*.npy"):
        assert np.load(label).shape == (16, 16, 16)
    assert maskmend("predict", run, data / "imagesTr", "-o", out, "--probabilities").exit_code == 0
    for path in out.glob("*.nii.gz"):
        assert read_label(path).geometry == read_label(data / "labelsTr" / path.name).geometry
        with np.load(path.with_name(path.name.replace(".nii.gz", ".npz"))) as arrays:
            agreed = arrays["probabilities"].argmax(0) == read_label(path).array
        assert agreed.mean() > 0.9  # but for what is equal in half precision
    scored = maskmend("evaluate", out, data / "truth", "--surface")
    assert scored.exit_code == 0, scored.output


@pytest.mark.slow
def test_audit_by_networks_that_see_slices(
    toys: Callable[[int, int], Path], tmp_path: Path, maskmend: Maskmend
) -> None:
    tiny = [word for word in TINY if "supervoxel" not in word]
    words = [SLICES, "train.epochs=1", "train.steps=2"]
    found = maskmend("audit", toys(3, 2), "-o", tmp_path / "audit", "--cross", 2, *tiny, *words)
    assert found.exit_code == 0, found.output


@pytest.mark.slow
def test_a_benchmark_measures_volumes(tmp_path: Path, maskmend: Maskmend) -> None:
    plan = {
        **GRID,
        "datasets": {"boxes": {"phantom": {"dims": 3, "train": 4, "test": 2, "size": 24}}},
        "methods": {"robust": None},
        "words": [*WORDS, "data.slices=axial"],
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    found = maskmend("bench", path, "-o", tmp_path / "out", "--jobs", 0, "--device", "cpu")
    assert found.exit_code == 0, found.output
    [measured] = (tmp_path / "out").glob("runs/*/last.csv")
    assert len({row["case"] for row in rows_of(measured)}) == 2
    path.write_text(yaml.safe_dump(plan | {"metrics": ["Dice", "HD95"]}))
    found = maskmend("bench", path, "-o", tmp_path / "other", "--jobs", 0, "--device", "cpu")
    assert "bench gives no HD95" in found.output + (found.stderr or "")


def test_export_of_slices_is_refused(toys: Callable[[int, int], Path], tmp_path: Path, maskmend: Maskmend) -> None:
    run = tmp_path / "run"
    tiny = [word for word in TINY if "supervoxel" not in word]
    words = ["data.slices=sagittal", "train.epochs=1", "train.steps=1"]
    assert maskmend("train", toys(3, 2), "--method", "supervised", "-o", run, *tiny, *words).exit_code == 0
    found = maskmend("export", run, "-o", tmp_path / "bundle")
    assert found.exit_code == 2
    assert "sees slices of volumes" in found.stderr
    assert not (tmp_path / "bundle").exists()
