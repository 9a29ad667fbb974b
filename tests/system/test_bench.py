"""`maskmend bench`: what is done is not done again, what was killed goes on, what fails is told."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.bench.test_scores import read
from tests.system.conftest import Maskmend
from tests.system.conftest import maskmend as invoke
from tests.system.test_bad_input import content, refused

from maskmend.bench.data import make_data
from maskmend.bench.keys import Run, runs_of
from maskmend.bench.plan import load_plan
from maskmend.bench.run import run_one
from maskmend.bench.scores import Score
from maskmend.data.formats import read_label, write_label
from maskmend.data.lock import hold
from maskmend.data.phantom import write_phantom
from maskmend.verbs.bench import bench

ROOT = Path(__file__).parents[2]
WORDS = ["optim.name=adam", "optim.lr=0.01", "train.precision=fp32", "train.threads=1"]
GRID: dict[str, Any] = {
    "datasets": {"disks": {"phantom": {"train": 6, "test": 3, "size": 32}}},
    "noises": {"S_R": {"noise": "markov", "parameters": {"steps": 5}}},
    "methods": {"truth": None, "supervised": None, "mlb_seg": {"words": ["method.views=[in,flip]"]}},
    "networks": {"unet": ["network.width=4", "network.strides=[2,2]"]},
    "words": WORDS,
    "budget": {"epochs": 3, "steps": 2, "rows": 4},
    "clean": 0.3,
    "last": 2,
}


def plan_at(folder: Path, **changes: Any) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
    return path


def planned(folder: Path, **changes: Any) -> list[Run]:
    plan, out = load_plan(plan_at(folder, **changes)), (folder / "out").resolve()
    out.mkdir()
    (out / "plan.yaml").write_text("")
    return runs_of(plan, make_data(plan, out), out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    found = bench(plan_at(folder), folder / "out", jobs=0, device="cpu")
    assert (found.runs, found.before, found.now, found.failed) == (3, 0, 3, ())
    return folder


@pytest.fixture
def ran(finished: Path, tmp_path: Path) -> Path:
    """A finished benchmark of one's own."""
    return Path(shutil.copytree(finished, tmp_path / "ran"))


def runs_in(folder: Path) -> dict[str, Path]:
    """Folders of the runs by method."""
    return {json.loads(path.read_text())["method"]: path.parent for path in folder.glob("out/runs/*/run.json")}


def rows_of(found: list[Score], method: str, checkpoint: str) -> list[Score]:
    return [score for score in found if (score.method, score.checkpoint) == (method, checkpoint)]


def test_every_run_is_measured_on_the_true_masks_of_the_test_cases(finished: Path) -> None:
    found = read(finished / "out/scores.csv")
    assert {(score.method, score.noise) for score in found} == {
        ("truth", "none"),
        ("supervised", "S_R"),
        ("mlb_seg", "S_R"),
    }
    for method in ("truth", "supervised", "mlb_seg"):
        last, best, epochs = (rows_of(found, method, which) for which in ("last", "best", "epoch"))
        assert [score.case for score in last] == [score.case for score in best]
        assert [score.case for score in last] == [f"phantom_ts_00{number}" for number in range(3)]
        assert [score.epoch for score in epochs] == [0, 1, 2]
        assert {score.case for score in epochs} == {""}
        curve = {score.epoch: score.value for score in epochs}
        assert np.nanmean([score.value for score in last]) == pytest.approx(curve[2], abs=1e-5)
        assert np.nanmean([score.value for score in best]) == pytest.approx(max(curve.values()), abs=1e-5)
        assert curve[best[0].epoch] == max(curve.values())


def test_what_a_run_was_told_is_recorded(finished: Path) -> None:
    said = {name: json.loads((path / "run.json").read_text()) for name, path in runs_in(finished).items()}
    assert {name: about["oracle"] for name, about in said.items()} == {
        "truth": ["truth"],
        "supervised": [],
        "mlb_seg": ["clean"],
    }
    assert said["truth"]["method_name"] == "supervised"
    assert all(about["key"] == runs_in(finished)[name].name for name, about in said.items())
    done = json.loads((runs_in(finished)["truth"] / "done.json").read_text())
    assert (done["failed"], done["epochs"]) == (None, 3)
    assert yaml.safe_load((finished / "out/plan.yaml").read_text())["methods"]["truth"]["labels"] == "truth"


def test_a_second_call_does_nothing(ran: Path) -> None:
    before = content(ran / "out/runs")
    found = bench(ran / "plan.yaml", ran / "out", jobs=0, device="cpu")
    assert (found.runs, found.before, found.now, found.failed) == (3, 3, 0, ())
    assert content(ran / "out/runs") == before
    assert "3 of 3 runs are done, 3 of them before" in found.table()


