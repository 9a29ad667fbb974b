"""Slices that are cases, put together to volumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskmend.data.stack import Volume, read_volumes, stacked, write_volumes
from maskmend.errors import InputError
from maskmend.metrics import dice, overlap
from maskmend.types import IGNORE

CASES = ["a0", "a1", "a2", "b7"]


def csv(root: Path, *rows: str, header: str = "case,volume,slice") -> Path:
    (root / "volumes.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def test_volumes_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_volumes(tmp_path / "volumes.csv", [("a1", "a", 3), ("a0", "a", 2), ("a2", "a", 5), ("b7", "b", 7)])
    a, b = read_volumes(tmp_path, CASES)
    assert (a, a.depth) == (Volume("a", {"a1": 1, "a0": 0, "a2": 3}), 4)
    assert (b.places, b.spacing_mm) == ({"b7": 0}, None)
    assert read_volumes(tmp_path, ["b7"]) == (b,)
    with pytest.warns(UserWarning, match=r"volumes\.csv speaks of none of the 1 cases"):
        assert read_volumes(tmp_path, ["other"]) == ()


def test_the_step_between_slices(tmp_path: Path) -> None:
    csv(tmp_path, "x,v,0,2.5", "y,v,1,2.5", header="case,volume,slice,spacing_mm")
    assert read_volumes(tmp_path, ["x", "y"])[0].spacing_mm == 2.5


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a0,a,0", "a0,b,1"], "line 3: case a0 stands there twice"),
        (["a0,a,0", "a1,a,0"], "line 3: a0 and a1 are both slice 0 of a"),
        (["a0,a,x"], "line 2: slice 'x'"),
        (["a0,a,-1"], "line 2: slice '-1'"),
        (["a0,../evil,0"], "leads to another folder"),
        (["a0,a,0", "a1,a,900000000"], "from 0 to 900000000, more than 10000"),
        (["a0,a,0", "a1,a,1"], "but not of a2"),
        (["a0,a,0", "a1,a,1", "a2,a,2", "a3,a,3", "b7,b,0"], "counts a3 to the volume a, but it is not there"),
    ],
)
def test_a_wrong_table_is_told_in_a_sentence(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_volumes(csv(tmp_path, *rows), CASES)


@pytest.mark.parametrize("step", ["0", "nan", "inf", "thick"])
def test_a_step_is_a_length(tmp_path: Path, step: str) -> None:
    csv(tmp_path, f"a0,a,0,{step}", header="case,volume,slice,spacing_mm")
    with pytest.raises(InputError, match="line 2: spacing_mm"):
        read_volumes(tmp_path, ["a0"])


def test_recipes_are_known_by_the_names_they_give(tmp_path: Path) -> None:
    names = ["Case_01_s000", "Case_01_s001", "Case_02_s000"]
    (tmp_path / "dataset.json").write_text(json.dumps({"recipe": "slices"}))
    assert [(v.name, v.depth) for v in read_volumes(tmp_path, names)] == [("Case_01", 2), ("Case_02", 1)]
    assert read_volumes(tmp_path, [*names, "another"]) == ()
    csv(tmp_path)  # says that nothing is a slice
    assert read_volumes(tmp_path, names) == ()
    (tmp_path / "volumes.csv").unlink()
    (tmp_path / "dataset.json").write_text("{}")  # of somebody else, whose names may mean something else
    assert read_volumes(tmp_path, names) == ()


def test_slices_come_in_any_order_and_gaps_are_unknown() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2, (2, 4, 5, 6), dtype=np.uint8)
    volumes = (Volume("v", {"s0": 0, "s1": 1, "s3": 3}), Volume("w", {"t": 0}))
    order = [("s3", 3), ("t", 2), ("s0", 0), ("s1", 1)]
    found = {name: pair for name, *pair in stacked(((c, whole[0, i], whole[1, i]) for c, i in order), volumes)}
    assert list(found) == ["w", "v"]
    prediction, reference = found["v"]
    np.testing.assert_array_equal(reference[[0, 1, 3]], whole[1, [0, 1, 3]])
    assert (reference[2] == IGNORE).all()
    counts = overlap(prediction, reference, [1])[1]
    both = whole[:, [0, 1, 3]].astype(bool)
    assert dice(counts) == 2 * (both[0] & both[1]).sum() / both.sum()


def test_cases_pass_without_volumes_and_slices_are_alike() -> None:
    pair = np.zeros((2, 3, 4), np.uint8)
    assert [name for name, *_ in stacked([("a", *pair)], ())] == ["a"]
    volume = (Volume("v", {"a": 0, "b": 1}),)
    with pytest.raises(InputError, match="slices are 2D and of one shape"):
        list(stacked([("a", *pair), ("b", *pair[:, :2])], volume))
