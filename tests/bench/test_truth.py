"""Data sets whose given masks are really wrong: what is known of the truth, and what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskmend.bench.data import check_data, make_data
from maskmend.bench.keys import Run, runs_of
from maskmend.bench.plan import BenchPlan, load_plan
from maskmend.data.phantom import write_phantom
from maskmend.errors import InputError
from maskmend.runs.simulate import simulate
from maskmend.verbs.bench import bench

GRID: dict[str, Any] = {
    "datasets": {"scans": {"path": "scans"}},
    "methods": {"truth": None, "mlb_seg": None, "gsd_net": None},
    "words": ["optim.name=adam", "train.precision=fp32", "train.threads=1", "network.width=4", "network.strides=[2,2]"],
    "budget": {"epochs": 2, "steps": 2, "rows": 4},
    "clean": 0.3,
}
MENDS = {"mends": {"method": "confident_learning", "words": ["method.prune=segmentation"]}}


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def scans(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A data set of wrong masks, with the true ones in labelsTr_truth."""
    write_phantom(tmp_path / "right", request.param, train=6, test=2, size=32 if request.param == 2 else 16)
    simulate(tmp_path / "right", tmp_path / "scans", "dilate_erode", {"low": 1.5, "high": 2.5})
    return tmp_path / "scans"


def plan_at(folder: Path, data: dict[str, Any] | None = None, **changes: Any) -> BenchPlan:
    path = folder / "plan.yaml"
    own = {"datasets": {"scans": {"path": "scans", **(data or {})}}}
    path.write_text(yaml.safe_dump(GRID | own | changes, sort_keys=False))
    return load_plan(path)


def made(folder: Path, plan: BenchPlan) -> dict[str, Run]:
    """The runs by row."""
    check_data(plan)
    return {run.method: run for run in runs_of(plan, make_data(plan, folder / "out"), folder / "out")}


def refused(plan: BenchPlan) -> str:
    with pytest.raises(InputError) as error:
        check_data(plan)
    return str(error.value)


def test_true_masks_are_those_beside_the_given_ones(scans: Path) -> None:
    plan = plan_at(scans.parent)
    material = make_data(plan, scans.parent / "out")["scans"]
    rooms = {}
    for name, run in made(scans.parent, plan).items():
        train, test = run.deal.cases(material.true, material.given(run.noise))
        assert {case.label.parent.name for case in test if case.label} == {"labelsTs"}
        rooms[name] = [case.label.parent.name for case in train if case.label]
        assert run.known
    assert set(rooms["truth"]) == {"labelsTr_truth"}
    assert sorted(rooms["mlb_seg"]) == ["labelsTr"] * 4 + ["labelsTr_truth"] * 2
    assert set(rooms["gsd_net"]) == {"labelsTr"}


def test_the_true_share_of_wrong_pixels_is_told(scans: Path) -> None:
    plan = plan_at(scans.parent, tau=True)
    material = make_data(plan, scans.parent / "out")["scans"]
    share = material.wrong("none", material.own.train).share
    assert 0.001 < share < 0.3
    (word,) = (word for word in made(scans.parent, plan)["gsd_net"].words if word.startswith("method.tau="))
    assert float(word.removeprefix("method.tau=")) == pytest.approx(share, abs=1e-4)


def test_mended_masks_are_held_against_the_truth_beside(scans: Path) -> None:
    plan_at(scans.parent, methods=MENDS)
    assert bench(scans.parent / "plan.yaml", scans.parent / "out", jobs=0, device="cpu").failed == ()
    (done,) = (json.loads(path.read_text()) for path in scans.parent.glob("out/runs/*/done.json"))
    left = json.loads((scans / "noise.json").read_text())["dice_mean"]
    assert done["given_dice"] == pytest.approx(left, abs=1e-3)
    assert done["given_dice"] < 0.95


