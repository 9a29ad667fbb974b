"""What a run cannot mean, what a crash can spoil of one, and two processes at one: a sentence, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.system.conftest import Maskmend
from tests.system.test_bad_input import SUPERVISED, content, refused

from maskmend.data import memory
from maskmend.data.lock import hold
from maskmend.verbs.search import criterion

IMPOSSIBLE = [
    ("network.width=1000000000", ("network.name=unet", "more than a machine has", "network.width")),
    ("data.patch=[9999999999999,32]", ("10000000000000 × 32", "data.patch")),
    ("train.batch.any=1000000000", ("1000000000 patches", "GiB", "batch")),
    ("data.size=[1000000,1000000]", ("data.size", "GiB", "smaller")),
    ("optim.name=lbfgs", ("optim.name=lbfgs", "closure")),
    ("optim.nesterov=true optim.momentum=0", ("optim.name=sgd", "Nesterov", "settings of optim")),
    ("optim.lr=.inf", ("optim.lr=inf", "finite")),
    ("predict.overlap=.nan", ("predict.overlap=nan", "finite")),
    ("data.sidemaps.sigma=1e300", ("data.sidemaps.sigma=1e+300", "1000")),
    ("data.sidemaps.compactness=1e-300", ("data.sidemaps.compactness=1e-300", "0.000001")),
    ("seed=-1", ("seed=-1", "0")),
    ("seed=9223372036854775808", ("seed=9223372036854775808", "2 ** 63")),
    ("train.steps=1000000000000", ("train.steps=1000000000000", "1000000")),
]


@pytest.mark.parametrize(("words", "parts"), IMPOSSIBLE, ids=[words for words, _ in IMPOSSIBLE])
def test_what_a_run_cannot_mean(
    maskmend: Maskmend, toys: Any, tmp_path: Path, words: str, parts: tuple[str, ...]
) -> None:
    refused(maskmend("train", toys(2, 2), "-o", tmp_path / "a" / "RUN", *SUPERVISED, *words.split()), *parts)
    assert not any(tmp_path.iterdir())


def test_what_memory_does_not_hold_depends_on_the_machine(
    maskmend: Maskmend, toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", toys(2, 2), "-o", tmp_path / "RUN", *SUPERVISED)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 300_000)
    refused(maskmend(*train), "network.name=unet with 4 patches (train.batch) of 32 × 32", "smaller network")
    monkeypatch.setattr(memory, "available_bytes", lambda device: 3000)
    refused(maskmend(*train), "case0", "32 × 32 pixels", "larger machine")
    assert not any(tmp_path.iterdir())


def test_the_second_at_a_run_hears_who_has_it(maskmend: Maskmend, toys: Any, a_run: Path, tmp_path: Path) -> None:
    before = content(a_run)
    with hold(a_run):
        for how in ((), ("--resume",)):
            refused(maskmend("train", toys(2, 2), "-o", a_run, *SUPERVISED, *how), f"{a_run} is in use by process")
    assert content(a_run) == before
    with hold(tmp_path / "new"):
        refused(maskmend("train", toys(2, 2), "-o", tmp_path / "new", *SUPERVISED), "in use")
    assert not (tmp_path / "new").exists()


PLANS: dict[str, Callable[[str], bytes]] = {
    "cut": lambda text: text[:100].encode(),
    "binary": lambda text: b"\xff\0\1",
    "list": lambda text: b"[]",
    **{
        f"{key}={value}": lambda text, key=key, value=value: json.dumps(json.loads(text) | {key: value}).encode()
        for key, value in (
            ("dims", "x"),
            ("dims", 5),
            ("patch", [16]),
            ("patch", [-16, 16]),
            ("patch", [10**25, 16]),
            ("channel_names", []),
            ("labels", {"a": 7}),
            ("normalisation", [{"scheme": "ct", "sd": 0}]),
            ("colour", 1),
        )
    },
}


@pytest.mark.parametrize("spoil", PLANS.values(), ids=PLANS)
def test_a_spoilt_plan_is_named_and_made_again(
    maskmend: Maskmend, toys: Any, a_run: Path, tmp_path: Path, spoil: Callable[[str], bytes]
) -> None:
    plan, whole = a_run / "plan.json", (a_run / "plan.json").read_text()
    plan.write_bytes(spoil(whole))
    refused(maskmend("predict", a_run, toys(2, 2) / "imagesTr", "-o", tmp_path / "OUT"), plan)
    assert not (tmp_path / "OUT").exists()
    result = maskmend("train", toys(2, 2), "-o", a_run, "--resume", "train.epochs=3")
    assert result.exit_code == 0, result.output
    assert plan.read_text() == whole


@pytest.mark.parametrize("place", ["weight", "running_var"])
def test_weights_that_are_no_numbers_predict_nothing(
    maskmend: Maskmend, toys: Any, a_run: Path, tmp_path: Path, place: str
) -> None:
    for name in ("best", "last"):
        state = torch.load(a_run / f"{name}.ckpt", weights_only=True)
        next(value for key, value in state["method"].items() if place in key).view(-1)[0] = torch.nan
        torch.save(state, a_run / f"{name}.ckpt")
    before = content(a_run)
    predict = ("predict", a_run, toys(2, 2) / "imagesTr", "-o", tmp_path / "OUT", "--checkpoint")
    for name in ("best", "last"):
        refused(maskmend(*predict, name), a_run / f"{name}.ckpt", "no numbers", "optim.lr")
    refused(maskmend("train", toys(2, 2), "-o", a_run, "--resume", "train.epochs=3"), a_run / "last.ckpt", "no numbers")
    assert content(a_run) == before


def test_a_rate_beyond_all_bounds_ends_in_a_sentence(maskmend: Maskmend, toys: Any, tmp_path: Path) -> None:
    result = maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", *SUPERVISED, "optim.lr=1e30", "train.epochs=3")
    refused(result, tmp_path / "RUN", "no numbers", "lower optim.lr")


def test_every_score_says_what_it_is_against(maskmend: Maskmend, toys: Any, tmp_path: Path) -> None:
    result = maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", *SUPERVISED)
    scores = [line for line in result.output.splitlines() if "dice" in line]
    assert len(scores) == 2
    assert all("against the given masks" in line for line in scores)


def test_a_search_whose_events_are_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "train", "step": 1, "search": null}\n\xff\0\n')
    with pytest.raises(ValueError, match=r"events\.jsonl holds no criterion; remove"):
        criterion(tmp_path)
