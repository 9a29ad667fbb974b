"""Left and right change places in a mirror image, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskmend.data.augment import AugmentConfig, apply, draw
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.plan import DataConfig, Plan, make_plan
from maskmend.data.sides import Sides, counterparts, sides_of
from maskmend.types import IGNORE, Batch

LUNGS = {"background": 0, "left lung": 1, "right lung": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [("left lung", "right lung"), ("Hippocampus_L", "Hippocampus_R"), ("ctx-lh-cuneus", "ctx-rh-cuneus"),
     ("LeftKidney", "RightKidney"), ("left lateral ventricle", "right lateral ventricle")],
)  # fmt: skip
def test_pairs_by_name(one, other):
    assert counterparts({"background": 0, one: 1, other: 2}) == {one: other, other: one}


@pytest.mark.parametrize("names", [("Anterior", "Posterior"), ("left ventricle", "right ventricle"), ("R", "MYO")])
def test_what_is_no_pair_is_mirrored_as_before(names):
    labels = {"background": 0, names[0]: 1, names[1]: 2}
    assert sides_of(labels, 1, 2, True) == sides_of(labels, "unknown", 3, False) == Sides()


def test_a_class_without_counterpart_spares_the_axis():
    assert sides_of({"background": 0, "left kidney": 1}, 2, 3, False) == Sides(spared=(2,))
    assert sides_of(LUNGS, "unknown", 3, False) == Sides(spared=(0, 1, 2))
    assert sides_of(LUNGS, "across", 2, True) == Sides()


def batch_of(rows: int) -> Batch:
    label = torch.tensor([[0, 1, 1, IGNORE], [2, 0, 1, 0], [0, 2, 0, 0]]).repeat(rows, 1, 1)
    maps = {"refined": label.clone(), "target_1": (label == 1).float(), "target_2": (label == 2).float()}
    maps |= {f"average_{k}": (label == k).float() for k in range(3)} | {"distance": label.float()}
    return Batch(label[:, None].float(), label, torch.zeros(rows).long(), torch.arange(rows), maps)


def test_a_mirrored_patient_has_the_left_on_the_other_side():
    batch, sides = batch_of(16), sides_of(LUNGS, 1, 2, False)
    drawn = draw(AugmentConfig(rotate90=0), 2, range(16), sides)
    moved, plain = apply(batch, drawn), apply(batch, draw(AugmentConfig(rotate90=0), 2, range(16)))
    assert drawn.flip[:, 1].unique().tolist() == [False, True]
    swapped = torch.tensor([0, 2, 1, IGNORE])
    for row in range(16):
        expected = swapped[plain.label[row]] if drawn.flip[row, 1] else plain.label[row]
        assert torch.equal(moved.label[row], expected)
    for k in (1, 2):
        for name in ("target", "average"):
            assert torch.equal(moved.maps[f"{name}_{k}"], (moved.label == k).float())
    assert torch.equal(moved.maps["refined"], moved.label)
    assert torch.equal(moved.image, plain.image)
    assert torch.equal(moved.maps["distance"], plain.maps["distance"])


def test_where_images_are_turned_no_mirror_image_keeps_its_sides():
    """Up and down is left and right, and half a turn: a label set that is a letter F tells them apart."""
    letter = torch.tensor([[1, 1, 1], [1, 2, 0], [1, 0, 0]])
    batch = Batch(torch.zeros(64, 1, 3, 3), letter.repeat(64, 1, 1), torch.zeros(64).long(), torch.arange(64))
    moved = apply(batch, draw(AugmentConfig(), 2, range(64), sides_of(LUNGS, 1, 2, True))).label
    turned = {tuple(letter.rot90(k).flatten().tolist()) for k in range(4)}
    mirrored = {tuple(letter.flip(0).rot90(k).flatten().tolist()) for k in range(4)}
    exchanged = {tuple({0: 0, 1: 2, 2: 1}[v] for v in row) for row in mirrored}
    assert {tuple(row.flatten().tolist()) for row in moved} == turned | exchanged


def made(root: Path, places: list[Geometry]) -> Plan:
    for n, place in enumerate(places):
        array = np.zeros((4, 20, 24), np.uint8)
        array[1:3, 4:9, 4:9], array[1:3, 4:9, 12:20] = 1, 2
        write_image(root / f"imagesTr/c{n}_0000.nii.gz", array.astype(np.int16), place)
        write_label(root / f"labelsTr/c{n}.nii.gz", array, place)
    write_dataset(root, ["MR"], LUNGS, ".nii.gz", len(places))
    data = open_dataset(root)
    return make_plan(data, data.train, DataConfig())


def box(rows: list[list[float]]) -> Geometry:
    return Geometry((3.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.ravel(rows).astype(float)))


UPRIGHT = box([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
OBLIQUE = box([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]])
SIDEWAYS = box([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # x runs to the back, y to the head, z to the left


def test_the_plan_knows_which_axis_is_left_and_right(tmp_path):
    assert made(tmp_path / "a", [UPRIGHT, OBLIQUE]).left_right == 2
    assert made(tmp_path / "b", [SIDEWAYS]).left_right == 0
    mixed = made(tmp_path / "c", [UPRIGHT, SIDEWAYS])
    assert mixed.left_right == "unknown"
    assert "no image is mirrored" in " ".join(mixed.notes)
