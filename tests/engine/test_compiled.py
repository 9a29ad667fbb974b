"""Compiled networks learn the same, are saved under the same names, and resume bit-exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.toy import states_equal, toy_fit, write_toy

from maskmend.engine.compiled import compile_networks
from maskmend.engine.fit import Fit
from maskmend.errors import InputError
from maskmend.networks import NetworkConfig

needs_compiler = pytest.mark.skipif(
    not any(os.access(Path(folder) / "g++", os.X_OK) for folder in os.get_exec_path()), reason="there is no g++ here"
)


def compiled(fit: Fit) -> Fit:
    fit.train = fit.train.model_copy(update={"compile": True})
    return fit


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"width": 4, "strides": [2]}  # or it would compile for minutes
    monkeypatch.setattr("tests.toy.NetworkConfig", lambda **more: NetworkConfig(**(more | small)))
    root = write_toy(tmp_path / "toy", cases=6)
    plain, whole = (toy_fit(root, tmp_path / name, "supervised", epochs=2) for name in ("plain", "whole"))
    plain.stop_after = 1
    plain.run()
    compiled(whole).run()
    first = compiled(toy_fit(root, tmp_path / "stopped", "supervised", epochs=2, stop_after=1))
    first.run()
    state, ours = plain.method.state_dict(), first.method.state_dict()
    assert list(state) == list(ours)
    assert not any("_orig_mod" in name for name in ours)
    assert all((state[name] - ours[name]).abs().max() < 0.05 for name in state)  # one step of Adam, of 0.02

    torch._dynamo.reset()
    again = compiled(toy_fit(root, tmp_path / "stopped", "supervised", epochs=2, resume=True))
    again.run()
    assert states_equal(again.method, whole.method)


def test_a_machine_that_cannot_compile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> object:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(InputError, match=r"train.compile=true: .*RuntimeError.*; install a C\+\+ compiler"):
        compile_networks(torch.nn.Module(), torch.device("cpu"))


@pytest.mark.slow
def test_without_a_compiler(tmp_path: Path) -> None:
    code = (
        "import torch\nfrom maskmend.engine.compiled import compile_networks\n"
        "compile_networks(torch.nn.Module(), torch.device('cpu'))"
    )
    there = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | there, capture_output=True, text=True, check=False
    )
    assert "InputError: train.compile=true: this machine cannot compile" in done.stderr, done.stderr
