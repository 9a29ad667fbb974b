"""Folds as nnU-Net deals them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskmend.data.dataset import Case, Dataset
from maskmend.data.splits import k_fold, split
from maskmend.data.stack import write_volumes
from maskmend.errors import InputError
from maskmend.types import Trust


def dataset(root: Path, cases: int, unlabeled: int = 0) -> Dataset:
    names = [f"case{number:02d}" for number in range(cases + unlabeled)]
    made = tuple(
        Case(name, (root / f"{name}_0000.png",), root / f"{name}.png", Trust.NOISY)
        if number < cases
        else Case(name, (root / f"{name}_0000.png",), None, Trust.UNLABELED)
        for number, name in enumerate(names)
    )
    return Dataset(root, ("grey",), {"background": 0, "lesion": 1}, None, ".png", made, ())


def test_k_fold_is_scikit_learns() -> None:
    """KFold(5, shuffle=True, random_state=12345) of 12: RandomState(12345).shuffle, cut 3 + 3 + 2 + 2 + 2."""
    assert k_fold(12) == [[0, 3, 8], [7, 10, 11], [6, 9], [1, 4], [2, 5]]


@pytest.mark.parametrize("n", [5, 7, 23])
def test_folds_cover_every_case_once(tmp_path: Path, n: int) -> None:
    data = dataset(tmp_path, n)
    validated = []
    for fold in range(5):
        train, validation = split(data, fold)
        assert sorted(case.name for case in train + validation) == [case.name for case in data.train]
        assert [case.name for case in train] == sorted(case.name for case in train)
        validated += [case.name for case in validation]
    assert sorted(validated) == [case.name for case in data.train]


def test_few_cases_and_all(tmp_path: Path) -> None:
    data = dataset(tmp_path, 3)
    assert [len(split(data, fold)[1]) for fold in range(3)] == [1, 1, 1]
    with pytest.raises(InputError, match="folds 0 to 2, not 3"):
        split(data, 3)
    assert split(data, "all") == (data.train, ())
    with pytest.raises(InputError, match="fold=all"):
        split(dataset(tmp_path, 1), 0)


def test_a_single_fold(tmp_path: Path) -> None:
    data = dataset(tmp_path, 2)
    names = [case.name for case in data.train]
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": names[:1], "val": names[1:]}]))
    with pytest.raises(InputError, match="has the fold 0 alone, not 1"):
        split(data, 1)


def test_unlabeled_cases_are_trained_on_in_every_fold(tmp_path: Path) -> None:
    data = dataset(tmp_path, 5, unlabeled=3)
    for fold in range(5):
        train, validation = split(data, fold)
        assert (len(train), len(validation)) == (7, 1)
        assert validation[0].label is not None


def test_splits_final(tmp_path: Path) -> None:
    data, path = dataset(tmp_path, 4), tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["case00", "case02"], "val": ["case03"]}]))
    train, validation = split(data, 0)
    assert [case.name for case in train] == ["case00", "case02"]
    assert [case.name for case in validation] == ["case03"]
    for content, words in (
        ([{"train": ["case0"], "val": []}], r"fold 0, names 'case0', .* \(did you mean case0\d\?\)"),
        ([{"train": ["case00"], "val": ["case00"]}], "case00 in both train and val"),
        ([{"train": [], "val": ["case00"]}], "trains on no case"),
        ({"train": []}, "is no list of"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=words):
            split(data, 0)
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no fold"):
        split(data, 0)


def test_slices_of_a_volume_are_dealt_to_one_side(tmp_path: Path) -> None:
    data = dataset(tmp_path, 20)
    write_volumes(tmp_path / "volumes.csv", [(case.name, f"v{n // 4}", n % 4) for n, case in enumerate(data.train)])
    held = [[case.name for case in split(data, fold)[1]] for fold in range(5)]
    volumes = [[f"case{n:02d}" for n in range(4 * place, 4 * place + 4)] for [place] in k_fold(5)]
    assert held == volumes
