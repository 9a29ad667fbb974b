"""The loop: refinement between epochs, precision, best and last, what is written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.toy import states_equal, toy_fit, toy_set, write_toy
from torch import Tensor, nn

from maskmend import types
from maskmend.data.trainset import CaseSet
from maskmend.engine import checkpoint, events
from maskmend.engine.events import Events, EventsConfig, check_trackers, read_events
from maskmend.engine.fit import Fit
from maskmend.errors import InputError
from maskmend.functional.losses import ce
from maskmend.functional.rng import fold
from maskmend.methods import Method
from maskmend.types import Batch, Logs, Progress, TrainSet, Trust, Update


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data")


class Mender(Method):
    """Refines every label by its own prediction from the second epoch on, and counts in a buffer."""

    maps: tuple[str, ...] = ("refined",)
    seen: ClassVar[list[float]] = []

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.net = nn.Conv2d(1, 2, 3, padding=1)
        self.register_buffer("count", torch.zeros(()))

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        for batch in train.scan(5):
            guess = self.net(batch.image).argmax(1)
            train.write("refined", batch.index, guess if at.epoch else batch.label)
        everyone = torch.arange(len(train))
        assert torch.equal(train.gather(everyone, everyone.float()), everyone.float())
        return {"scanned": float(len(train))}

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        self.count += 1
        noise = 0.1 * torch.randn_like(batch.image)
        loss = ce(self.net(batch.image + noise), batch.maps["refined"].clamp_min(0)).mean()
        update(loss)
        return {"loss": loss}

    def predict(self, image: Tensor) -> Tensor:
        return self.net(image).softmax(1)


def vars_of(fit: Fit) -> dict[str, object]:
    """What another run like this one is made of."""
    return {each.name: getattr(fit, each.name) for each in fields(fit) if each.init}


def mender_fit(toy: Path, folder: Path, **more: object) -> Fit:
    fit = toy_fit(toy, folder, "supervised", epochs=4, **more)
    torch.manual_seed(0)
    fit.method = Mender()
    fit.data, _ = toy_set(toy, folder, fit.method.maps)
    return fit


def refined_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "refined").rglob("*.npy"))}


@pytest.mark.parametrize("stop", [3, 4, 5, 6, 8])
def test_refined_labels_and_buffers_resume_bit_for_bit(stop: int, toy: Path, tmp_path: Path) -> None:
    straight = mender_fit(toy, tmp_path / "straight")
    straight.run()
    mender_fit(toy, tmp_path / "resumed", stop_after=stop).run()
    resumed = mender_fit(toy, tmp_path / "resumed", resume=True)
    resumed.run()
    assert states_equal(straight.method, resumed.method)
    assert straight.method.count == 12
    assert refined_files(tmp_path / "straight") == refined_files(tmp_path / "resumed")


def test_what_was_mended_is_told(toy: Path, tmp_path: Path) -> None:
    mender_fit(toy, tmp_path).run()
    refined = read_events(tmp_path, "refine")
    assert [event["scanned"] for event in refined] == [12.0] * 4
    assert refined[0]["relabelled_pixels"] == 0
    assert refined[1]["relabelled_pixels"] > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_trains_in_every_precision(precision: str, channels_last: bool, toy: Path, tmp_path: Path) -> None:
    fit = toy_fit(toy, tmp_path, "supervised", epochs=8)
    fit.train = fit.train.model_copy(update={"precision": precision, "channels_last": channels_last})
    fit.run()
    losses = [event["loss"] for event in read_events(tmp_path, "train")]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def test_where_nothing_can_be_scored_the_last_is_the_best(toy: Path, tmp_path: Path) -> None:
    fit = toy_fit(toy, tmp_path, "supervised", epochs=2)
    fit.validate = lambda method: {}
    assert fit.run() == {}
    best, last = (checkpoint.load(tmp_path / f"{name}.ckpt", "supervised") for name in ("best", "last"))
    assert best["done"] == last["done"]


def test_best_and_last_are_both_kept(toy: Path, tmp_path: Path) -> None:
    fit = toy_fit(toy, tmp_path, "supervised", epochs=3)
    scores = iter([0.5, 0.9, 0.7])
    weights = []

    def validate(method: Method) -> dict[str, float]:
        weights.append({key: value.clone() for key, value in method.state_dict().items()})
        return {"dice": next(scores)}

    fit.validate = validate
    assert fit.run() == {"dice": 0.7}
    for name, epoch in (("best", 1), ("last", 2)):
        state = checkpoint.load(tmp_path / f"{name}.ckpt", "supervised")
        assert all(torch.equal(state["method"][key], value) for key, value in weights[epoch].items())


def test_a_loss_that_is_no_number_stops_the_run_with_a_cure(toy: Path, tmp_path: Path) -> None:
    fit = toy_fit(toy, tmp_path, "supervised", epochs=2)
    fit.optim = fit.optim.model_copy(update={"name": "sgd", "lr": 1e30})
    with pytest.raises(InputError, match=r"lower optim\.lr"):
        fit.run()


class Poisoned(Mender):
    """Its loss stays a number when a weight, or a running statistic, is none any more."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.norm, self.place = nn.BatchNorm2d(2), place

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        logs = super().step(batch, at, update)
        if at.step == 3:
            self.state_dict()[self.place].view(-1)[0] = torch.nan
        return {"loss": torch.tensor(0.5)} if at.step >= 3 else logs


