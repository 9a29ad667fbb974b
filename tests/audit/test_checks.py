"""What is found without a judge: drawn shapes of each kind give one finding of it, sound labels none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.audit.checks import Look, look, whole_class
from maskmend.audit.edges import off
from maskmend.audit.population import compare
from maskmend.audit.store import Doubted
from maskmend.data.dataset import Dataset, open_dataset, write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry

LABELS = {"background": 0, "left lung": 1, "right lung": 2}
PLACE = Geometry((3.0, 1.0, 1.0), (-20.0, -20.0, 5.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def lungs(shape: Sequence[int] = (12, 40, 40)) -> np.ndarray:
    """Right at small x, left at large x (LPS: x grows to the left)."""
    label = np.zeros(shape, np.uint8)
    label[..., 8:32, 4:16] = 2
    label[..., 8:32, 24:36] = 1
    if len(shape) == 3:
        label[:2], label[-2:] = 0, 0
    return label


def dataset(root: Path, labels: Sequence[np.ndarray], ending: str = ".nii.gz", ignore: int | None = None) -> Dataset:
    place = PLACE if labels[0].ndim == 3 else Geometry((1.0, 1.0))
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for n, label in enumerate(labels):
        image = np.random.default_rng(n).integers(0, 255, label.shape, dtype=np.uint8)
        write_image(root / "imagesTr" / f"c{n:02d}_0000{ending}", image, place)
        write_label(root / "labelsTr" / f"c{n:02d}{ending}", label, place)
    names = LABELS | ({"ignore": ignore} if ignore else {})
    write_dataset(root, ["CT"], names, ending, len(labels))
    return open_dataset(root)


def found(root: Path, *labels: np.ndarray, **how: Any) -> list[list[Doubted]]:
    """The findings of each case."""
    data = dataset(root, labels, **how)
    looks = [look(case, data) for case in data.train]
    more = compare(looks, data, off({look.case: look.edges for look in looks}, data.labels))
    return [[*each.broken, *more.get(each.case, ())] for each in looks]


def only(doubted: Sequence[Doubted], kind: str) -> Doubted:
    assert [each.kind for each in doubted] == [kind], [each.text for each in doubted]
    return doubted[0]


@pytest.mark.parametrize("shape", [(12, 40, 40), (40, 40)])
def test_a_sound_label_has_no_finding(tmp_path: Path, shape: tuple[int, ...]) -> None:
    ending = ".nii.gz" if len(shape) == 3 else ".png"
    assert found(tmp_path, lungs(shape), ending=ending) == [[]]


@pytest.mark.parametrize("shape", [(12, 40, 40), (40, 40)])
def test_a_hole_is_filled(tmp_path: Path, shape: tuple[int, ...]) -> None:
    label = lungs(shape)
    hole = (*[6] * (len(shape) - 2), slice(12, 14), slice(8, 10))
    label[hole] = 0
    ending = ".nii.gz" if len(shape) == 3 else ".png"
    each = only(found(tmp_path, label, ending=ending)[0], "hole")
    filled = label.copy()
    filled.flat[each.voxels] = each.value
    assert (filled == lungs(shape)).all()
    assert each.confidence > 0.5


def test_a_cavity_between_two_classes_and_one_that_is_open_are_no_holes(tmp_path: Path) -> None:
    label = lungs((40, 40))
    label[18:22, 14:26] = 0
    label[8:32, 16:24] = np.where(label[8:32, 16:24] == 0, 1, label[8:32, 16:24])
    label[18:22, 16:24] = 0  # background that both classes enclose
    label[18:22, 12:16] = 0
    assert found(tmp_path, label, ending=".png") == [[]]


@pytest.mark.parametrize("ignore", [None, 3])
def test_a_stray_part_is_taken_away_but_not_where_nobody_annotated(tmp_path: Path, ignore: int | None) -> None:
    label = lungs()
    label[5, 1:3, 1:3] = 1
    each = only(found(tmp_path / "a", label)[0], "island")
    assert each.value == 0
    assert each.voxels.size == 4
    if ignore:
        label[5, 1:3, 1:3] = ignore
        assert found(tmp_path / "b", label, ignore=ignore) == [[]]


def test_a_class_of_many_parts_has_no_stray_one(tmp_path: Path) -> None:
    """Where nearly every label holds three lesions, a fourth is none of our business."""
    labels = []
    for n in range(20):
        label = np.zeros((40, 40), np.uint8)
        for row in (5, 15, 25):
            label[row : row + 6, 5:11] = 1
        label[30:34, 30:34] = 1 if n == 3 else 0
        label[5:9, 30 : 34 + n % 2] = 2
        labels.append(label)
    assert not [each for case in found(tmp_path, *labels, ending=".png") for each in case if each.kind == "island"]


def test_a_slice_left_out_is_drawn_from_its_neighbours(tmp_path: Path) -> None:
    label = lungs()
    label[6][label[6] == 1] = 0
    each = only(found(tmp_path, label)[0], "slice_gap")
    filled = label.copy()
    filled.flat[each.voxels] = each.value
    assert (filled == lungs()).all()
    assert "on slice 7," in each.text, "as a person counts"


def test_a_slice_half_left_out(tmp_path: Path) -> None:
    label = lungs()
    label[6, 18:32][label[6, 18:32] == 2] = 0
    each = only(found(tmp_path, label)[0], "slice_gap")
    assert "much smaller on slice 7" in each.text


def test_ends_are_no_gaps(tmp_path: Path) -> None:
    label = lungs()
    label[:6] = 0
    assert found(tmp_path, label) == [[]]


def test_left_and_right_exchanged(tmp_path: Path) -> None:
    swapped = lungs()
    swapped = np.select([swapped == 1, swapped == 2], [2, 1], 0).astype(np.uint8)
    (case,) = found(tmp_path, swapped)
    assert [each.kind for each in case] == ["left_right", "left_right"]
    mended = swapped.copy()
    for each in (whole_class(each, swapped) for each in case):
        mended.flat[each.voxels] = each.value
    assert (mended == lungs()).all()


def population(n: int = 24) -> list[np.ndarray]:
    """Lungs of slightly different size and place."""
    labels = []
    for i in range(n):
        label = np.zeros((40, 40), np.uint8)
        a, b = i % 3, (i // 3) % 3
        label[8 + a : 30 + b, 4 + b : 15 + a] = 2
        label[8 + b : 30 + a, 24 + a : 35 + b] = 1
        labels.append(label)
    return labels


def test_a_sound_population_has_no_finding(tmp_path: Path) -> None:
    assert not any(found(tmp_path, *population(), ending=".png"))


def test_what_stands_out_in_a_population(tmp_path: Path) -> None:
    labels = population()
    labels[0][labels[0] == 1] = 0
    labels[1][:] = 0
    labels[2][labels[2] == 2] = 0
    labels[2][14:16, 8:11] = 2
    cases = found(tmp_path, *labels, ending=".png")
    assert only(cases[0], "absent").class_ == 1
    assert "empty" in only(cases[1], "file").text
    assert {each.kind for each in cases[2]} == {"outlier"}
    assert any("small" in each.text for each in cases[2])
    assert not any(cases[3:])


def test_a_class_that_nobody_else_has(tmp_path: Path) -> None:
    labels = [np.where(label == 2, 0, label).astype(np.uint8) for label in population()]
    labels[5][2:6, 2:6] = 2
    cases = found(tmp_path, *labels, ending=".png")
    assert only(cases[5], "unexpected").class_ == 2


def test_an_edge_that_few_touch(tmp_path: Path) -> None:
    labels = population()
    labels[4][12:20, 35:40] = 1
    kinds = {each.kind for each in found(tmp_path, *labels, ending=".png")[4]}
    assert "border" in kinds


def test_files_that_cannot_be_used_are_findings(tmp_path: Path) -> None:
    data = dataset(tmp_path, [lungs()] * 5)
    other = Geometry((1.0, 1.0, 1.0), PLACE.origin, PLACE.direction)
    write_label(tmp_path / "labelsTr/c00.nii.gz", lungs(), other)
    write_label(tmp_path / "labelsTr/c01.nii.gz", np.full((12, 40, 40), 9, np.uint8), PLACE)
    (tmp_path / "labelsTr/c02.nii.gz").write_bytes(b"no file")
    (tmp_path / "imagesTr/c03_0000.nii.gz").unlink()
    looks = [look(case, data) for case in data.train]
    for each, said in zip(looks, ("spacing", "value 9", "cannot be read", "is missing"), strict=False):
        (broken,) = each.broken
        assert broken.confidence == 1
        assert said in broken.text
        assert not each.shapes
    assert not looks[4].broken


def test_the_same_image_twice(tmp_path: Path) -> None:
    data = dataset(tmp_path, [lungs()] * 3)
    image = (tmp_path / "imagesTr/c00_0000.nii.gz").read_bytes()
    (tmp_path / "imagesTr/c01_0000.nii.gz").write_bytes(image)
    looks = [look(case, data) for case in data.train]
    found_now = compare(looks, data, off({look.case: look.edges for look in looks}, data.labels))
    assert set(found_now) == {"c00", "c01"}
    assert "the same mask" in found_now["c00"][0].text
    apart: list[Look] = [replace(looks[0], files=("x", *looks[0].files[1:])), *looks[1:]]
    assert "another mask" in compare(apart, data, {})["c00"][0].text
