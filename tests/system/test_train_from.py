"""`maskmend train --from`: an earlier run goes on in a new one, and a resumed run asks for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import yaml
from tests.system.conftest import TINY, Maskmend

FROZEN = ("train.steps=1", "optim.lr=1e-30", "optim.weight_decay=0", "train.epochs=1")
"""Settings under which weights stay what they were at the start."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / "last.ckpt", weights_only=True)["method"]
    return {name: value for name, value in found.items() if "running" not in name and value.is_floating_point()}


def test_from_a_run(maskmend: Maskmend, dataset: Path, trained: Path, tmp_path: Path) -> None:
    source, run = Path(shutil.copytree(trained, tmp_path / "A run: 1e5")), tmp_path / "RUN"
    words = ("train", dataset, "-o", run, "--method", "supervised", *TINY, *FROZEN)
    result = maskmend(*words, "--from", source / "last.ckpt")
    assert result.exit_code == 0, result.output
    assert f"Start from {source / 'last.ckpt'}: " in result.stderr
    assert "72 of 72 tensors" in result.stderr
    old, new = weights(source), weights(run)
    assert all(torch.allclose(new[name], old[name], atol=1e-6) for name in old)
    assert yaml.safe_load((run / "config.yaml").read_text())["start"] == str(source / "last.ckpt")

    shutil.rmtree(source)
    result = maskmend(*words[:-1], "train.epochs=2", "--resume")
    assert result.exit_code == 0, result.output
    result = maskmend("predict", run, dataset / "imagesTr", "-o", tmp_path / "OUT")
    assert result.exit_code == 0, result.output


def test_more_classes_and_networks(maskmend: Maskmend, toys: object, trained: Path, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "RUN", "--method", "co_teaching", "--from", trained, *TINY, *FROZEN)
    result = maskmend("train", toys(2, 4), *words)
    assert result.exit_code == 0, result.output
    assert "the last layer starts anew (4 classes, not 2)" in result.stderr
    assert "2 networks start from 1" in result.stderr


def test_nothing_is_begun_without_the_source(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    for source in (tmp_path / "none.pt", dataset):
        result = maskmend("train", dataset, "-o", tmp_path / "RUN", "--from", source, *TINY)
        assert result.exit_code == 2, result.output
        assert str(source) in result.stderr
        assert not (tmp_path / "RUN" / "config.yaml").exists()
