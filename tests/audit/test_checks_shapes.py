"""Drawn shapes that are told apart only by how they touch, lie and are stored; and labels at the edge of what is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.audit.test_checks import LABELS, PLACE, found, lungs, only, population

import maskmend
from maskmend.audit import anatomy
from maskmend.audit.checks import look
from maskmend.audit.edges import off
from maskmend.audit.population import compare
from maskmend.audit.store import Doubted
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import read_label, write_image, write_label
from maskmend.data.geometry import Geometry
from maskmend.errors import InputError

BARE = Geometry((3.0, 1.0, 1.0), (0.0, 0.0, 0.0), PLACE.direction)


def seen(root: Path, labels: Sequence[np.ndarray], places: Sequence[Geometry], names: dict[str, int] = LABELS,
         ending: str = ".nii.gz") -> list[list[Doubted]]:  # fmt: skip
    """The findings of each case, of labels that lie at ``places``."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for n, (label, place) in enumerate(zip(labels, places, strict=True)):
        image = np.random.default_rng(n).integers(0, 255, label.shape, dtype=np.uint8)
        write_image(root / "imagesTr" / f"c{n:02d}_0000{ending}", image, place)
        write_label(root / "labelsTr" / f"c{n:02d}{ending}", label, place)
    write_dataset(root, ["CT"], names, ending, len(labels))
    data = open_dataset(root)
    looks = [look(case, data) for case in data.train]
    assert not any(each.broken for each in looks)
    more = compare(looks, data, off({look.case: look.edges for look in looks}, data.labels))
    return [list(more.get(each.case, ())) for each in looks]


@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_what_touches_at_a_corner_is_no_stray_part_and_no_hole_leaks_there(tmp_path: Path, ending: str) -> None:
    label = lungs((40, 40) if ending == ".png" else (12, 40, 40))
    part = label if label.ndim == 2 else label[5]
    part[32, 16] = part[33, 17] = 2
    assert found(tmp_path / "corner", label, ending=ending) == [[]]
    part[20, 10] = 0
    assert only(found(tmp_path / "hole", label, ending=ending)[0], "hole").voxels.size == 1


def test_a_stray_part_within_another_class_becomes_that_class(tmp_path: Path) -> None:
    label = lungs()
    label[5, 10:12, 10:12] = 1
    each = only(found(tmp_path, label)[0], "island")
    assert (each.class_, each.value) == (1, 2)


def test_the_voxels_of_a_part_are_kept_as_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in ((30, 40), (8, 9, 10)):
        label = (rng.random(shape) < 0.3).astype(np.uint8)
        place = Geometry((1.0,) * len(shape))
        for part in anatomy.shapes(label, place)[1].stray:
            inside = np.zeros(shape, bool)
            inside.flat[part.voxels] = True
            assert (np.diff(part.voxels) > 0).all()
            assert (label[inside] == 1).all()
            assert part.share == part.voxels.size / label.sum()
            assert part.around == (0,)  # no more of its class


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_gap_lies_across_the_largest_spacing(tmp_path: Path, axis: int) -> None:
    whole = np.zeros((24, 24, 24), np.uint8)
    whole[4:20, 4:20, 4:20] = 1
    label = whole.copy()
    np.moveaxis(label, axis, 0)[9:11] = 0
    spacing = tuple(2.0 if a == axis else 1.0 for a in range(3))
    each = only(seen(tmp_path, [label], [replace(PLACE, spacing_mm=spacing)], LABELS)[0], "slice_gap")
    label.flat[each.voxels] = each.value
    assert (label == whole).all()
    assert "slices 10 to 11" in each.text


def test_a_gap_is_not_drawn_over_another_class_nor_where_nobody_annotated(tmp_path: Path) -> None:
    label = lungs()
    label[6][label[6] == 1] = 3
    assert found(tmp_path / "ignore", label, ignore=3) == [[]]
    label[6][label[6] == 3] = 2
    assert found(tmp_path / "other", label) == [[]]


