"""A run is known by what determines it; data that changed are noticed; who gets which labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bench.test_plan import GRID, plan_of

from maskmend.bench.data import make_data
from maskmend.bench.deal import Deal
from maskmend.bench.keys import Run, runs_of
from maskmend.data.dataset import Case, open_dataset
from maskmend.data.formats import read_label, write_label
from maskmend.data.phantom import write_phantom
from maskmend.errors import InputError
from maskmend.types import Trust


@pytest.fixture(scope="module")
def first_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and its noisy copy, made once."""
    folder = tmp_path_factory.mktemp("made")
    write_phantom(folder / "disks", train=6, test=2, size=32)
    plan = plan_of(folder, datasets={"disks": "disks"})
    make_data(plan, folder / "out")
    return folder


@pytest.fixture
def made(first_made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first_made, tmp_path / "made"))


def runs(folder: Path, **changes: Any) -> list[Run]:
    plan = plan_of(folder, **{"datasets": {"disks": "disks"}} | changes)
    return runs_of(plan, make_data(plan, folder / "out"), folder / "out")


def keys(folder: Path, **changes: Any) -> dict[tuple[str, int], str]:
    return {(run.method, run.seed): run.key for run in runs(folder, **changes)}


def test_every_cell_is_a_run_and_what_no_noise_reaches_is_run_once(made: Path) -> None:
    found = runs(made, noises=GRID["noises"] | {"none": None, "S_E": "missing"}, seeds=[0, 1])
    assert len({run.key for run in found}) == len(found) == 2 * (1 + 3)
    assert [run.seed for run in found] == [0] * 4 + [1] * 4
    assert [(run.method, run.noise) for run in found[:4]] == [
        ("truth", "none"),
        ("supervised", "S_R"),
        ("supervised", "none"),
        ("supervised", "S_E"),
    ]
    assert [run.given.name for run in found[:4]] == ["disks", "S_R", "disks", "S_E"]


def test_the_key_is_of_what_determines_the_run(made: Path) -> None:
    base = keys(made)
    assert keys(made) == base
    renamed = {"plain": {"method": "supervised"}, "truth": None}
    assert set(keys(made, methods=renamed).values()) == set(base.values()), "a name determines nothing"
    assert keys(made, words=["train.threads=1", "train.save_every=7"]) == base
    for change in (
        {"words": ["optim.lr=0.3"]},
        {"budget": {"epochs": 9}},
        {"networks": {"unet": ["network.width=4"]}},
        {"last": 2},
    ):
        assert not set(keys(made, **change).values()) & set(base.values()), change
    other = keys(made, noises={"S_R2": {"noise": "markov", "parameters": {"steps": 5}, "seed": 1}})
    assert other["truth", 0] == base["truth", 0]
    assert other["supervised", 0] != base["supervised", 0]


def test_the_package_is_part_of_the_key(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = keys(made)
    monkeypatch.setattr("maskmend.bench.keys.__version__", "99")
    assert not set(keys(made).values()) & set(base.values())


def test_the_place_of_the_data_is_not(made: Path) -> None:
    base = keys(made)
    (made / "disks").rename(made / "moved")
    assert keys(made, datasets={"disks": "moved"}) == base


def test_the_same_run_twice_is_refused(made: Path) -> None:
    with pytest.raises(InputError, match=r"supervised/unet seed 0 and disks/S_R/again/unet seed 0 are the same run"):
        runs(made, methods={"supervised": None, "again": {"method": "supervised"}})


def _spoil(path: Path) -> None:
    label = read_label(path)
    write_label(path, np.zeros_like(label.array), label.geometry)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("disks/labelsTr/phantom_tr_001.png", "labelsTr/phantom_tr_001.png of the data set 'disks' changed"),
        ("disks/labelsTs/phantom_ts_000.png", "labelsTs/phantom_ts_000.png of the data set 'disks' changed"),
        ("out/data/disks/S_R/labelsTr/phantom_tr_002.png", "phantom_tr_002 of the data set 'disks/S_R' changed"),
    ],
)
def test_data_that_changed_since_are_noticed(made: Path, file: str, name: str) -> None:
    _spoil(made / file)
    with pytest.raises(InputError, match=f"{name} since the runs in .*out were made; put it back, or run the plan"):
        runs(made)