def test_what_a_crash_spoilt_is_made_again(ran: Path) -> None:
    """The measures of one run, the events of another, how a third ended, and what was made how: the same scores."""
    scores, folders = (ran / "out/scores.csv").read_text(), runs_in(ran)
    (folders["truth"] / "last.csv").write_bytes(b"\0" * 64)
    (folders["supervised"] / "events.jsonl").write_text('{"event": "val')
    (folders["mlb_seg"] / "done.json").write_text('{"seconds": 1')
    (ran / "out/data/disks/made.json").write_text('{"said": {')
    found = bench(ran / "plan.yaml", ran / "out", jobs=0, device="cpu")
    assert (found.before, found.now, found.failed) == (0, 3, ())
    assert (ran / "out/scores.csv").read_text() == scores


def test_one_at_a_time(ran: Path, maskmend: Maskmend) -> None:
    with hold(ran / "out"):
        before = content(ran)
        other = multiprocessing.get_context("fork").Process(target=_refused, args=(ran,))
        other.start()
        other.join()
        assert other.exitcode == 0
        assert content(ran) == before


def _refused(ran: Path) -> None:
    said = refused(invoke("bench", ran / "plan.yaml", "-o", ran / "out"), ran / "out", f"process {os.getppid()}")
    assert "in use" in said


@pytest.mark.parametrize("noise", [{"noise": "markov", "target_dice": 0.999999}, {"noise": "missing", "fraction": 0}])
def test_what_is_refused_leaves_nothing(tmp_path: Path, maskmend: Maskmend, noise: dict[str, Any]) -> None:
    """It shows only when the data are made: no noise leaves that Dice; the same run stands there twice."""
    rows = {"methods": {"a": {"method": "supervised"}, "b": {"method": "supervised"}}, "noises": {"S_R": noise}}
    refused(maskmend("bench", plan_at(tmp_path, **rows), "-o", tmp_path / "deep/out", "--jobs", "0"), "plan.yaml")
    refused(maskmend("bench", plan_at(tmp_path, seeds=[-1]), "-o", tmp_path / "deep/out"), "seeds", "greater than")
    refused(maskmend("bench", plan_at(tmp_path), "-o", tmp_path / "deep/out", "partition=x"), "partition=…", "slurm")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


def test_a_failed_run_is_listed_and_the_rest_goes_on(ran: Path, maskmend: Maskmend) -> None:
    """One row's learning rate is absurd: its loss is not finite."""
    rows = {"bad": {"method": "supervised", "words": ["optim.name=sgd", "optim.lr=1e30"]}} | GRID["methods"]
    line = ["bench", plan_at(ran, methods=rows, seeds=[0, 1]), "-o", ran / "out", "--jobs", "0", "--device", "cpu"]
    result = maskmend(*line)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "6 of 8 runs are done, 3 of them before; 2 failed" in said
    assert "failed: disks/S_R/bad/unet seed 1: " in said
    assert "lower optim.lr" in said
    assert "bad" not in {score.method for score in read(ran / "out/scores.csv")}
    (folder,) = {path.parent for path in ran.glob("out/runs/*/run.json") if '"bad"' in path.read_text()} - {
        runs_in(ran)["bad"]
    }
    assert "InputError" in (folder / "error.txt").read_text()
    ended = (folder / "done.json").stat().st_mtime_ns
    assert maskmend(*line).exit_code == 1
    assert (folder / "done.json").stat().st_mtime_ns == ended, "a failure is kept"
    assert maskmend(*line, "--retry").exit_code == 1
    assert (folder / "done.json").stat().st_mtime_ns > ended


def _killed(run: Run, steps: int) -> None:
    """``run_one`` that is killed after so many steps, in a process of its own."""
    from maskmend.engine.fit import Fit

    step = Fit._step

    def fatal(self: Fit, *args: Any) -> None:
        step(self, *args)
        if self.done == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    Fit._step = fatal
    run_one(run)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(finished: Path, tmp_path: Path) -> None:
    words = [*WORDS, "train.save_every=1"]
    (run,) = (run for run in planned(tmp_path, words=words) if run.method == "mlb_seg")
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(run, 4))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert run.done() is None
    assert (run.folder / "last.ckpt").exists()
    whole = runs_in(finished)["mlb_seg"]
    assert whole.name == run.key
    begun = (run.folder / "events.jsonl").read_text().splitlines()[0]
    found = bench(tmp_path / "plan.yaml", tmp_path / "out", jobs=0, device="cpu")
    assert (found.now, found.failed) == (3, ())
    assert (run.folder / "events.jsonl").read_text().splitlines()[0] == begun, "it did not start again"
    for name in ("last.csv", "best.csv", "events.jsonl"):
        assert (run.folder / name).read_text() == (whole / name).read_text()