def test_a_second_part_is_stray_only_beside_others_that_have_one(tmp_path: Path) -> None:
    """Two lungs of one class are two parts, be it of a single label; but one liver is one."""
    pairs = [np.minimum(label, 1) for label in population()]
    for several in (pairs[:1], pairs[:3], pairs):
        assert not any(found(tmp_path / f"pairs {len(several)}", *several, ending=".png"))
    single = [np.where(label == 2, 0, label).astype(np.uint8) for label in population()]
    single[6][12:18, 4:10] = 1
    each = only(
        [each for each in found(tmp_path / "one", *single, ending=".png")[6] if each.kind == "island"], "island"
    )
    assert each.voxels.size == 36
    assert each.confidence < 0.5


def test_rings_are_no_holes_where_most_labels_have_them(tmp_path: Path) -> None:
    rings = [np.where(label == 2, 0, label).astype(np.uint8) for label in population()]
    for label in rings:
        label[14:24, 28:32] = 0
    rings[3][8, 26] = 1  # as the others
    assert not any(found(tmp_path / "rings", *rings, ending=".png"))
    rings[3][25, 30] = 0
    assert only(found(tmp_path / "slip", *rings, ending=".png")[3], "hole").voxels.size == 1
    assert only(found(tmp_path / "one", rings[0], ending=".png")[0], "hole").confidence < 0.3


def turned(label: np.ndarray, root: Path) -> tuple[np.ndarray, Geometry]:
    """The same label in the same place, stored with all axes exchanged and two of them running the other way."""
    write_label(root, label, PLACE)
    image = nib.load(root)
    order = np.array([[2, -1], [1, -1], [0, 1]])
    nib.save(image.as_reoriented(order), root)
    picture = read_label(root)
    return picture.array, picture.geometry


def test_how_a_label_is_stored_is_of_no_matter(tmp_path: Path) -> None:
    """Neither to its place among the others, nor to left and right, nor to the faces that it touches."""
    labels = [np.zeros((12, 40, 40), np.uint8) for _ in range(24)]
    for label, flat in zip(labels, population(), strict=True):
        label[1:8] = flat
        label[0] = np.where(flat == 1, 1, 0)
    others = [turned(label, tmp_path / "turned.nii.gz") for label in labels[:4]]
    assert others[0][0].shape == (40, 40, 12)
    stored = [*others, *((label, PLACE) for label in labels[4:])]
    assert not any(seen(tmp_path / "data", [label for label, _ in stored], [place for _, place in stored]))


def exchanged(label: np.ndarray) -> np.ndarray:
    return np.select([label == 1, label == 2], [2, 1], 0).astype(np.uint8)


def test_left_and_right_are_not_told_by_a_bare_header_but_beside_the_others(tmp_path: Path) -> None:
    wrong = exchanged(lungs())
    assert seen(tmp_path / "alone", [wrong], [BARE]) == [[]]
    labels = [exchanged(population()[0]), *population()[1:]]
    cases = found(tmp_path / "pictures", *labels, ending=".png")
    assert [each.kind for each in cases[0] if each.kind == "left_right"] == ["left_right"] * 2
    assert not any(cases[1:])


def test_where_many_are_exchanged_it_is_less_sure_which(tmp_path: Path) -> None:
    cases = seen(tmp_path, [exchanged(lungs())] * 3 + [lungs()], [PLACE] * 4)
    assert not cases[3]
    assert {round(each.confidence, 2) for case in cases[:3] for each in case if each.kind == "left_right"} == {0.65}


def test_one_above_the_other_is_not_left_and_right(tmp_path: Path) -> None:
    label = np.zeros((12, 40, 40), np.uint8)
    label[2:10, 4:14, 10:20], label[2:10, 24:34, 12:22] = 1, 2
    assert seen(tmp_path, [label], [PLACE]) == [[]]


@pytest.mark.parametrize("names", [("left_lung", "right_lung"), ("LungLeft", "LungRight"), ("Kidney L", "Kidney R"),
                                   ("l.kidney", "r.kidney"), ("hip-lt", "hip-rt")])  # fmt: skip