@pytest.mark.parametrize("place", ["net.weight", "norm.running_var"])
def test_weights_that_are_no_numbers_stop_the_run_before_they_are_saved(place: str, toy: Path, tmp_path: Path) -> None:
    fit = Fit(**{**vars_of(mender_fit(toy, tmp_path)), "method": Poisoned(place)})
    with pytest.raises(InputError, match=r"step 4 .* weights that are no numbers; lower optim\.lr"):
        fit.run()
    assert checkpoint.load(tmp_path / "last.ckpt", "supervised")["done"] == 3


@pytest.mark.parametrize("damage", ["gone", "a file gone", "another shape", "a byte", "one that was not remembered"])
def test_a_run_does_not_go_on_without_the_labels_it_mended(damage: str, toy: Path, tmp_path: Path) -> None:
    mender_fit(toy, tmp_path, stop_after=4).run()
    one = max((tmp_path / "refined").rglob("*.npy"))
    if damage == "gone":
        shutil.rmtree(tmp_path / "refined")
    elif damage == "a file gone":
        one.unlink()
    elif damage == "another shape":
        np.save(one, np.load(one)[:5])
    elif damage == "a byte":
        one.write_bytes(one.read_bytes()[:-1] + bytes([1 - one.read_bytes()[-1]]))
    else:
        state = torch.load(tmp_path / "last.ckpt", weights_only=True)
        del state["data"]["refined"]
        torch.save(state, tmp_path / "last.ckpt")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"refined.* is missing or not what the run wrote"):
        mender_fit(toy, tmp_path, resume=True).run()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def ahead(fit: Fit, count: int) -> Fit:
    """The run with so many batches read beside its steps."""
    fit.train = fit.train.model_copy(update={"prefetch": count})
    return fit


@pytest.mark.parametrize("count", [1, 3, 64])
def test_batches_read_ahead_are_the_same_batches(count: int, toy: Path, tmp_path: Path) -> None:
    """Also where a run stops and goes on within an epoch, and where labels are mended between epochs."""
    apart, beside = (ahead(mender_fit(toy, tmp_path / str(n)), n) for n in (0, count))
    apart.run()
    beside.run()
    ahead(mender_fit(toy, tmp_path / "stopped", stop_after=5), count).run()
    resumed = ahead(mender_fit(toy, tmp_path / "stopped", resume=True), count)
    resumed.run()
    assert read_events(tmp_path / "0", "refine")[1]["relabelled_pixels"] > 0
    for other, name in ((beside, str(count)), (resumed, "stopped")):
        assert states_equal(apart.method, other.method)
        assert refined_files(tmp_path / "0") == refined_files(tmp_path / name)
        assert (tmp_path / "0/events.jsonl").read_text() == (tmp_path / name / "events.jsonl").read_text()


