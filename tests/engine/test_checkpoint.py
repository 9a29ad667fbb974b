"""Checkpoints: whole at every moment, refused when they are not what they should be."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from maskmend.engine import checkpoint
from maskmend.engine.update import OptimConfig, Updater
from maskmend.engine.world import World
from maskmend.errors import InputError
from maskmend.methods import find


def state(done: int, method: str = "supervised") -> checkpoint.State:
    parts = {"method": {"weight": torch.arange(1000.0)}, "update": {}, "data": {"generation": 0}, "scores": {}}
    return {"method_name": method, "done": done, "best": 0.0, **parts}


def test_it_comes_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.ckpt", state(7))
    back = checkpoint.load(tmp_path / "last.ckpt", "supervised")
    assert back["done"] == 7
    assert torch.equal(back["method"]["weight"], torch.arange(1000.0))


def test_the_one_before_is_kept_and_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, state(1))
    checkpoint.save(path, state(2))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged; going on from the one before, last\.previous\.ckpt"):
        latest = checkpoint.load_latest(path, "supervised")
    assert latest is not None
    assert latest["done"] == 1


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, state(1))
    path.replace(checkpoint.previous(path))
    latest = checkpoint.load_latest(path, "supervised")
    assert latest is not None
    assert latest["done"] == 1


def test_the_best_takes_no_room_of_its_own_while_it_is_the_last(tmp_path: Path) -> None:
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    checkpoint.save(last, state(1), best)
    assert best.samefile(last)
    checkpoint.save(last, state(2))
    assert best.samefile(checkpoint.previous(last))
    checkpoint.save(last, state(3))
    assert [checkpoint.load(path, "supervised")["done"] for path in (last, best)] == [3, 1]
    checkpoint.save(last, state(4), best)
    assert best.samefile(last)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "last.previous.ckpt", "best.ckpt"}


def test_the_best_is_a_copy_where_the_disk_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_link)
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    for done in (1, 2):
        checkpoint.save(last, state(done), best)
        assert not best.samefile(last)
        assert checkpoint.load(best, "supervised")["done"] == done


@pytest.mark.parametrize("step", range(4))
def test_a_kill_at_any_moment_leaves_the_best_and_a_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    checkpoint.save(last, state(1), best)
    left = iter(range(step))

    def until_killed(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*paths: Path) -> object:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return change(*paths)

        return changed

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", until_killed(os.link))
        patch.setattr(Path, "replace", until_killed(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(last, state(2), best)
    latest = checkpoint.load_latest(last, "supervised")
    assert latest is not None
    assert latest["done"] == 1
    assert checkpoint.load(best, "supervised")["done"] == (1 if step < 2 else 2)
    checkpoint.save(last, state(2), best)
    assert checkpoint.load(last, "supervised")["done"] == 2
    assert best.samefile(last)


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path / "last.ckpt", "supervised") is None


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("damage", ["truncated", "pickled", "text", "empty"])
def test_a_damaged_file_is_named_and_never_executed(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "best.ckpt"
    checkpoint.save(path, state(1))
    whole = path.read_bytes()
    if damage == "pickled":
        torch.save({"format": 1, "method_name": "supervised", "method": Evil()}, path)
        path.write_bytes(path.read_bytes())
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(InputError, match=r"best\.ckpt cannot be read as a checkpoint"):
        checkpoint.load(path, "supervised")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("part", "value"),
    [(part, None) for part in ("method", "update", "data", "done", "best", "scores")]
    + [
        ("method", []),
        ("done", "7"),
        ("done", -3),
        ("best", float("nan")),
        ("scores", {"dice": "a"}),
        ("data", {"generation": "a"}),
    ],
)
def test_a_part_that_is_missing_or_another_is_named(part: str, value: object, tmp_path: Path) -> None:
    spoilt = {**state(1), part: value}
    checkpoint.save(tmp_path / "last.ckpt", {key: each for key, each in spoilt.items() if each is not None})
    with pytest.raises(InputError, match=rf"last\.ckpt has no '{part}' as a run writes it"):
        checkpoint.load(tmp_path / "last.ckpt", "supervised")


@pytest.mark.parametrize("value", [torch.zeros(3), 5, None])
def test_weights_that_do_not_fit_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"best\.ckpt does not fit the networks of .*config\.yaml"):
        checkpoint.restore(nn.Linear(1, 1), {"method": {"weight": value}}, tmp_path / "best.ckpt")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    for name in ("0.weight", "1.running_var"):
        spoilt = {**net.state_dict(), name: torch.full_like(net.state_dict()[name], torch.nan)}
        with pytest.raises(InputError, match=r"best\.ckpt holds weights that are no numbers"):
            checkpoint.restore(deepcopy(net), {"method": spoilt}, tmp_path / "best.ckpt")


def test_an_optimiser_of_other_shapes_is_refused(tmp_path: Path) -> None:
    method = find("supervised")[0](lambda: nn.Conv2d(1, 2, 1), find("supervised")[1]())
    update = Updater(method, OptimConfig(name="adam"), World())
    update(sum(p.sum() for p in method.parameters()))
    good = update.state_dict()
    checkpoint.restore_update(update, {"update": good}, tmp_path / "last.ckpt")
    good["optimizers"]["main"]["state"][0]["exp_avg"] = torch.zeros(7)
    for spoilt in (good, {}, {"optimizers": {"main": 5}, "scaler": {}}):
        with pytest.raises(InputError, match=r"last\.ckpt does not fit the optimiser"):
            checkpoint.restore_update(update, {"update": spoilt}, tmp_path / "last.ckpt")


def test_an_optimiser_of_other_settings_or_of_no_numbers_is_refused(tmp_path: Path) -> None:
    method = find("supervised")[0](lambda: nn.Conv2d(1, 2, 1), find("supervised")[1]())
    fresh = partial(Updater, method, OptimConfig(), World())
    update = fresh()
    update(sum(p.sum() for p in method.parameters()))
    for value in ("x", torch.nan, 0.5):
        spoilt = deepcopy(update.state_dict())
        spoilt["optimizers"]["main"]["param_groups"][0]["momentum"] = value
        with pytest.raises(InputError, match=r"last\.ckpt does not fit the optimiser"):
            checkpoint.restore_update(fresh(), {"update": spoilt}, tmp_path / "last.ckpt")
    spoilt = deepcopy(update.state_dict())
    spoilt["optimizers"]["main"]["state"][0]["momentum_buffer"].fill_(torch.nan)
    with pytest.raises(InputError, match=r"last\.ckpt does not fit the optimiser"):
        checkpoint.restore_update(fresh(), {"update": spoilt}, tmp_path / "last.ckpt")
    checkpoint.restore_update(fresh(), {"update": update.state_dict()}, tmp_path / "last.ckpt")


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").write_bytes(pickle.dumps({"format": 1, "method_name": "supervised"}))
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "best.ckpt", "supervised")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt is a pipe"):
        checkpoint.load(tmp_path / "last.ckpt", "supervised")


def test_another_method_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.ckpt", state(1, "gsd_net"))
    with pytest.raises(InputError, match="'gsd_net', not of 'supervised'"):
        checkpoint.load(tmp_path / "a.ckpt", "supervised")
    torch.save({"format": 99, **state(1)}, tmp_path / "b.ckpt")
    with pytest.raises(InputError, match="newer MaskMend"):
        checkpoint.load(tmp_path / "b.ckpt", "supervised")


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EFBIG, "larger than the limit")])
def test_a_full_disk_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, state(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=said):
        checkpoint.save(path, state(2))
    assert checkpoint.load(path, "supervised")["done"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
