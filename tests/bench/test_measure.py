"""What is measured of a run's predictions, by hand: cases, and slices put together to volumes."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.bench.deal import Deal
from maskmend.bench.measure import check_slices, write_measured
from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.plan import DataConfig, make_plan
from maskmend.data.trainset import CaseSet
from maskmend.engine.world import World
from maskmend.errors import InputError
from maskmend.infer.predict import PredictConfig
from maskmend.infer.validate import Validation

FLAT = Geometry((1.0, 1.0))
BOX = np.s_[4:8, 4:12]
PIXELS = {  # case: what is predicted, what is true
    "a": (BOX, BOX),  # 32 pixels, all of them right
    "b": (np.s_[4, 4], np.s_[4, 11]),  # a pixel each, seven apart
    "c": (np.s_[4:8, 4:8], BOX),  # 16 of 32
}
VOLUMES = "case,volume,slice\nb,liver,8\na,liver,7\nc,lung,0\n"


class Bright(nn.Module):
    """Foreground where the image is brighter than its mean."""

    def predict(self, image: Tensor) -> Tensor:
        return torch.cat([-image, image], 1).softmax(1)


def drawn(place: object, value: int) -> np.ndarray:
    pixels = np.zeros((16, 16), np.uint8)
    pixels[place] = value
    return pixels


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """A data set whose test cases are the slices a, b and c."""
    root = tmp_path / "slices"
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (root / folder).mkdir(parents=True)
    for part, names in (("Tr", "t"), ("Ts", "abc")):
        for case in names:
            predicted, true = PIXELS.get(case, (BOX, BOX))
            write_image(root / f"images{part}/{case}_0000.png", drawn(predicted, 200), FLAT)
            write_label(root / f"labels{part}/{case}.png", drawn(true, 1), FLAT)
    write_dataset(root, ("grey",), {"background": 0, "organ": 1}, ".png", 1)
    return root


def scored(root: Path, raters: bool = False) -> tuple[dict[str, float], dict[tuple[str, ...], float]]:
    """Means as after an epoch; and every measure of the end by case, class and metric."""
    true = open_dataset(root)
    deal = Deal("given")
    train, test = deal.cases(true, true)
    plan = make_plan(true, train, DataConfig())
    cases = CaseSet(test, true, plan, Cache(root.parent / "cache"))
    volumes = deal.volumes(true, test, None)
    check_slices(cases, volumes)
    validation = Validation(cases, plan, PredictConfig(precision="fp32"), World(), root.parent / "cases.csv", volumes)
    measuring = SimpleNamespace(raters=raters, metrics=("Dice", "HD"))
    run = SimpleNamespace(folder=root.parent, true=root, measuring=measuring)
    write_measured(run, Bright(), validation, "last")  # type: ignore[arg-type]
    with (root.parent / "last.csv").open(newline="") as file:
        rows = {(row["case"], row["class"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    return validation(Bright()), rows  # type: ignore[arg-type]


def test_slices_without_a_volume_are_cases(slices: Path) -> None:
    means, rows = scored(slices)
    dice = {case: value for (case, _, metric), value in rows.items() if metric == "Dice"}
    assert dice == pytest.approx({"a": 1, "b": 0, "c": 2 / 3}, abs=1e-6)
    assert means["dice"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert rows["b", "organ", "HD"] == 7


def test_a_class_that_is_nowhere_has_no_score(slices: Path) -> None:
    write_dataset(slices, ("grey",), {"background": 0, "organ": 1, "lesion": 2}, ".png", 1)
    means, _ = scored(slices)
    assert means == pytest.approx({"dice": 5 / 9, "dice_organ": 5 / 9})


def test_slices_of_a_volume_are_scored_together(slices: Path) -> None:
    """liver: 32 right of 33 predicted and 33 true, 2 · 32 / 66; its pixels of the second slice are one voxel from a."""
    (slices / "volumes.csv").write_text(VOLUMES)
    means, rows = scored(slices)
    dice = {case: value for (case, _, metric), value in rows.items() if metric == "Dice"}
    assert dice == pytest.approx({"liver": 64 / 66, "lung": 2 / 3}, abs=1e-6)
    assert means["dice"] == pytest.approx((64 / 66 + 2 / 3) / 2)
    assert rows["liver", "organ", "HD"] == 1
    assert [row.partition(",")[0] for row in (slices.parent / "cases.csv").read_text().split()] == [
        "case", "liver", "lung",
    ]  # fmt: skip


def test_slices_that_a_rater_left_out_are_unknown(slices: Path) -> None:
    (slices / "volumes.csv").write_text(VOLUMES)
    for rater, names in (("A1", "abc"), ("A2", "a")):
        (slices / "labelsTs_raters" / rater).mkdir(parents=True)
        for case in names:
            write_label(slices / f"labelsTs_raters/{rater}/{case}.png", drawn(PIXELS[case][1], 1), FLAT)
    _, rows = scored(slices, raters=True)
    dice = {(case, who): value for (case, who, metric), value in rows.items() if metric == "Dice"}
    assert dice["liver", "vs A1"] == pytest.approx(64 / 66, abs=1e-6)
    assert dice["liver", "vs A2"] == 1
    assert np.isnan(dice["lung", "vs A2"])


def test_slices_that_make_no_volume_are_refused(slices: Path) -> None:
    (slices / "volumes.csv").write_text(VOLUMES)
    true = open_dataset(slices)
    with pytest.raises(InputError, match="test_cases holds some slices of liver only; take whole volumes"):
        Deal("given", test=1).volumes(true, true.test[:1], None)
    assert Deal("given", test=1).volumes(true, true.test[:1], False) == ()
    write_image(slices / "imagesTs/b_0000.png", np.zeros((12, 16), np.uint8), FLAT)
    write_label(slices / "labelsTs/b.png", np.ones((12, 16), np.uint8), FLAT)
    with pytest.raises(InputError, match="the volume liver has slices of the shape"):
        scored(slices)
