"""nnU-Net raw data sets: read as nnU-Net does, and every trouble told in one sentence that names the file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmend.data.dataset import Dataset, case_arrays, open_dataset, write_dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError
from maskmend.types import IGNORE, Trust

FLAT = Geometry((1.0, 1.0))
BOX = Geometry((2.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=tuple(np.eye(3).ravel()))
LABELS = {"background": 0, "lesion": 1}


def make(root: Path, ending: str = ".png", shape: tuple[int, ...] = (6, 8), **labels: int) -> Path:
    """Three training cases a, b, c and one test case t with its label."""
    geometry = FLAT if len(shape) == 2 else BOX
    image = (np.arange(np.prod(shape)) % 200).reshape(shape).astype(np.uint8)
    for part, names in (("Tr", "abc"), ("Ts", "t")):
        for name in names:
            write_image(root / f"images{part}" / f"{name}_0000{ending}", image, geometry)
            write_label(root / f"labels{part}" / f"{name}{ending}", (image > 20).astype(np.uint8), geometry)
    write_dataset(root, ["grey"], LABELS | labels, ending, 3, name="toy")
    return root


def edit(root: Path, **change: Any) -> None:
    path = root / "dataset.json"
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def check(root: Path) -> Dataset:
    dataset = open_dataset(root)
    check_dataset(dataset)
    return dataset


@pytest.mark.parametrize(("ending", "shape"), [(".png", (6, 8)), (".nii.gz", (4, 6, 8)), (".tif", (6, 8))])
def test_a_sound_data_set(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    dataset = check(make(tmp_path / "toy", ending, shape))
    assert dataset.name == "toy"
    assert dataset.classes == 2
    assert dataset.labels == LABELS
    assert dataset.channel_names == ("grey",)
    assert [case.name for case in dataset.train] == ["a", "b", "c"]
    assert all(case.trust is Trust.NOISY and case.label for case in dataset.train)
    (test,) = dataset.test
    assert test.label is None
    assert test.reference == tmp_path / "toy" / "labelsTs" / f"t{ending}"
    image, label = case_arrays(dataset.train[0], dataset)
    assert image.array.shape == (1, *shape)
    assert label.array.shape == shape
    assert set(np.unique(label.array)) == {0, 1}


def test_v1_header_and_an_unlabeled_test_case(tmp_path: Path) -> None:
    root = make(tmp_path, ".nii.gz", (4, 6, 8))
    header = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "lesion"}, "numTraining": 3}
    header["training"] = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    (root / "dataset.json").write_text(json.dumps(header))
    (root / "labelsTs" / "t.nii.gz").unlink()
    dataset = check(root)
    assert dataset.channel_names == ("CT",)
    assert dataset.labels == LABELS
    assert dataset.test[0].reference is None


def test_ignore_becomes_ours(tmp_path: Path) -> None:
    root = make(tmp_path, ignore=2)
    write_label(root / "labelsTr" / "a.png", np.full((6, 8), 2, np.uint8), FLAT)
    dataset = check(root)
    assert dataset.ignore == 2
    assert dataset.labels == LABELS
    assert (case_arrays(dataset.train[0], dataset)[1].array == IGNORE).all()


def test_colour_png_is_one_file_of_three_channels(tmp_path: Path) -> None:
    root = make(tmp_path)
    for path in (*(root / "imagesTr").iterdir(), *(root / "imagesTs").iterdir()):
        write_image(path, np.zeros((3, 6, 8), np.uint8), FLAT)
    with pytest.raises(InputError, match=r"a_0000\.png holds 3 channels, but .* names 1 \(grey\)"):
        check(root)
    edit(root, channel_names={"0": "R", "1": "G", "2": "B"})
    dataset = check(root)
    assert case_arrays(dataset.train[0], dataset)[0].array.shape == (3, 6, 8)


def test_several_channels(tmp_path: Path) -> None:
    root = make(tmp_path)
    edit(root, channel_names={"0": "T1", "1": "T2"})
    for path in (*(root / "imagesTr").iterdir(), *(root / "imagesTs").iterdir()):
        write_image(path.with_name(path.name.replace("_0000", "_0001")), np.ones((6, 8), np.uint8), FLAT)
    dataset = check(root)
    assert case_arrays(dataset.train[0], dataset)[0].array.shape == (2, 6, 8)
    (root / "imagesTr" / "b_0000.png").unlink()
    with pytest.raises(InputError, match=r"b_0000\.png is missing"):
        open_dataset(root)


def test_explicit_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "toy")
    (root / "imagesTr").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("SCANS", "../elsewhere")
    entries = {
        name: {"images": [f"$SCANS/{name}_0000.png"], "label": f"labelsTr/{name}.png"} for name in ("b", "a", "c")
    }
    edit(root, dataset=entries)
    assert [case.name for case in check(root).train] == ["a", "b", "c"]
    entries["c"]["images"] = ["$SCANS/a_0000.png"]
    edit(root, dataset=entries)
    with pytest.raises(InputError, match=r"a_0000\.png is an image of both a and c"):
        open_dataset(root)
    entries["c"]["images"] = ["$SCANS/gone.png"]
    edit(root, dataset=entries)
    with pytest.raises(InputError, match=r"gone\.png, named by case c in dataset\.json, is missing"):
        open_dataset(root)


def test_supervision(tmp_path: Path) -> None:
    root = make(tmp_path)
    table = root / "supervision.csv"
    table.write_text("case,supervision\na,clean\nb,unlabeled\n")
    dataset = open_dataset(root)
    assert [case.trust for case in dataset.train] == [Trust.CLEAN, Trust.UNLABELED, Trust.NOISY]
    assert dataset.train[1].label is None
    assert (case_arrays(dataset.train[1], dataset)[1].array == IGNORE).all()
    for text, words in (
        ("case,supervision\na,good\n", r"line 2: supervision 'good'; use clean"),
        ("case,supervision\naa,clean\n", r"the case aa, .* \(did you mean a\?\)"),
        ("case,supervision\na,clean\na,noisy\n", r"line 3: case a stands there twice"),
        ("name,trust\n", "lacks the columns"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=words):
            open_dataset(root)
    table.unlink()
    (root / "labelsTr" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b_0000\.png has no label .*'b,unlabeled'"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel_names": None}, "lacks channel_names"),
        ({"labels": None}, "lacks labels"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "has 1 region and the regions_class_order None"),
        ({"labels": {"background": 0, "lesion": 2}}, r"values \[0, 2\]; number them"),
        ({"labels": {"background": 0, "lesion": 1, "ignore": 3}}, "ignore the value 3; it must be .* 2"),
        ({"labels": {"background": 0, "lesion": "one"}}, "the value 'one'"),
        ({"file_ending": ".jpg"}, "maskmend prepare"),
        ({"file_ending": ".dcm"}, "not known"),
        ({"file_ending": ".bmp"}, r"imagesTr holds no image CASE_0000\.bmp"),
        ({"numTraining": 4}, "numTraining 4, but there are 3"),
    ],
)
def test_a_bad_header(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    root = make(tmp_path)
    edit(root, **change)
    with pytest.raises(InputError, match=words):
        open_dataset(root)


def test_a_missing_or_broken_header(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json is missing"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": 1, "labels": 2}')
    with pytest.raises(InputError, match="names 'labels' twice"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["imagesTr/b_0000.png", "labelsTr/b.png", "imagesTs/t_0000.png", "labelsTs/t.png"])
def test_endings_in_capitals_are_not_passed_over(tmp_path: Path, name: str) -> None:
    path = make(tmp_path) / name
    path.rename(path.with_suffix(".PNG"))
    edit(tmp_path, numTraining=None)
    with pytest.raises(
        InputError, match=r"\.PNG has its ending in capitals, dataset\.json says \.png; rename the file"
    ):
        open_dataset(tmp_path)


def test_misnamed_and_orphaned_files(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "imagesTr" / "d.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"d\.png has no channel number; name it d_0000\.png"):
        open_dataset(root)
    (root / "imagesTr" / "d.png").unlink()
    (root / "imagesTr" / "a_0000.png").unlink()
    with pytest.raises(InputError, match=r"labelsTr/a\.png has no image"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (np.zeros((6, 7), np.uint8), r"labelsTr/b\.png has the shape \(6, 7\), but its image b_0000\.png has \(6, 8\)"),
        (np.full((6, 8), 255, np.uint8), r"b\.png holds the value 255, which dataset\.json .* 0/255 mask"),
        (np.full((6, 8), 7, np.uint8), r"b\.png holds the value 7, which"),
    ],
)
def test_a_bad_label(tmp_path: Path, label: np.ndarray, words: str) -> None:
    root = make(tmp_path)
    write_label(root / "labelsTr" / "b.png", label, FLAT)
    with pytest.raises(InputError, match=words):
        check(root)
    dataset = open_dataset(root)
    check_dataset(dataset, dataset.train[:1])


def test_nan_spacing_and_place(tmp_path: Path) -> None:
    root = make(tmp_path, ".nii.gz", (4, 6, 8))
    label = np.ones((4, 6, 8), np.uint8)
    moved = Geometry(BOX.spacing_mm, origin=(5.0, 0.0, 0.0), direction=BOX.direction)
    write_label(root / "labelsTr" / "a.nii.gz", label, moved)
    with pytest.warns(UserWarning, match=r"origin or direction in 1 cases \(a\)"):
        check(root)
    wide = Geometry((3.0, 1.0, 1.0), origin=BOX.origin, direction=BOX.direction)
    write_label(root / "labelsTr" / "a.nii.gz", label, wide)
    with pytest.raises(InputError, match=r"a\.nii\.gz has the spacing 3 × 1 × 1 mm, but .* 2 × 1 × 1 mm"):
        check(root)
    image = np.zeros((4, 6, 8), np.float32)
    image[1, 2, 3] = np.nan
    write_image(root / "imagesTr" / "a_0000.nii.gz", image, BOX)
    with pytest.raises(InputError, match=r"a_0000\.nii\.gz holds nan at \(1, 2, 3\)"):
        check(root)
    (root / "imagesTr" / "a_0000.nii.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a_0000\.nii\.gz cannot be read"):
        check(root)


def test_the_reference_of_a_test_case_is_checked_too(tmp_path: Path) -> None:
    root = make(tmp_path)
    write_label(root / "labelsTs" / "t.png", np.full((6, 8), 9, np.uint8), FLAT)
    with pytest.raises(InputError, match=r"labelsTs/t\.png holds the value 9"):
        check(root)


def test_a_flat_case_among_volumes(tmp_path: Path) -> None:
    root = make(tmp_path, ".nii.gz", (4, 6, 8))
    write_image(root / "imagesTr" / "b_0000.nii.gz", np.zeros((1, 6, 8), np.uint8), BOX)
    write_label(root / "labelsTr" / "b.nii.gz", np.zeros((1, 6, 8), np.uint8), BOX)
    with pytest.raises(InputError, match=r"b_0000\.nii\.gz is 2D, but case a is 3D"):
        check(root)


def test_a_sound_data_set_raises_no_warning(tmp_path: Path) -> None:
    root = make(tmp_path, ".mha", (4, 6, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(root)


def test_a_name_longer_than_any_file_is_told_in_short(tmp_path: Path) -> None:
    entry = {"case00": {"images": ["9" * 5000 + ".png"], "label": "a.png"}}
    write_dataset(tmp_path, ["grey"], {"background": 0, "part": 1}, ".png", 1, dataset=entry)
    with pytest.raises(InputError, match="named by case case00") as refused:
        open_dataset(tmp_path)
    assert len(str(refused.value)) < 500