def test_data_that_were_added_are_noticed(made: Path) -> None:
    (made / "disks" / "supervision.csv").write_text("case,supervision\nphantom_tr_000,clean\n")
    with pytest.raises(InputError, match=r"supervision\.csv of the data set 'disks' was added"):
        runs(made)


def test_a_name_stays_what_it_was(made: Path) -> None:
    with pytest.raises(InputError, match=r"noises\.S_R was made otherwise for disks"):
        runs(made, noises={"S_R": {"noise": "markov", "parameters": {"steps": 6}}})
    with pytest.raises(InputError, match=r"datasets\.disks was made otherwise"):
        runs(made, datasets={"disks": GRID["datasets"]["disks"]})


def test_the_true_share_of_wrong_pixels_is_told_to_who_has_a_tau(made: Path) -> None:
    given, true = open_dataset(made / "out/data/disks/S_R"), open_dataset(made / "disks")
    pairs = [
        (read_label(a.label).array, read_label(b.label).array) for a, b in zip(given.train, true.train, strict=True)
    ]
    a, b = (np.concatenate([pair[place].ravel() for pair in pairs]) for place in (0, 1))
    rows = {
        "supervised": None,
        "gsd_net": None,
        "mine": {"method": "gsd_net", "words": ["method.tau=0.5"]},
        "sp_guided": {"words": ["method.tau=[0.1,0.1]", "method.ranking=class"]},
        "by_class": {"method": "sp_guided", "preset": "by_class.yaml"},
    }
    (made / "by_class.yaml").write_text("method: {name: sp_guided, ranking: class, tau: [0.1, 0.1]}\n")
    found = {run.method: run for run in runs(made, methods=rows, tau=True)}
    assert found["gsd_net"].config.method["tau"] == pytest.approx((a != b).mean(), abs=1e-4)
    assert found["by_class"].config.method["tau"] == pytest.approx([(b != a)[a == k].mean() for k in (0, 1)], abs=1e-4)
    assert {name: run.oracle for name, run in found.items()} == {
        "supervised": (),
        "gsd_net": ("tau",),
        "mine": (),
        "sp_guided": (),
        "by_class": ("tau",),
    }
    assert found["mine"].config.method["tau"] == 0.5


def test_who_gets_which_labels(made: Path) -> None:
    true, given = open_dataset(made / "disks"), open_dataset(made / "out/data/disks/S_R")
    both, test = Deal("given_and_clean", 0.34).cases(true, given)
    clean = [case.name for case in both if case.trust is Trust.CLEAN]
    assert clean == ["phantom_tr_000", "phantom_tr_003"]
    assert {case.label.parents[1].name for case in both if case.name in clean} == {"disks"}
    assert {case.label.parents[1].name for case in both if case.name not in clean} == {"S_R"}
    assert [case.name for case in Deal("clean", 0.34).cases(true, given)[0]] == clean
    assert {case.label.parents[1].name for case in Deal("truth").cases(true, given)[0]} == {"disks"}
    assert {case.label.parents[1].name for case in Deal("given", 0.34).cases(true, given)[0]} == {"S_R"}
    assert [case.label for case in test] == [case.reference for case in true.test]


def test_cases_that_are_clean_already_are_the_clean_ones(made: Path) -> None:
    true = open_dataset(made / "disks")
    last = replace(true.train[-1], trust=Trust.CLEAN)
    given = replace(true, train=(*true.train[:-1], last))
    both, _ = Deal("given_and_clean", 0.5).cases(true, given)
    assert [case.name for case in both if case.trust is Trust.CLEAN] == [last.name]


def test_a_fold_is_measured_on_its_held_out_cases_with_true_masks(made: Path) -> None:
    true, given = open_dataset(made / "disks"), open_dataset(made / "out/data/disks/S_R")
    train, test = Deal("given", fold=0).cases(true, given)
    assert not {case.name for case in train} & {case.name for case in test}
    assert len(train) + len(test) == 6
    assert {case.label.parents[1].name for case in test} == {"disks"}
    found = runs(made, datasets={"disks": {"path": "disks", "folds": [0, 1]}}, methods=["supervised"])
    assert [run.config.fold for run in found] == [0, 1]


