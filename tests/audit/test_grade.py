"""A tiny audit whose grade is known, and the verb that sees that it is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from maskmend.audit import merit, store
from maskmend.audit.compared import ALL, GIVEN, JUDGE, Compared, compared
from maskmend.audit.findings import by_model
from maskmend.audit.grade import Grade, grade, graded, recall
from maskmend.audit.suggest import joined
from maskmend.cli import app
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry
from maskmend.errors import InputError
from maskmend.verbs.grade import grade as verb

LABELS = {"background": 0, "lung": 1}
PLACE = Geometry((1.0, 1.0))
Label = NDArray[np.uint8]


def disc(radius: float, row: float = 30, column: float = 30) -> Label:
    y, x = np.ogrid[:64, :64]
    return np.asarray((y - row) ** 2 + (x - column) ** 2 <= radius**2, np.uint8)


TRUTH = {"a": disc(12), "b": disc(12) | disc(5, 55, 55), "c": disc(10), "d": disc(11)}
GIVEN_ = {**TRUTH, "a": disc(17), "b": disc(12)}
HINTS = {"a": "redraw", "b": "review", "c": "fine", "d": "fine"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An audit by a judge that draws the truth, a disc in "d" that nobody else sees aside."""
    root, audit = tmp_path / "Dataset001_Lungs", tmp_path / "audit"
    for name, truth in TRUTH.items():
        for room, array in (("labelsTr", GIVEN_[name]), ("labelsTr_truth", truth)):
            (root / room).mkdir(parents=True, exist_ok=True)
            write_label(root / room / f"{name}.png", array, PLACE)
        (root / "imagesTr").mkdir(exist_ok=True)
        write_image(root / "imagesTr" / f"{name}_0000.png", truth * 255, PLACE)
    write_dataset(root, ["X-ray"], LABELS, ".png", len(TRUTH), name="lungs")
    noise = {name: {"corrupted": name in "ab"} for name in TRUTH}
    (root / "noise.json").write_text(json.dumps({"cases": noise}))
    about = store.About(
        maskmend="1", dataset=str(root), dims=2, labels=LABELS, ignore=None, file_ending=".png",
        files={name: (store.sha256(root / "labelsTr" / f"{name}.png"),) for name in TRUTH}, made="now", seconds=1,
    )  # fmt: skip
    for name, truth in TRUTH.items():
        seen = truth | disc(4, 8, 8) if name == "d" else truth
        prob = np.stack([1 - seen * 0.96, seen * 0.96]).astype(np.float32)
        given = GIVEN_[name].astype(np.int16)
        doubted = by_model(given, prob, LABELS, (1, 1), known=False)
        found, numbers, suggested = joined(name, given, doubted, LABELS, PLACE)
        maps = {"findings": numbers, "suggestions": suggested, "predicted": seen, "doubt": 200 * (given != seen)}
        store.write_case(audit, about, name, found, maps, PLACE)
    doubt = {"a": 0.9, "b": 0.3, "c": 0.1, "d": 0.2}
    order = sorted(TRUTH, key=lambda name: -doubt[name])
    rows = [
        store.Row(case=name, rank=rank, doubt=doubt[name], hint=HINTS[name], scores={"margin": 1 - doubt[name]})
        for rank, name in enumerate(order, 1)
    ]
    store.write_rows(audit, rows)
    store.write_about(audit, about)
    return audit


