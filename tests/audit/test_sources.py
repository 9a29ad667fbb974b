"""Our runs judge what they did not learn from, and several judges are one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.toy import write_toy

from maskmend import train
from maskmend.audit.calibrated import calibrated
from maskmend.audit.sources import Network, Several, network, runs, several, spread
from maskmend.data.dataset import Case, Dataset, open_dataset
from maskmend.data.formats import Geometry, Picture, read_label
from maskmend.data.splits import split
from maskmend.errors import InputError
from maskmend.functional.doubt import sharpened
from maskmend.types import IGNORE

CPU = torch.device("cpu")
TINY = ["network.width=4", "network.strides=[2,2]", "train.threads=1", "train.precision=fp32", "train.batch.any=4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, its runs f0, f1 of two folds and every of all cases; not to be changed."""
    root = tmp_path_factory.mktemp("sources")
    write_toy(root / "data", cases=6, clean=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKMEND_CACHE", str(root / "cache"))
        for name, fold in (("f0", 0), ("f1", 1), ("every", "all")):
            words = [*TINY, f"fold={fold}"]
            train(root / "data", root / name, "supervised", overrides=words, device="cpu", fast_dev_run=True)
    return root


@pytest.fixture
def dataset(made: Path) -> Dataset:
    return open_dataset(made / "data")


def held_out(dataset: Dataset, fold: int) -> set[str]:
    return {case.name for case in split(dataset, fold)[1]}


def label_of(case: Case) -> Picture:
    assert case.label is not None
    return read_label(case.label)


@pytest.fixture
def last(made: Path, dataset: Dataset) -> Network:
    """The network of f0, whatever it learnt."""
    names = frozenset(case.name for case in dataset.train)
    return network(made / "f0", names, CPU, which="last", kind="cross", held_out=False)


# --- runs of ours -----------------------------------------------------------------------------------------------------


def test_a_run_judges_the_fold_it_did_not_learn(made: Path, dataset: Dataset) -> None:
    source = runs([made / "f0"], dataset, CPU)
    assert source.names() == held_out(dataset, 0) != set()
    assert (source.kind, source.held_out, source.paths) == ("runs", True, (str(made / "f0"),))
    case = next(case for case in dataset.train if case.name in source.names())
    found = source.probabilities(case, label_of(case))
    assert found.shape == (2, 32, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_runs_share_the_cases(made: Path, dataset: Dataset) -> None:
    source = runs([made / "f0", made / "f1"], dataset, CPU)
    assert [one.names() for one in source.sources] == [held_out(dataset, 0), held_out(dataset, 1)]
    case = next(case for case in dataset.train if case.name in held_out(dataset, 1))
    prob, apart = source.opinion(case, label_of(case))
    assert apart is None, "one of them learnt from it"
    np.testing.assert_array_equal(prob, source.sources[1].probabilities(case, label_of(case)))


def test_a_network_answers_on_the_grid_of_the_label(dataset: Dataset, last: Network) -> None:
    case, label = dataset.train[0], label_of(dataset.train[0])
    assert (last.kind, last.held_out) == ("cross", False)
    with pytest.raises(InputError, match=r"has the shape \(32, 32\), but the given label has \(16, 32\)"):
        last.probabilities(case, Picture(label.array[:16], Geometry((1.0, 1.0))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("every", "learnt from every labelled case"),
        ("twice", "is given twice"),
        ("nowhere", "plan.json does not exist"),
        ("classes", r"learnt the channels and classes grey, background, part1, but .* has grey, background, other"),
        ("splits", "was validated on case.., which fold 0 of .* does not hold out"),
        ("checkpoint", r"best\.ckpt"),
    ],
)
def test_runs_that_cannot_judge(made: Path, tmp_path: Path, dataset: Dataset, change: str, said: str) -> None:
    folders = {"every": [made / "every"], "twice": [made / "f0", made / "every" / ".." / "f0"]}.get(
        change, [made / "f0"]
    )
    if change == "nowhere":
        folders = [tmp_path / "nowhere"]
    if change == "classes":
        dataset = replace(dataset, labels={"background": 0, "other": 1})
    if change == "splits":
        shutil.copytree(made / "data", tmp_path / "data")
        dataset = open_dataset(tmp_path / "data")
        names = [case.name for case in dataset.train]
        held = sorted(held_out(dataset, 0))
        val = [name for name in names if name not in held][:1]
        folds = [{"train": [name for name in names if name not in val], "val": val}]
        (tmp_path / "data" / "splits_final.json").write_text(json.dumps(folds))
    if change == "checkpoint":
        shutil.copytree(made / "f0", tmp_path / "f0")
        for path in (tmp_path / "f0").glob("*.ckpt*"):
            path.unlink()
        folders = [tmp_path / "f0"]
    with pytest.raises(InputError, match=said):
        runs(folders, dataset, CPU)


def test_cases_without_a_label_are_not_judged(made: Path, tmp_path: Path, dataset: Dataset) -> None:
    held = held_out(dataset, 0)
    gone = min(held)
    root = Path(shutil.copytree(made / "data", tmp_path / "data"))
    (root / "labelsTr" / f"{gone}.png").unlink()
    words = (root / "supervision.csv").read_text()
    (root / "supervision.csv").write_text(re.sub(rf"{gone},\w+", f"{gone},unlabeled", words))
    with pytest.raises(InputError, match="does not hold out"):  # nnU-Net deals the folds anew
        runs([made / "f0"], open_dataset(root), CPU)
    train = [case.name for case in dataset.train if case.name not in held]
    (root / "splits_final.json").write_text(json.dumps([{"train": train, "val": sorted(held)}]))
    assert runs([made / "f0"], open_dataset(root), CPU).names() == held - {gone}


# --- several ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Says:
    """A source that says the same of each of its cases."""

    prob: np.ndarray
    cases: frozenset[str]
    kind: str = "predictions"
    held_out: bool = True
    paths: tuple[str, ...] = ("there",)

    def names(self) -> frozenset[str]:
        return self.cases

    def probabilities(self, case: Case, label: Picture) -> np.ndarray:
        return self.prob.copy()


def binary(fg: list[float]) -> np.ndarray:
    return np.array([[1 - p for p in fg], fg], np.float32)[:, None]


def test_the_mean_of_those_that_can(dataset: Dataset) -> None:
    one = Says(binary([1, 1, 0, 0]), frozenset({"case00", "case01"}), "runs")
    two = Says(binary([0.5, 0, 0.5, 0]), frozenset({"case01"}), "nnunet", held_out=False)
    both = several([Several((one,)), two])
    assert both.sources == (one, two)
    assert (both.kind, both.held_out, both.paths) == ("runs, nnunet", False, ("there", "there"))
    assert both.names() == {"case00", "case01"}
    label = label_of(dataset.train[0])
    prob, apart = both.opinion(dataset.train[0], label)
    np.testing.assert_array_equal(prob, one.prob)
    assert apart is None
    prob, apart = both.opinion(dataset.train[1], label)
    np.testing.assert_allclose(prob, binary([0.75, 0.5, 0.25, 0]))
    assert apart == 1, "their masks are 1100 and 0000"


def test_spread_is_one_less_dice() -> None:
    masks = [np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2]), np.array([0, 1, 1, 2])]
    pairs = [1 - np.mean([2 / 3, 1]), 0, 1 - np.mean([2 / 3, 1])]
    assert spread(masks, 3) == pytest.approx(np.mean(pairs))
    assert spread(masks, 4) == pytest.approx(np.mean(pairs)), "a class that nobody drew says nothing"
    assert spread([np.zeros(4, int)] * 2, 2) == 0


