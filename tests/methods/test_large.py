"""Cases too large for networks to see at once: what is found window by window is what is found in the whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import toy

from maskmend.data import trainset, windows
from maskmend.data.trainset import CaseSet
from maskmend.functional.rng import seed_all
from maskmend.methods import Method, find
from maskmend.networks import NetworkConfig, build
from maskmend.types import Progress

SETTINGS = {
    "adele": {"scales": (1.0,), "confidence": 0.3},
    "confident_learning": {},
    "elr": {"target": "stored"},
    "robust": {},
    "self_cleansing": {"warmup": 1, "grid": 8, "filter": False, "competence": 0, "margin": -1, "mu": 0.5},
    "sp_guided": {"tau": 0.3},
    "spatial_correction": {"enough": 0.0},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.SIZE, 3, (40, 32, 16))  # 48 slices, once they are filled up
        return toy.write_toy(tmp_path_factory.mktemp("large") / "DATA", dims=3, classes=3, cases=2, clean=1)


def a_set(root: Path, folder: Path, method: Method) -> CaseSet:
    return toy.toy_set(root, folder, method.maps)[0]


def a_method(name: str) -> Method:
    """With networks that see 10 voxels far, and predict something like the label."""
    cls, settings = find(name)
    seed_all(1)
    network = NetworkConfig(name="unet", width=4, strides=[2], norm="batch")
    method: Method = cls(partial(build, network, 1, 3, 3), settings(**SETTINGS[name])).eval()
    if name == "adele":
        method.overlap += 1
        method.corrected[1:3] = True
        method.last -= 100
    return method


def mended(root: Path, folder: Path, name: str) -> list[np.ndarray]:
    method = a_method(name)
    train = a_set(root, folder, method)
    with torch.no_grad():
        if name == "sp_guided":
            method.relabel(train)
        else:
            method.begin_epoch(Progress(5 if name != "self_cleansing" else 1, 10, 5, 1), train)
    train.commit()
    return [train._refined(i, train._prepared[i]) for i in range(2)]


def test_windows_are_judged_as_the_whole_is(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = a_method("robust")
    train = a_set(root, tmp_path, method)
    with torch.no_grad():
        seen = dict(zip(train.names, method.judged(train), strict=True))
        monkeypatch.setattr(trainset, "WHOLE", 1000)
        monkeypatch.setattr(windows, "WINDOW", 1000)
        for name, (batch, prob) in zip(train.names, method.judged(train), strict=True):
            torch.testing.assert_close(prob, seen[name][1])
            assert torch.equal(batch.label, seen[name][0].label)


def test_targets_of_windows_are_those_of_the_whole(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for folder in ("whole", "parts"):
        method = a_method("elr")
        train = a_set(root, tmp_path / folder, method)
        with torch.no_grad():
            method.begin_epoch(Progress(1, 10, 5, 5), train)
        train.commit()
        found.append([train.refined.read(f"target/{name}") for name in train.names])
        monkeypatch.setattr(trainset, "WHOLE", 1000)
        monkeypatch.setattr(windows, "WINDOW", 1000)
    for whole, parts in zip(*found, strict=True):
        assert whole.shape == parts.shape == (2, 40, 32, 16)
        np.testing.assert_allclose(whole.astype(float), parts, atol=1)  # of 65,535


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"robust", "elr"}))
def test_windows_mend_as_the_whole_does(name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mended(root, tmp_path / "whole", name)
    monkeypatch.setattr(trainset, "WHOLE", 1000)
    monkeypatch.setattr(windows, "WINDOW", 1000)
    parts = mended(root, tmp_path / "parts", name)
    given = [*a_set(root, tmp_path, a_method(name))._prepared]
    changed = sum(np.count_nonzero(a != g.label.open()) for a, g in zip(whole, given, strict=True))
    differ = sum(np.count_nonzero(a != b) for a, b in zip(whole, parts, strict=True))
    assert changed > 500
    assert differ <= changed / 1000  # sums are rounded in another order