class Watched:
    """A training set that notes what is asked of it, and may refuse the batch of a step."""

    def __init__(self, data: CaseSet, refuses: int | None = None) -> None:
        self.data, self.refuses, self.asked = data, refuses, list[str]()

    def __getattr__(self, name: str) -> object:
        return getattr(self.data, name)

    def __len__(self) -> int:
        return len(self.data)

    def load(self, index: Tensor, seeds: Sequence[int]) -> Batch:
        self.asked.append("load")
        if self.refuses is not None and seeds[0] == fold(0, "cut", self.refuses, 0):
            raise InputError("case05.png cannot be read; restore it.")
        return self.data.load(index, seeds)

    def commit(self) -> int:
        self.asked.append("commit")
        return self.data.commit()


@pytest.mark.parametrize("count", [0, 2, 64])
def test_no_batch_is_read_before_the_labels_of_its_epoch_are_mended(count: int, toy: Path, tmp_path: Path) -> None:
    fit = ahead(mender_fit(toy, tmp_path), count)
    fit.data = watched = Watched(fit.data)
    fit.run()
    assert watched.asked == ["commit", "load", "load", "load"] * 4


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_batch_that_cannot_be_read_stops_the_run_at_its_step(count: int, toy: Path, tmp_path: Path) -> None:
    fit = ahead(mender_fit(toy, tmp_path), count)
    fit.train, before = fit.train.model_copy(update={"steps": 9}), threading.enumerate()
    fit.data = Watched(fit.data, refuses=2)
    with pytest.raises(InputError, match=r"^case05.png cannot be read; restore it.$"):
        fit.run()
    assert checkpoint.load(tmp_path / "last.ckpt", "supervised")["done"] == fit.done == 2
    assert threading.enumerate() == before


class Interrupted(Mender):
    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        if at.step == 1:
            raise KeyboardInterrupt
        return super().step(batch, at, update)


@pytest.mark.parametrize("how", ["to its end", "stopped within an epoch", "by a person"])
def test_no_thread_outlives_a_run(how: str, toy: Path, tmp_path: Path) -> None:
    before = threading.enumerate()
    fit = mender_fit(toy, tmp_path, stop_after=None if how == "to its end" else 2)
    assert fit.train.prefetch, "this is the default"
    if how == "by a person":
        fit.method = Interrupted()
    with pytest.raises(KeyboardInterrupt) if how == "by a person" else nullcontext():
        fit.run()
    assert threading.enumerate() == before


