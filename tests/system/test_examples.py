"""The examples run, and are as short as they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskmend.cli import app
from maskmend.data.phantom import write_phantom

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHORT = ["train.epochs=1", "train.steps=2", "data.size=[32,32]"]


def script(name: str, folder: Path, *words: str) -> str:
    environment = os.environ | {"MASKMEND_CACHE": str(folder / "cache")}
    line = [sys.executable, str(ROOT / "examples" / name), *words]
    return subprocess.run(line, capture_output=True, text=True, check=True, env=environment, cwd=folder).stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_they_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.slow
def test_train_from_python(tmp_path: Path) -> None:
    said = script("train_from_python.py", tmp_path, str(tmp_path / "out"), *SHORT)
    assert said.count("| lesion") == 2
    assert "co_teaching" in said


def test_noise_from_a_notebook(tmp_path: Path) -> None:
    lines = script("noise_from_a_notebook.py", tmp_path).splitlines()
    left = [float(line.split()[-1]) for line in lines if "steps" in line]
    assert left == sorted(left, reverse=True)


def test_own_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKMEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(ROOT)
    write_phantom(tmp_path / "data", train=4, test=1, size=32)
    words = ["--method", "examples.own_method", "-o", str(tmp_path / "run"), "method.q=0.5", "--fast-dev-run"]
    result = CliRunner().invoke(app, ["train", str(tmp_path / "data"), *words])
    assert result.exit_code == 0, result.output
    assert "dice" in result.output
    assert "NeurIPS 2018" in CliRunner().invoke(app, ["methods", "examples.own_method"]).output