def test_names_of_sides(names: tuple[str, str]) -> None:
    assert list(anatomy.pairs({"background": 0, names[1]: 1, names[0]: 2, "liver": 3})) == [(2, 1)]


@pytest.mark.parametrize("names", [("lung", "liver"), ("left lung", "right kidney"), ("lower lobe", "upper lobe")])
def test_names_that_are_no_sides(names: tuple[str, str]) -> None:
    assert not list(anatomy.pairs({"background": 0, names[0]: 1, names[1]: 2}))


# --- labels at the edge of what is ------------------------------------------------------------------------------------


def test_more_than_255_classes(tmp_path: Path) -> None:
    row, column = np.ogrid[:100, :80]
    label = np.stack([1 + row // 5 * 16 + column // 5] * 3).astype(np.uint16)
    label[1, 52, 42] = 0
    names = {"background": 0} | {f"region {k}": k for k in range(1, 321)}
    each = only(seen(tmp_path, [label], [PLACE], names)[0], "hole")
    assert each.class_ == each.value == 1 + 10 * 16 + 8


def test_one_slice_of_a_volume_one_class_and_nothing_at_all(tmp_path: Path) -> None:
    label = lungs((40, 40))[None]
    label[0, 12, 10] = 0
    assert only(seen(tmp_path / "slice", [label], [PLACE])[0], "hole").voxels.size == 1
    full = np.ones((12, 40, 40), np.uint8)
    assert seen(tmp_path / "full", [full] * 2, [PLACE] * 2, {"background": 0, "organ": 1}) == [[], []]
    assert seen(tmp_path / "empty", [0 * full] * 24, [PLACE] * 24) == [[]] * 24


def test_the_same_image_in_another_kind_of_file_is_the_same_image(tmp_path: Path) -> None:
    seen(tmp_path, [lungs()] * 3, [PLACE] * 3)
    image = nib.load(tmp_path / "imagesTr/c00_0000.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), tmp_path / "imagesTr/c02_0000.nii.gz")
    data = open_dataset(tmp_path)
    looks = [look(case, data) for case in data.train]
    assert looks[0].files[1] != looks[2].files[1]
    assert set(compare(looks, data, off({look.case: look.edges for look in looks}, data.labels))) == {"c00", "c02"}


def test_an_image_with_values_that_are_no_numbers_is_a_finding(tmp_path: Path) -> None:
    seen(tmp_path, [lungs()] * 2, [PLACE] * 2)
    image = np.zeros((12, 40, 40), np.float32)
    image[3, 4, 5] = np.nan
    write_image(tmp_path / "imagesTr/c01_0000.nii.gz", image, PLACE)
    data = open_dataset(tmp_path)
    looks = [look(case, data) for case in data.train]
    assert not looks[0].broken
    assert "holds nan at (3, 4, 5)" in looks[1].broken[0].text
    assert not compare(looks, data, off({look.case: look.edges for look in looks}, data.labels))


def test_labels_without_images_are_checked_too(tmp_path: Path) -> None:
    label = lungs()
    label[5, 1:3, 1:3] = 1
    root = tmp_path / "Dataset001_Lungs"
    seen(root, [label, lungs()], [PLACE] * 2)
    shutil.rmtree(root / "imagesTr")
    write_label(root / "labelsTr/c01.nii.gz", np.full((12, 40, 40), 9, np.uint8), PLACE)
    done = maskmend.audit(root, tmp_path / "audit").audit
    assert {row.case: [each.kind for each in done.findings(row.case)] for row in done.rows} == {
        "c00": ["island"], "c01": ["file"]}  # fmt: skip
    with pytest.raises(InputError, match="c00 has no image"):
        done.image("c00")
    with pytest.raises(InputError, match="holds no image"):
        maskmend.audit(root, tmp_path / "crossed", cross=2)
    assert not (tmp_path / "crossed").exists()
    maskmend.mend(tmp_path / "audit", tmp_path / "Dataset002_Mended", accept="all")
    assert (read_label(tmp_path / "Dataset002_Mended/labelsTr/c00.nii.gz").array == lungs()).all()
