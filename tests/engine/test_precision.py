"""What networks compute in: fp32 on every CPU unless asked otherwise, and then only where a step repeats."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from tests.toy import toy_fit, write_toy
from torch import Tensor, nn

from maskmend.engine.precision import check_repeats, finite, resolve_precision
from maskmend.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("native", [False, True])
def test_auto_is_fp32_on_every_cpu(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert resolve_precision("auto", CPU) == torch.float32
    assert resolve_precision("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize("native", [False, True])
def test_auto_is_bf16_on_a_gpu_that_multiplies_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert (resolve_precision("auto", torch.device("cuda")) == torch.bfloat16) is native


def test_what_repeats_passes_and_what_does_not_is_named() -> None:
    check_repeats(lambda: {"a": torch.ones(3)}, "train.precision=bf16")
    counter = itertools.count()
    with pytest.raises(InputError, match=r"train\.precision=bf16 .* another b; leave it at auto"):
        check_repeats(lambda: {"a": torch.ones(3), "b": torch.tensor(next(counter))}, "train.precision=bf16")
    with pytest.raises(InputError, match="another a"):
        check_repeats(lambda: {"a": torch.tensor(math.nan)}, "train.precision=bf16")


def test_a_run_in_bf16_is_refused_where_a_step_does_not_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = toy_fit(write_toy(tmp_path / "data", cases=6, clean=2), tmp_path / "RUN", "supervised")
    start = {name: value.clone() for name, value in fit.method.state_dict().items()}
    fit.train = fit.train.model_copy(update={"precision": "bf16"})
    assert fit.prepare().done == 0
    assert all(torch.equal(value, start[name]) for name, value in fit.method.state_dict().items())

    before, counter = type(fit.method).step, itertools.count()

    def drifts(method: nn.Module, batch: object, at: object, update: object) -> dict[str, float | Tensor]:
        logs = before(method, batch, at, update)
        next(method.parameters()).data += next(counter)
        return logs

    monkeypatch.setattr(type(fit.method), "step", drifts)
    fit.ready = False
    with pytest.raises(InputError, match=r"train\.precision=bf16 does not repeat on this CPU"):
        fit.prepare()
    assert not (tmp_path / "RUN" / "events.jsonl").exists()


@pytest.mark.parametrize("place", ["0.weight", "1.running_mean", "1.running_var"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_or_a_running_statistic_that_is_no_number_is_seen(place: str, value: float) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    net.register_buffer("largest", torch.tensor(-math.inf))
    assert finite(net)
    net.state_dict()[place].view(-1)[0] = value
    assert not finite(net)
