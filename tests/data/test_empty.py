"""Masks that mark nothing are counted and, where most do, refused; outlines are told from what they enclose."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.empty import check_masks, outlined
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.stack import write_volumes
from maskmend.errors import InputError
from maskmend.verbs.simulate import simulate

FLAT = Geometry((1.0, 1.0))
GREY = np.full((16, 20), 9, np.uint8)


def marked(*values: int) -> np.ndarray:
    mask = np.zeros_like(GREY)
    for place, value in enumerate(values):
        mask[4:12, 3 + 4 * place : 6 + 4 * place] = value
    return mask


def dataset(root: Path, *masks: np.ndarray, **about: object) -> Path:
    for number, mask in enumerate(masks):
        write_image(root / f"imagesTr/c{number}_0000.png", GREY, FLAT)
        write_label(root / f"labelsTr/c{number}.png", mask, FLAT)
    write_dataset(root, ["grey"], {"background": 0, "organ": 1, "lesion": 2}, ".png", len(masks), **about)
    return root


def said(root: Path) -> str:
    found = open_dataset(root)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_masks(found, found.train)
    return " ".join(str(each.message) for each in told)


def test_empty_masks_are_counted_by_class(tmp_path: Path) -> None:
    root = dataset(tmp_path / "some", marked(1, 2), marked(1), marked(1), marked())
    assert said(root) == (
        f"{root}: 1 of 4 masks are empty; class organ is missing from 1, class lesion is missing from 3 of 4 masks."
    )
    root = dataset(tmp_path / "full", marked(1, 2), marked(1))
    assert said(root) == f"{root}: class lesion is missing from 1 of 2 masks."
    assert not said(dataset(tmp_path / "all", marked(1, 2), marked(2, 1)))


def test_masks_that_mark_most_pixels_are_told(tmp_path: Path) -> None:
    root = dataset(tmp_path / "other", 1 - marked(1), 1 - marked(1))
    write_dataset(root, ["grey"], {"background": 0, "organ": 1}, ".png", 2)
    assert said(root) == (
        f"{root}: the masks mark 92% of the pixels; check that structure and background are not the other way round."
    )


def test_most_are_refused_unless_the_data_set_says_that_it_is_right(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bad", marked(1), marked(), marked(), marked())
    with pytest.raises(
        InputError, match=r'3 of 4 masks are empty.*\(c1, c2, c3\).*"empty_masks": true in dataset\.json'
    ):
        said(root)
    with pytest.raises(InputError, match="3 of 4 masks are empty"):
        simulate(root, tmp_path / "noisy", "markov")
    assert not (tmp_path / "noisy").exists()
    about = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(about | {"empty_masks": True}))
    assert "3 of 4 masks are empty" in said(root)
    (root / "dataset.json").write_text(json.dumps(about | {"empty_masks": "yes"}))
    with pytest.raises(InputError, match="says empty_masks 'yes'; write true or false"):
        said(root)


def test_a_volume_that_shows_something_is_not_empty_however_many_of_its_slices_are(tmp_path: Path) -> None:
    root = dataset(tmp_path / "slices", marked(1, 2), marked(), marked(), marked())
    write_volumes(root / "volumes.csv", [(f"c{number}", "scan", number) for number in range(4)])
    assert not said(root)


def test_what_nobody_annotated_is_not_empty(tmp_path: Path) -> None:
    root = dataset(tmp_path / "part", marked(1, 2), np.full_like(GREY, 3), np.full_like(GREY, 3))
    about = json.loads((root / "dataset.json").read_text())
    about["labels"]["ignore"] = 3
    (root / "dataset.json").write_text(json.dumps(about))
    assert not said(root)


def test_outlines_are_told_from_what_they_enclose() -> None:
    rows, columns = np.mgrid[:128, :128]
    for radius in (12, 40):
        full = np.hypot(rows - 60, columns - 64) < radius
        for width in (1, 2, 3):
            assert outlined(full & ~ndimage.binary_erosion(full, iterations=width))
        assert not outlined(full)
        assert not outlined(full & ~ndimage.binary_erosion(full, iterations=8)), "a thick ring is no line"
    assert not outlined(np.zeros((9, 9), bool))
    vessel = np.zeros((64, 64), bool)
    vessel[30:32] = True
    assert not outlined(vessel), "nothing is enclosed"
    volume = np.zeros((3, 64, 64), bool)
    volume[1] = (np.hypot(rows, columns) < 0)[:64, :64]
    volume[1, 10:40, 10:40] = True
    volume[1, 11:39, 11:39] = False
    assert outlined(volume)


def test_outlines_are_said(tmp_path: Path) -> None:
    line = marked()
    line[2:14, 2:18] = 1
    line[3:13, 3:17] = 0
    assert "1 of 1 masks looked at hold closed thin lines only: these look like outlines" in said(
        dataset(tmp_path / "lines", line)
    )