def test_fewer_cases_are_spread_over_the_names(made: Path) -> None:
    true, given = open_dataset(made / "disks"), open_dataset(made / "out/data/disks/S_R")
    train, test = Deal("given", train=3, test=1).cases(true, given)
    assert [case.name for case in train] == ["phantom_tr_000", "phantom_tr_002", "phantom_tr_004"]
    assert [case.name for case in test] == ["phantom_ts_000"]
    less = {"disks": {"path": "disks", "train_cases": 3}}
    with pytest.raises(InputError, match=r"noises\.S_R was made otherwise for disks"):
        keys(made, datasets=less)
    few = {"few": GRID["noises"]["S_R"]}
    (run,) = runs(made, datasets=less, noises=few, methods=["supervised"])
    (more,) = runs(made, noises={"more": GRID["noises"]["S_R"]}, methods=["supervised"])
    assert run.key != more.key
    changed = [case.name for case in open_dataset(run.given).train if differs(case, made / "disks")]
    assert changed == [case.name for case in train], "no mask is spoilt that nobody learns from"


def differs(case: Case, true: Path) -> bool:
    return bool((read_label(case.label).array != read_label(true / "labelsTr" / case.label.name).array).any())


def test_hidden_masks_are_the_same_for_all_and_never_those_of_clean_cases(made: Path) -> None:
    true, given = open_dataset(made / "disks"), open_dataset(made / "out/data/disks/S_R")
    both, _ = Deal("given_and_clean", 0.34, 0.5).cases(true, given)
    trust = {case.name: case.trust for case in both}
    hidden = [name for name, how in trust.items() if how is Trust.UNLABELED]
    assert [name for name, how in trust.items() if how is Trust.CLEAN] == ["phantom_tr_000", "phantom_tr_003"]
    assert len(hidden) == 2
    assert all(case.label is None for case in both if case.name in hidden)
    seen, _ = Deal("given", 0.34, 0.5).cases(true, given)
    assert {case.name for case in seen} == trust.keys() - hidden, (
        "who learns from given masks has no use for the others"
    )
    alone, _ = Deal("given_and_clean", 0.34, 1.0).cases(true, given)
    assert {case.trust for case in alone} == {Trust.CLEAN, Trust.UNLABELED}


def test_a_noise_may_only_hide_masks_and_have_clean_cases_of_its_own(made: Path) -> None:
    noises = {"semi": {"unlabeled": 1.0, "clean": 0.2}, "more": {"unlabeled": 1.0, "clean": 0.5}}
    rows = {"mean_teacher": None, "few": {"method": "supervised", "labels": "clean"}, "supervised": None, "truth": None}
    found = {(run.method, run.noise): run for run in runs(made, noises=noises, methods=rows)}
    assert found.keys() == {(m, n) for m in ("mean_teacher", "few", "supervised") for n in noises} | {("truth", "none")}
    assert {run.given.name for run in found.values()} == {"disks"}, "no mask is spoilt, so none is copied"
    counts = {}
    for (method, noise), run in found.items():
        train, _ = run.deal.cases(open_dataset(run.true), open_dataset(run.given))
        counts[method, noise] = [sum(case.trust is trust for case in train) for trust in Trust]
    assert counts["mean_teacher", "semi"] == [1, 0, 5]
    assert counts["mean_teacher", "more"] == [3, 0, 3]
    assert counts["few", "more"] == [3, 0, 0]
    assert counts["supervised", "semi"] == [0, 1, 0]


def test_one_run_may_stand_under_two_noises(made: Path) -> None:
    noises = {"a": {"noise": "markov", "clean": 0.2}, "b": {"noise": "missing", "clean": 0.2}, "c": {"clean": 0.5}}
    found = runs(made, noises=noises, methods={"few": {"method": "supervised", "labels": "clean"}})
    assert [run.noise for run in found] == ["a", "b", "c"]
    assert found[0].key == found[1].key != found[2].key


def test_metrics_and_raters_are_part_of_the_key(made: Path) -> None:
    base = set(keys(made).values())
    assert not set(keys(made, metrics=["Dice", "HD95"]).values()) & base
    assert not set(keys(made, datasets={"disks": {"path": "disks", "raters": True}}).values()) & base
    assert set(keys(made, datasets={"disks": {"path": "disks", "reported": "Kvasir"}}).values()) == base


def test_a_noise_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    noises = {"weak": {"noise": "markov", "parameters": {"steps": 0}, "target_dice": 0.7}}
    with pytest.raises(InputError, match=r"plan\.yaml: noises\.weak on disks: the noise 'markov' has no strength"):
        runs(tmp_path, noises=noises, datasets={"disks": GRID["datasets"]["disks"]})
