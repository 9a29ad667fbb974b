"""Windows of large cases: every voxel is some window's own, and only windows are in memory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import toy
from tests.infer.test_predict import plan_of

from maskmend.data import trainset, windows
from maskmend.data.refined import RefinedStore
from maskmend.data.windows import WINDOW, tiles

MAPS = ("superpixel", "distance", "refined")


@pytest.mark.parametrize("shape", [(400, 512, 512), (160, 256, 256), (48, 32, 32), (4096, 4096)])
@pytest.mark.parametrize("patch", [32, 96, 128])
def test_windows_share_the_voxels_out(shape: tuple[int, ...], patch: int) -> None:
    plan, own, shown = plan_of((patch,) * len(shape)), 0, []
    for tile in tiles(shape, plan):
        own += math.prod(s.stop - s.start for s in tile.own)
        shown.append(math.prod(s.stop - s.start for s in tile.shown))
        assert all(s.start % 16 == 0 for s in (*tile.own, *tile.shown))
        for mine, all_, n in zip(tile.own, tile.shown, shape, strict=True):
            assert all_.start == max(0, mine.start - -(-patch // 64) * 16)
            assert mine.stop <= all_.stop <= n
    assert own == math.prod(shape)
    assert max(shown) <= max(WINDOW, (2 * patch) ** len(shape))


def test_parts_of_a_large_case_are_the_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(toy.SIZE, 3, (40, 30, 25))
    root = toy.write_toy(tmp_path / "DATA", dims=3, cases=2, clean=1)
    train = toy.toy_set(root, tmp_path, MAPS)[0]
    whole = list(train.scan(1))
    assert not any(case.large for case in whole)
    monkeypatch.setattr(trainset, "WHOLE", 1000)
    monkeypatch.setattr(windows, "WINDOW", 1000)
    for case, same in zip(train.scan(2), whole, strict=True):
        assert case.large
        assert len(case) == 1
        for around in (True, False):
            for part in case.parts(around):
                at = (..., *part.place)
                core = part.core
                assert (core is part) != around
                assert torch.equal(core.image, same.image[at])
                assert torch.equal(core.label, same.label[at])
                for name in ("distance", "refined"):
                    assert torch.equal(core.maps[name], same.maps[name][at])
        assert case.rows(case.trust >= 0) is case
        assert len(case.rows(case.trust < 0)) == 0
        assert torch.equal(case.image, same.image)  # whoever does not know of parts gets all of it
        assert torch.equal(case.to(torch.device("cpu")).label, same.label)


def test_a_label_written_in_parts_is_a_label(tmp_path: Path) -> None:
    store, array = RefinedStore(tmp_path), np.arange(24, dtype=np.int8).reshape(4, 6)
    for rows in (slice(0, 3), slice(3, 4)):
        for columns in (slice(0, 2), slice(2, 6)):
            at = (rows, columns)
            store.write("a", array[at], np.zeros_like(array)[at], array.shape, at)
    assert store.pending() == {"a": 23}
    assert store.commit() == 23
    np.testing.assert_array_equal(store.read("a"), array)
    store.write("a", array[:2, :6], None, array.shape, (slice(0, 2), slice(0, 6)))  # begins anew
    store.commit()
    assert not store.read("a")[2:].any()


def test_no_more_than_a_window_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(toy.SIZE, 3, (160, 64, 64))
    root = toy.write_toy(tmp_path / "DATA", dims=3, cases=1, clean=1)
    train = toy.toy_set(root, tmp_path, ("refined",))[0]
    monkeypatch.setattr(windows, "WINDOW", 1000)

    def largest(whole: int) -> int:
        monkeypatch.setattr(trainset, "WHOLE", whole)
        made = 0
        for case in train.scan(1):
            for part in case.parts():
                made = max(
                    made, sum(t.numel() * t.element_size() for t in (part.image, part.label, *part.maps.values()))
                )
        return made

    assert largest(1000) < largest(2**22) / 2