def value(estimate: merit.Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def test_a_known_grade(folder: Path) -> None:
    audit = store.open_audit(folder)
    found = grade(audit, Path(audit.about.dataset) / "labelsTr_truth")
    assert found.wrong == {"Dice < 0.95": 2, "Dice < 0.9": 1, "Dice < 0.8": 1, "corrupted": 2}
    assert {name: value(each.auroc) for name, each in found.ranking["corrupted"].items()} == {"doubt": 1, "margin": 0}
    assert value(found.ranking["Dice < 0.8"]["margin"].ap) == 1 / 4
    assert value(found.spearman["doubt"]) == pytest.approx(np.corrcoef([4, 3, 1, 2], [4, 3, 1.5, 1.5])[0, 1])
    assert found.kinds == {"missing": {"missing": 1}, "too_wide": {"too_wide": 1}}
    assert [value(found.recall[most]) for most in ("1", "2", "4")] == [1, 1, 1]
    assert value(found.right_kind) == 1
    assert value(found.depth_error_mm) == 0
    assert value(found.false_alarms) == 1 / 2  # the disc in "d"
    assert found.effort is not None
    assert found.effort.seen_for_most == 0.5
    assert value(found.effort.area) == 1 / 4
    given, all_, judge = (value(found.mending["wrong"][done]) for done in (GIVEN, ALL, JUDGE))
    assert all_ == 1
    b = 2 * disc(12).sum() / (2 * disc(12).sum() + disc(5).sum())
    assert judge == pytest.approx((1 + b) / 2)
    assert given == pytest.approx((2 * disc(12).sum() / (disc(12).sum() + disc(17).sum()) + b) / 2)
    assert value(found.mending["right"][JUDGE]) == 1
    assert value(found.mending["right"][ALL]) < 1


def test_places_are_told_as_scikit_learn_does(folder: Path) -> None:
    audit = store.open_audit(folder)
    rng, root = np.random.default_rng(0), Path(audit.about.dataset)
    doubt, wrong = rng.integers(0, 256, (64, 64)), GIVEN_["a"] != TRUTH["a"]
    np.savez(folder / "doubt" / "a.npz", doubt=doubt.astype(np.uint8))
    case = compared(audit, audit.rows[0], root / "labelsTr_truth" / "a.png", None)
    y, x = np.nonzero(GIVEN_["a"] | TRUTH["a"])
    rows, columns = np.indices((64, 64))
    away = np.maximum(abs(rows[..., None] - y), abs(columns[..., None] - x)).min(-1)
    band = away <= 5
    expected = average_precision_score(wrong[band], doubt[band])
    assert value(graded([case]).voxel_ap) == pytest.approx(expected)


def test_the_verb_sees_that_it_is_an_audit(folder: Path, tmp_path: Path) -> None:
    truth = tmp_path / "Dataset001_Lungs" / "labelsTr_truth"
    found = verb(folder, truth)
    assert Grade.model_validate_json((folder / "grade.json").read_text()) == found
    assert (folder / "grade.png").stat().st_size > 1000
    output = tmp_path / "new" / "mine.json"
    said = CliRunner().invoke(app, ["evaluate", str(folder), str(truth), "-o", str(output)])
    assert "Wrong is Dice < 0.95: 2 of 4 cases" in said.stdout
    assert "50% of the cases must be seen" in said.stdout
    assert sorted(path.name for path in output.parent.iterdir()) == ["mine.json", "mine.png"]
    said = CliRunner().invoke(app, ["evaluate", str(folder), str(truth), "--surface"])
    assert said.exit_code == 2
    assert "--surface" in said.stderr


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda path: path.unlink(), r"b\.png is missing"),
    (lambda path: write_label(path, disc(3)[:50], PLACE), "b.png"),
    (lambda path: write_label(path, disc(3) * 7, PLACE), "holds the value 7"),
])  # fmt: skip
def test_a_truth_that_does_not_fit_is_told(folder: Path, tmp_path: Path, spoil: Any, said: str) -> None:
    truth = tmp_path / "Dataset001_Lungs" / "labelsTr_truth"
    spoil(truth / "b.png")
    with pytest.raises(InputError, match=said):
        verb(folder, truth)
    assert not (folder / "grade.json").exists()


def test_recall_at_so_many_false_ones() -> None:
    row = store.Row(case="a", rank=1, doubt=0, hint="fine")
    more: dict[str, Any] = {"row": row, "dice": {}, "mended": {}, "places": None}
    found = np.array([[0.9, 1], [0.8, 0], [0.7, 0], [0.6, 1], [0.5, 0]])
    cases = [
        Compared(found=found, best=np.array([0.9, 0.6, -1]), **more),
        Compared(found=found[1:2], best=np.array([0.75]), **more),
    ]
    weights = np.ones((1, 2))
    assert recall(cases, 0.4, weights) == 1 / 4  # all but the surest are after the first false one
    assert recall(cases, 1, weights) == 2 / 4
    assert recall(cases, 2, weights) == 3 / 4
    assert recall(cases, 1, np.array([[0.0, 2.0]])) == 1