class CleanFirst(Mender):
    """Asks for clean cases alone in its first epoch, and notes whom it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.trust: list[tuple[int, list[int]]] = []

    def rows(self, batch: Mapping[str, int], trust: Tensor, at: Progress) -> Mapping[str, int]:
        return batch if at.epoch else {"clean": sum(batch.values())}

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        self.trust.append((at.epoch, batch.trust.tolist()))
        return super().step(batch, at, update)


def test_a_method_may_choose_the_pools_of_an_epoch(toy: Path, tmp_path: Path) -> None:
    """The steps of an epoch stay as many."""
    fit = mender_fit(toy, tmp_path, batch={"any": 4})
    fit.method = method = CleanFirst()
    fit.run()
    steps = [sum(epoch == e for e, _ in method.trust) for epoch in range(4)]
    assert steps == [-(-len(fit.data) // 4)] * 4
    for epoch, trust in method.trust:
        assert len(trust) == 4
        assert (set(trust) == {int(Trust.CLEAN)}) or epoch
    assert any(int(Trust.NOISY) in trust for _, trust in method.trust)


def test_more_threads_than_cores_are_not_started(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", started.append)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    fit = toy_fit(toy, tmp_path, "supervised")
    for asked in (1, 10**6):
        fit.train, fit.ready = fit.train.model_copy(update={"threads": asked}), False
        with nullcontext() if asked == 1 else pytest.warns(UserWarning, match="1000000: this machine has 2 cores"):
            fit.prepare()
    assert started == [1, 2]


@pytest.mark.parametrize(
    "rubbish", [b'{"event": "tr', b"\xff\0\n[]\n5\n{}\n", b'{"event": 5, "step": "a"}\n', b"[" * 9999]
)
def test_events_are_read_among_what_is_none(rubbish: bytes, tmp_path: Path) -> None:
    log = Events(tmp_path, EventsConfig())
    for step in (1, 2):
        log.log("train", step, {"loss": 0.5})
    log.close()
    path = tmp_path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(rubbish.rstrip(b"\n") + b"\n" + whole + rubbish)
    assert [event["step"] for event in read_events(tmp_path, "train")] == [1, 2]
    Events(tmp_path, EventsConfig(), since=2).close()
    assert path.read_bytes() == whole


def test_what_a_validation_compares_with_is_said(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = toy_fit(toy, tmp_path, "supervised", epochs=1)
    fit.validate = lambda method: {"dice": 0.5}
    fit.run()
    assert "validation against the given masks: dice 0.500" in capsys.readouterr().err
    assert [event["against"] for event in read_events(tmp_path, "validation")] == ["the given masks"]


def test_mlflow_without_its_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "find_spec", lambda module: None if module == "alembic" else object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_trackers(EventsConfig(tensorboard=True))
    with pytest.raises(InputError, match=r"mlflow=true needs alembic.*maskmend\[mlflow\], or name a server in"):
        check_trackers(EventsConfig(mlflow=True))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    check_trackers(EventsConfig(mlflow=True))


def test_events_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    log = Events(tmp_path, EventsConfig())
    for step in (1, 2, 3):
        log.log("train", step, {"loss": 1.0 / step})
    log.close()
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "train", "step": 4, "lo')  # killed in the middle of a line
    Events(tmp_path, EventsConfig(), since=2).close()
    assert [json.loads(line)["step"] for line in (tmp_path / "events.jsonl").read_text().splitlines()] == [1, 2]


def test_tensorboard_and_mlflow_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "RUN"
    folder.mkdir()
    log = Events(folder, EventsConfig(tensorboard=True, mlflow=True), settings={"seed": types.IGNORE})
    log.log("train", 1, {"loss": 0.25})
    log.close()
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("select key, value, step from metrics").fetchall() == [("train/loss", 0.25, 1)]


def test_a_run_is_not_resumed_on_changed_labels(toy: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "data"
    shutil.copytree(toy, copy)
    toy_fit(copy, tmp_path / "run", "supervised", stop_after=2).run()
    label = copy / "labelsTr" / "case05.png"
    shutil.copy(copy / "labelsTr" / "case06.png", label)
    with pytest.raises(InputError, match="changed since the run began"):
        toy_fit(copy, tmp_path / "run", "supervised", resume=True).run()


class Finisher(Mender):
    """Has seen enough after two epochs."""

    def finished(self) -> bool:
        return bool(self.count >= 6)


def test_a_method_may_finish_early_and_stays_finished(toy: Path, tmp_path: Path) -> None:
    def fit(resume: bool) -> Fit:
        template = mender_fit(toy, tmp_path / "run", resume=resume)
        return Fit(
            **{**vars_of(template), "method": Finisher(), "name": "finisher", "validate": lambda method: {"dice": 0.5}}
        )

    run = fit(False)
    assert run.run() == {"dice": 0.5}
    assert run.done == 6
    lines = (tmp_path / "run" / "events.jsonl").read_text()
    again = fit(True)
    assert again.run() == {"dice": 0.5}
    assert (again.done, (tmp_path / "run" / "events.jsonl").read_text()) == (6, lines)
