"""The loop: refinement between epochs, precision, best and last, what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tests.toy import states_equal, toy_fit, toy_set, write_toy
from torch import Tensor, nn

from maskmend import types
from maskmend.engine import checkpoint
from maskmend.engine.events import Events, EventsConfig, read_events
from maskmend.engine.fit import Fit
from maskmend.errors import InputError
from maskmend.functional.losses import ce
from maskmend.methods import Method
from maskmend.types import Batch, Logs, Progress, TrainSet, Update


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
    events = read_events(tmp_path, "refine")
    assert [event["scanned"] for event in events] == [12.0] * 4
    assert events[0]["relabelled_pixels"] == 0
    assert events[1]["relabelled_pixels"] > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_trains_in_every_precision(precision: str, channels_last: bool, toy: Path, tmp_path: Path) -> None:
    fit = toy_fit(toy, tmp_path, "supervised", epochs=8)
    fit.train = fit.train.model_copy(update={"precision": precision, "channels_last": channels_last})
    fit.run()
    losses = [event["loss"] for event in read_events(tmp_path, "train")]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


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
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/tracked")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    log = Events(tmp_path, EventsConfig(tensorboard=True, mlflow=True), settings={"seed": types.IGNORE})
    log.log("train", 1, {"loss": 0.25})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert any("0.25" in path.read_text() for path in (tmp_path / "tracked").rglob("metrics/train/loss"))


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
            **{**vars(template), "method": Finisher(), "name": "finisher", "validate": lambda method: {"dice": 0.5}}
        )

    run = fit(False)
    assert run.run() == {"dice": 0.5}
    assert run.done == 6
    lines = (tmp_path / "run" / "events.jsonl").read_text()
    again = fit(True)
    assert again.run() == {"dice": 0.5}
    assert (again.done, (tmp_path / "run" / "events.jsonl").read_text()) == (6, lines)