def test_what_nobody_knows_is_not_known(scans: Path) -> None:
    """Never 100.00; the share of wrong pixels is not told; and where the plan calls the masks right, they are."""
    shutil.rmtree(scans / "labelsTr_truth")
    plan = plan_at(scans.parent, methods=MENDS | {"gsd_net": None}, tau=True)
    run = made(scans.parent, plan)["gsd_net"]
    assert not run.known
    assert not run.oracle
    assert not any(word.startswith("method.tau=") for word in run.words)
    trusted = made(scans.parent, plan_at(scans.parent, {"truth": "given"}, methods={"gsd_net": None}, tau=True))
    assert trusted["gsd_net"].known
    assert trusted["gsd_net"].key != run.key
    plan_at(scans.parent, methods=MENDS)
    bench(scans.parent / "plan.yaml", scans.parent / "told", jobs=0, device="cpu")
    table = (scans.parent / "told/tables/labels.md").read_text()
    assert "| not known | not known |" in table
    assert "100.00" not in table


@pytest.mark.parametrize("row", [{"truth": None}, {"mlb_seg": None}, {"few": {"method": "gce", "labels": "clean"}}])
def test_rows_that_need_true_masks_are_refused_without(row: dict[str, Any], scans: Path) -> None:
    shutil.rmtree(scans / "labelsTr_truth")
    said = refused(plan_at(scans.parent, methods=row))
    (name,) = row
    assert said.startswith(f"{scans.parent / 'plan.yaml'}: methods.{name}: ")
    assert "of scans" in said
    assert str(scans / "labelsTr_truth") in said
    assert "truth: given" in said
    check_data(plan_at(scans.parent, {"truth": "given"}, methods=row))
    noises = {"S_R": {"noise": "markov", "parameters": {"steps": 5}}}
    check_data(plan_at(scans.parent, methods=row, noises=noises))  # a noise spoils masks that are right
    noises["S_R"]["datasets"] = []
    assert "truth: given" in refused(plan_at(scans.parent, methods=row, noises=noises))


def test_held_out_cases_are_measured_with_true_masks(scans: Path) -> None:
    plan = plan_at(scans.parent, {"folds": [0]}, methods=["supervised"])
    (run,) = made(scans.parent, plan).values()
    material = make_data(plan, scans.parent / "out")["scans"]
    _, held = run.deal.cases(material.true, material.own)
    assert {case.label.parent.name for case in held if case.label} == {"labelsTr_truth"}
    shutil.rmtree(scans / "labelsTr_truth")
    assert "datasets.scans: folds needs true masks" in refused(plan)


def test_cases_that_are_called_clean_need_no_truth(scans: Path) -> None:
    shutil.rmtree(scans / "labelsTr_truth")
    (scans / "supervision.csv").write_text("case,supervision\nphantom_tr_000,clean\n")
    check_data(plan_at(scans.parent, methods=["mlb_seg"]))


@pytest.mark.parametrize(
    ("data", "noises", "sentence"),
    [
        ({"truth": "given"}, {"none": None}, "holds its true masks; leave truth: given out"),
        (
            {},
            {"S_R": "markov"},
            "noises.S_R would spoil them; name the data sets that it is for in noises.S_R.datasets",
        ),
    ],
)
def test_masks_that_are_wrong_are_not_taken_for_right(
    data: dict[str, Any], noises: dict[str, Any], sentence: str, scans: Path
) -> None:
    assert sentence in refused(plan_at(scans.parent, data, noises=noises))


def test_a_true_mask_that_is_missing(scans: Path) -> None:
    path = sorted((scans / "labelsTr_truth").iterdir())[2]
    path.unlink()
    assert refused(plan_at(scans.parent)).endswith(
        f"{path} is missing; add it, or take labelsTr_truth away if nobody knows the truth."
    )


def test_a_noise_may_be_put_on_some_data_sets_alone(scans: Path) -> None:
    data = {"scans": {"path": "scans"}, "right": {"path": "right"}}
    noises = {"none": None, "S_R": {"noise": "markov", "parameters": {"steps": 5}, "datasets": ["right"]}}
    plan = plan_at(scans.parent, datasets=data, noises=noises, methods=["supervised"])
    check_data(plan)
    runs = runs_of(plan, make_data(plan, scans.parent / "out"), scans.parent / "out")
    assert [(run.dataset, run.noise) for run in runs] == [("scans", "none"), ("right", "none"), ("right", "S_R")]
    assert not (scans.parent / "out/data/scans/S_R").exists()