def test_a_plan_may_grow(ran: Path) -> None:
    (ran / "other.yaml").write_text((ran / "plan.yaml").read_text())
    found = bench(plan_at(ran, methods={"truth": None, "t_loss": None}), ran / "out", jobs=0, device="cpu")
    assert (found.runs, found.before, found.now) == (2, 1, 1)
    assert {score.method for score in read(ran / "out/scores.csv")} == {"truth", "t_loss"}
    assert bench(ran / "other.yaml", ran / "out", jobs=0).before == 3, "what was run is kept"


def test_folds_are_measured_on_what_they_hold_out(tmp_path: Path) -> None:
    data = GRID["datasets"]["disks"] | {"folds": [0, 1]}
    plan = plan_at(tmp_path, datasets={"disks": data}, methods=["supervised"])
    assert bench(plan, tmp_path / "out", jobs=0, device="cpu").now == 2
    cases = [score.case for score in read(tmp_path / "out/scores.csv") if score.checkpoint == "last"]
    assert len(cases) == len(set(cases)) == 3
    assert all(case.startswith("phantom_tr") for case in cases)


def test_measured_is_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    budget = GRID["budget"] | {"epochs": 6, "steps": 1, "every": 3}
    bench(plan_at(tmp_path, budget=budget, methods=["supervised"]), tmp_path / "out", jobs=0, device="cpu")
    found = read(tmp_path / "out/scores.csv")
    assert [score.epoch for score in rows_of(found, "supervised", "epoch")] == [2, 4, 5]


def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, maskmend: Maskmend, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_at(tmp_path, clean=0)
    refused(maskmend("bench", plan, "-o", tmp_path / "out"), plan, "mlb_seg needs clean cases", "set clean: 0.1")
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(maskmend("bench", plan, "-o", tmp_path / "out", "--engine", "ray"), "--engine ray needs the Python package")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    refused(maskmend("bench", plan_at(tmp_path), "-o", tmp_path / "full"), "holds something else than a benchmark")
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml", "full"}


def test_data_that_changed_since_their_runs_are_refused(ran: Path, maskmend: Maskmend) -> None:
    label = ran / "out/data/disks/truth/labelsTr/phantom_tr_001.png"
    shutil.copyfile(label.with_name("phantom_tr_002.png"), label)
    result = maskmend("bench", ran / "plan.yaml", "-o", ran / "out")
    refused(result, "labelsTr/phantom_tr_001.png of the data set 'disks' changed since the runs in", "-o")


