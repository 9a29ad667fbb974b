"""Headers of NRRD and MetaImage name files of their own folder only; Slicer's segments are a label map."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import read_image, read_label
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError
from maskmend.prepare import prepare
from maskmend.prepare.arrays import read_volume
from maskmend.verbs.fuse import fuse
from maskmend.verbs.simulate import simulate

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def meta(path: Path, said: str) -> Path:
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "DimSize = 4 3 2",
        "ElementType = MET_UCHAR",
        f"ElementDataFile = {said}",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def nrrd(path: Path, said: str) -> Path:
    path.write_text(f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 3 2\nencoding: raw\ndata file: {said}\n")
    return path


def read(path: Path) -> np.ndarray:
    return read_volume(path).array if path.suffix == ".mhd" else read_image([path]).array[0]


KINDS = [(meta, "a.mha"), (meta, "a.mhd"), (nrrd, "a.nrrd")]


@pytest.mark.parametrize(("write", "name"), KINDS)
def test_data_beside_the_header_are_read_and_data_elsewhere_are_not(tmp_path: Path, write, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    VALUES.tofile(home / "a.raw")
    VALUES.tofile(tmp_path / "secret.raw")
    for place, part in enumerate(VALUES):
        part.tofile(home / f"s{place}.raw")
        part.tofile(tmp_path / f"s{place}.raw")
    (home / "link.raw").symlink_to("../secret.raw")
    (home / "sub").symlink_to("..")
    many = " 0 1 1" + " 2" * (write is nrrd)
    for said in ("a.raw", "LIST 2\ns0.raw\ns1.raw" if write is nrrd else "LIST\ns0.raw\ns1.raw", f"s%d.raw{many}"):
        np.testing.assert_array_equal(read(write(home / name, said)), VALUES)
    os.mkfifo(home / "pipe.raw")
    outside = ["../secret.raw", str(tmp_path / "secret.raw"), "link.raw", "sub/secret.raw", f"../s%d.raw{many}"]
    outside += [f"LIST{' 2' * (write is nrrd)}\ns0.raw\n../s1.raw", f"sub/s%01d.raw{many}"]
    for said in outside:
        with pytest.raises(
            InputError, match=rf"{name} takes its data from .*, outside its folder; save it in one file"
        ):
            read(write(home / name, said))
    for said in ("pipe.raw", "none.raw", f"n%d.raw{many}"):
        with pytest.raises(InputError, match=r"takes its data from .*, which is missing; add it"):
            read(write(home / name, said))


@pytest.mark.parametrize(("ending", "name"), [(".mha", "a.MHA"), (".nrrd", "a.NRRD"), (".nrrd", "a.mha")])
def test_a_file_is_what_it_begins_with(tmp_path: Path, ending: str, name: str) -> None:
    image = sitk.GetImageFromArray(VALUES)
    image.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(image, tmp_path / f"x{ending}")
    (tmp_path / f"x{ending}").rename(tmp_path / name)
    label = read_label(tmp_path / name)
    np.testing.assert_array_equal(label.array, VALUES)
    assert label.geometry.spacing_mm == (3.0, 2.0, 1.0)


def test_a_header_is_not_copied_without_its_data(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        nrrd(tmp_path / "raw" / folder / "a.nrrd", "a.raw")
        (VALUES if folder == "images" else VALUES % 2).tofile(tmp_path / "raw" / folder / "a.raw")
    dataset = prepare(tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(read_image(dataset.train[0].images).array[0], VALUES)
    np.testing.assert_array_equal(read_label(dataset.train[0].label).array, VALUES % 2)


@pytest.mark.parametrize("verb", [simulate, fuse])
@pytest.mark.parametrize(("write", "ending"), [(meta, ".mha"), (nrrd, ".nrrd")])
def test_a_data_set_made_of_another_holds_the_data(tmp_path: Path, write, ending: str, verb) -> None:
    source = tmp_path / "raw"
    rater = "labelsTr_raters/one[1]"
    for folder, name, values in (
        ("imagesTr", "a_0000", VALUES),
        ("labelsTr", "a", VALUES % 2),
        (rater, "a", VALUES % 2),
    ):
        (source / folder).mkdir(parents=True)
        write(source / folder / f"{name}{ending}", f"[1]_%d.raw 0 1 1{' 2' * (write is nrrd)}")
        for place, part in enumerate(values):
            part.tofile(source / folder / f"[1]_{place}.raw")
    write_dataset(source, ["x"], {"background": 0, "a": 1}, ending, 1)
    verb(source, tmp_path / "out", **({"noise": "missing"} if verb is simulate else {}))
    shutil.rmtree(source)
    made = open_dataset(tmp_path / "out")
    check_dataset(made)
    np.testing.assert_array_equal(read_image(made.train[0].images).array[0], VALUES)
    if verb is fuse:
        np.testing.assert_array_equal(read_label(made.train[0].raters[0]).array, VALUES % 2)


def layered(path: Path, layers: np.ndarray, said: dict[str, object]) -> Path:
    """As Slicer writes segments: a list of layers (C, D, H, W), and what they are."""
    sizes = " ".join(map(str, layers.shape[:1] + layers.shape[:0:-1]))
    lines = ["NRRD0004", "type: uchar", "dimension: 4", "space: left-posterior-superior", f"sizes: {sizes}"]
    lines += ["space directions: none (1,0,0) (0,1,0) (0,0,2)", "kinds: list domain domain domain", "encoding: raw"]
    lines += ["space origin: (0,0,0)", *(f"{key}:={value}" for key, value in said.items()), "", ""]
    path.write_bytes("\n".join(lines).encode() + np.ascontiguousarray(np.moveaxis(layers, 0, -1)).tobytes())
    return path


def test_segments_of_slicer(tmp_path: Path) -> None:
    first, second = (VALUES > 20).astype(np.uint8), (VALUES < 5).astype(np.uint8)
    shared = np.stack([first + 2 * second, 1 * (VALUES == 9).astype(np.uint8)])
    path = tmp_path / "a.seg.nrrd"
    said = {
        f"Segment{n}_{key}": value
        for n, two in enumerate(((1, 0), (2, 0), (1, 1)))
        for key, value in zip(("LabelValue", "Layer"), two, strict=True)
    }
    expected = first + 2 * second + 3 * (VALUES == 9)
    label = read_label(layered(path, shared, said))
    np.testing.assert_array_equal(label.array, expected)
    assert label.geometry.spacing_mm == (2.0, 1.0, 1.0)
    np.testing.assert_array_equal(read_label(layered(path, np.stack([first, second]), {})).array, first + 2 * second)
    with pytest.raises(InputError, match=r"a\.seg\.nrrd has segments that overlap"):
        read_label(layered(path, np.stack([first, first]), {}))


def test_slicers_masks_pair_with_their_images(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "raw/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw/masks").mkdir(exist_ok=True)
        image = sitk.GetImageFromArray(VALUES)
        image.SetSpacing((1.0, 1.0, 2.0))
        sitk.WriteImage(image, tmp_path / f"raw/images/{name}.nrrd")
        first, second = (VALUES > 20).astype(np.uint8), (VALUES < 5).astype(np.uint8)
        layered(tmp_path / f"raw/masks/{name}.seg.nrrd", np.stack([first, second]), {})
    dataset = prepare(tmp_path / "raw", tmp_path / "out")
    assert [case.name for case in dataset.train] == ["a", "b"]
    layered(tmp_path / "raw/masks/a.seg.nrrd", (VALUES > 20)[None, 1:, 2:].astype(np.uint8), {})  # cropped
    path = tmp_path / "raw/masks/a.seg.nrrd"
    path.write_bytes(path.read_bytes().replace(b"origin: (0,0,0)", b"origin: (0,2,2)"))
    cropped = prepare(tmp_path / "raw", tmp_path / "cropped")
    check_dataset(cropped)
    np.testing.assert_array_equal(read_label(cropped.train[0].label).array, VALUES > 20)
    np.testing.assert_array_equal(read_label(dataset.train[0].label).array, first + 2 * second)