# --- how sure they are ------------------------------------------------------------------------------------------------


def disc(size: int = 48) -> np.ndarray:
    """Probabilities (2, H, W) of a disc, which are right on average: 1/2 at its edge."""
    y, x = np.mgrid[:size, :size] - size / 2
    fg = 1 / (1 + np.exp(np.hypot(y, x) - size / 4))
    return np.stack([1 - fg, fg]).astype(np.float32)


def fitted(judge: Several) -> float:
    (one,) = {source.temperature for source in judge.sources}
    return one


def test_a_temperature_undoes_what_was_too_sure(dataset: Dataset) -> None:
    prob, cases = disc(), dataset.train
    rng = np.random.default_rng(0)
    labels = {case.name: (rng.random(prob.shape[1:]) < prob[1]).astype(np.int16) for case in cases}

    def label_of(case: Case) -> Picture:
        return Picture(labels[case.name], Geometry((1.0, 1.0)))

    sharp = prob**3 / (prob**3).sum(0)
    folds = Several(tuple(Says(sharp, frozenset({name}), "nnunet") for name in labels))
    found = calibrated(folds, cases, label_of)
    assert fitted(found) == pytest.approx(3, rel=0.15)
    assert fitted(calibrated(Several((Says(prob, folds.names()),)), cases, label_of)) == pytest.approx(1, abs=0.15)
    assert (found.kind, found.held_out, found.paths, found.names()) == ("nnunet", True, folds.paths, folds.names())
    made = found.probabilities(cases[0], label_of(cases[0]))
    expected = sharpened(torch.from_numpy(sharp)[None], fitted(found))[0]
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-6)
    assert fitted(calibrated(folds, [], label_of)) == 1


def test_a_temperature_asks_few_cases_and_no_unannotated_voxels(dataset: Dataset) -> None:
    asked: list[str] = []
    many = [replace(dataset.train[0], name=f"c{number}") for number in range(101)]
    label = Picture(np.where(np.arange(48) < 24, IGNORE, disc().argmax(0)).astype(np.int16), Geometry((1.0, 1.0)))

    def label_of(case: Case) -> Picture:
        asked.append(case.name)
        return label

    found = calibrated(Several((Says(disc(), frozenset(each.name for each in many)),)), many, label_of)
    assert 10 < len(asked) <= 20
    assert fitted(found) < 1, "where somebody annotated, the disc is right everywhere"