@pytest.mark.slow
def test_the_plan_on_phantoms_runs_in_processes(tmp_path: Path, maskmend: Maskmend) -> None:
    start = time.monotonic()
    result = maskmend("bench", ROOT / "plans/phantom.yaml", "-o", tmp_path / "out", "--jobs", "2", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "8 of 8 runs are done" in result.output
    assert (next(tmp_path.glob("out/runs/*/log.txt"))).stat().st_size > 0
    assert time.monotonic() - start < 300


def test_distances_and_raters_are_measured_at_the_end(tmp_path: Path) -> None:
    """Against two raters: one drew the truth, one nothing of the first case, and left the last out."""
    write_phantom(tmp_path / "disks", train=6, test=3, size=32)
    for rater in ("A1", "A2"):
        shutil.copytree(tmp_path / "disks/labelsTs", tmp_path / "disks/labelsTs_raters" / rater)
    first, *_, last = sorted((tmp_path / "disks/labelsTs_raters/A2").iterdir())
    write_label(first, np.zeros((32, 32), np.uint8), read_label(first).geometry)
    last.unlink()
    data = {"disks": {"path": "disks", "raters": True}}
    plan = plan_at(tmp_path, datasets=data, methods=["supervised"], metrics=["Dice", "Jaccard", "HD95"])
    assert bench(plan, tmp_path / "out", jobs=0, device="cpu").now == 1
    found = [score for score in read(tmp_path / "out/scores.csv") if score.checkpoint == "last"]
    by = {(score.case, score.class_name, score.metric): score.value for score in found}
    assert {name for _, name, _ in by} == {"vs A1", "vs A2"}
    assert len(by) == 3 * (3 + 2)
    dice, jaccard = by["phantom_ts_001", "vs A1", "Dice"], by["phantom_ts_001", "vs A1", "Jaccard"]
    assert jaccard == pytest.approx(dice / (2 - dice), abs=1e-5)
    assert by["phantom_ts_001", "vs A2", "Dice"] == dice
    assert by["phantom_ts_000", "vs A2", "Dice"] == 0
    assert np.isnan(by["phantom_ts_000", "vs A2", "HD95"])
    assert "vs A1" in (tmp_path / "out/tables/disks__S_R.md").read_text()


def test_hidden_masks_are_no_labels(tmp_path: Path) -> None:
    noises = {"semi": {"unlabeled": 1.0}}
    plan = plan_at(tmp_path, noises=noises, methods=["supervised", "mean_teacher", "mlb_seg"])
    found = bench(plan, tmp_path / "out", jobs=0, device="cpu")
    assert (found.now, found.failed) == (3, ())
    done = json.loads((runs_in(tmp_path)["mean_teacher"] / "done.json").read_text())
    assert done["training_seconds"] > 0
    assert done["prediction_ms"] > 0


def test_mended_labels_are_held_against_the_truth(tmp_path: Path) -> None:
    """A student that takes every doubtful label of an early teacher: what it wrote is what the table speaks of."""
    rows = {"supervised": None, "confident_learning": {"words": ["method.prune=segmentation"]}}
    assert bench(plan_at(tmp_path, methods=rows), tmp_path / "out", jobs=0, device="cpu").failed == ()
    found = {name: json.loads((path / "done.json").read_text()) for name, path in runs_in(tmp_path).items()}
    assert "refined_dice" not in found["supervised"]
    told = found["confident_learning"]
    folder = max((runs_in(tmp_path)["confident_learning"] / "refined").glob("0*"))
    truth, given = (tmp_path / "out/data/disks" / name for name in ("truth/labelsTr", "S_R/labelsTr"))
    scores = []
    for path in sorted(folder.glob("*.npy")):
        right, drawn = (read_label(place / f"{path.stem}.png").array > 0 for place in (truth, given))
        mended = np.load(path) > 0
        scores.append([2 * (mask & right).sum() / (mask.sum() + right.sum()) for mask in (drawn, mended)])
    assert len(scores) == 6
    assert [told["given_dice"], told["refined_dice"]] == pytest.approx(np.mean(scores, axis=0), abs=1e-5)
    table = (tmp_path / "out/tables/labels.md").read_text()
    assert f"{100 * told['refined_dice']:.2f}" in table
    assert "supervised" not in table
    cost = (tmp_path / "out/tables/cost.md").read_text()
    assert "1.00" in cost
    assert "confident_learning" in cost


def test_some_runs_only(tmp_path: Path, maskmend: Maskmend) -> None:
    """A slice runs what its patterns fit, and keeps what was run; a pattern that fits nothing is refused."""
    line = ["bench", plan_at(tmp_path), "-o", tmp_path / "out", "--jobs", "0", "--device", "cpu"]
    refused(
        maskmend(*line, "--only", "disks/S_Q/*"), "--only 'disks/S_Q/*' fits no run", "disks/none/truth/unet seed 0"
    )
    assert not (tmp_path / "out").exists()
    assert "1 of 3 runs are done" in maskmend(*line, "--only", "*/truth/*").output
    assert set(runs_in(tmp_path)) == {"truth"}
    assert "2 of 3 runs are done, 1 of them before" in maskmend(*line, "--only", "disks/S_R/supervised/*").output
    assert {score.method for score in read(tmp_path / "out/scores.csv")} == {"truth", "supervised"}
    assert "3 of 3 runs are done, 2 of them before" in maskmend(*line).output


def test_passes_are_counted_without_what_measures(tmp_path: Path) -> None:
    """One network, two, and a teacher that is asked once for each row."""
    rows = {"supervised": None, "two": {"method": "supervised", "words": ["method.networks=2"]}, "mean_teacher": None}
    bench(plan_at(tmp_path, methods=rows), tmp_path / "out", jobs=0, device="cpu")
    done = {name: json.loads((path / "done.json").read_text()) for name, path in runs_in(tmp_path).items()}
    assert {name: told["passes"] for name, told in done.items()} == {
        "supervised": [1.0, 0.0], "two": [2.0, 0.0], "mean_teacher": [1.0, 0.75],
    }  # fmt: skip
    assert done["two"]["predicts_with"] == 2
    cost = (tmp_path / "out/tables/cost.md").read_text()
    assert "2.00 + 0.00" in cost
    assert "all runs, h" in cost
