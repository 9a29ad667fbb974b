"""What is told while tasks run: the epoch of each, by its folder, and the time left of those that run side by side."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskmend.progress import duration
from maskmend.runs import waiting as module
from maskmend.runs.waiting import Waiting, epochs_of


@dataclass(frozen=True)
class Running:
    """A task that is in an epoch of twelve."""

    out: Path
    key: str

    @property
    def name(self) -> str:
        return f"network {self.key}"

    @property
    def folder(self) -> Path:
        return self.out / self.key

    def at(self, epoch: int) -> Running:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.yaml").write_text("train:\n  epochs: 12\n")
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"event": "train", "step": 20 * epoch, "epoch": epoch, "loss": 0.1}) + "\n")
        return self


def test_the_epoch_is_the_last_that_was_written_whole(tmp_path: Path) -> None:
    task = Running(tmp_path, "a")
    assert epochs_of(task.folder) is None
    for epoch in range(200):
        task.at(epoch)
    with (task.folder / "events.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    assert epochs_of(task.folder) == (199, 12)
    (task.folder / "events.jsonl").write_text("")
    assert epochs_of(task.folder) is None


@pytest.mark.parametrize(
    ("slots", "ended", "said"),
    [
        (2, (), "0 of 3 done; network a: epoch 7 of 12; network b: epoch 7 of 12; about 20 min left"),
        (1, (), "0 of 3 done; network a: epoch 7 of 12; network b: epoch 7 of 12; about 20 min left"),
        (2, ("a", "b"), "2 of 3 done; about 10 min left"),
        (9, ("a",), "1 of 3 done; network b: epoch 7 of 12; about 20 min left"),
        (2, ("a", "b", "c"), "3 of 3 done"),
    ],
)
def test_tasks_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int, ended: tuple[str, ...], said: str
) -> None:
    """Three tasks, ten minutes after two of them began: two half done make 20 minutes a task at two a time."""
    tasks = [Running(tmp_path, key) for key in "abc"]
    clock = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: clock)
    waiting = Waiting(tasks, slots)
    assert waiting.line() == "0 of 3 done"
    tasks[0].at(6)
    tasks[1].at(6)
    clock = 600.0
    for task in tasks:
        if task.key in ended:
            waiting.end(task)
    assert waiting.line() == said


def test_what_was_done_before_is_not_taken_for_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, clock = Running(tmp_path, "a").at(9), 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: clock)
    waiting = Waiting([task], 1)
    clock = 60.0
    assert waiting.left() == "", "nothing tells yet"
    task.at(10)
    assert waiting.left() == "about 2 min left"


def test_without_a_terminal_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SAY_S", 0.01)
    for slots in (1, 0):
        with Waiting([Running(tmp_path, "a").at(3)], slots):
            time.sleep(0.1)
        assert ("0 of 1 done; network a: epoch 4 of 12" in capsys.readouterr().err) == (slots > 0)


def test_time_as_people_write_it() -> None:
    assert [duration(s) for s in (0, 12.4, 29, 31, 90, 3599, 4800)] == [
        "1 s", "12 s", "29 s", "1 min", "2 min", "1 h 0 min", "1 h 20 min",
    ]  # fmt: skip
