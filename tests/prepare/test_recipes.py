"""Recipes: tiny stand-ins with the layout of each archive become data sets; what is missing is told."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from maskmend.data.dataset import Case, Dataset, open_dataset
from maskmend.data.formats import Picture, read_image, read_label
from maskmend.data.layout import read_supervision
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError
from maskmend.prepare import prepare_recipe
from maskmend.prepare.recipes import find, recipes
from maskmend.prepare.recipes.base import dealt
from maskmend.prepare.recipes.la2018 import TEST
from maskmend.prepare.sources import Pair
from maskmend.types import Trust


def made(name: str, archive: Path, seed: int = 0) -> Dataset:
    """The data set of an archive that is not whole, checked. The archive stays as it was."""
    before = sorted(archive.rglob("*"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dataset = prepare_recipe(name, archive, archive.parent / f"{name}_{seed}", partial=True, seed=seed)
    assert sorted(archive.rglob("*")) == before
    assert any("the papers' numbers are of all" in str(each.message) for each in said)
    check_dataset(dataset)
    assert not list(archive.parent.glob(".*")), "nothing that was made on the way is left"
    return dataset


def disk(size: tuple[int, int], radius: float = 0.3, at: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """A mask of 0 and 255 with a disk, (H, W) uint8."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    far = np.hypot(rows / size[0] - at[0], columns / size[1] - at[1])
    return np.where(far < radius, 255, 0).astype(np.uint8)


def colours(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A colour picture, (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image_of(case: Case) -> Picture:
    return read_image(case.images)


def label_of(case: Case) -> np.ndarray:
    """The label of a case to learn from, or the reference of one to test on."""
    path = case.label or case.reference
    assert path is not None
    return read_label(path).array


def refused(name: str, archive: Path, match: str) -> None:
    """An archive that is not taken, partial or not; nothing is left."""
    output = archive.parent / "refused"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=match):
            prepare_recipe(name, archive, output, partial=True)
    assert not output.exists()
    assert not list(archive.parent.glob(".*"))


def about(dataset: Dataset) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((dataset.root / "dataset.json").read_text())
    return content


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_says_what_one_must_know(name: str) -> None:
    recipe = find(name)
    assert recipe.name == name
    assert recipe.home.startswith("https://")
    for text in (recipe.title, recipe.terms, recipe.cite, recipe.layout, recipe.makes):
        assert len(text) > 3


def test_an_unknown_name_and_a_missing_archive_are_told(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"there is no recipe 'kvasir' \(did you mean kvasir_seg\?\); take one of acdc, "
    ):
        prepare_recipe("kvasir", tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="does not exist; name the archive"):
        prepare_recipe("kvasir_seg", tmp_path / "none.zip", tmp_path / "out")
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"cannot be unpacked .*; get it anew"):
        prepare_recipe("kvasir_seg", tmp_path / "bad.zip", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no images/\*\.jpg; Kvasir-SEG has 1000 .*: get it from https"):
        prepare_recipe("kvasir_seg", tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="which is never changed; choose a folder outside"):
        prepare_recipe("kvasir_seg", tmp_path / "empty", tmp_path / "empty" / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", recipes())
def test_a_folder_of_something_else_is_no_archive(name: str, tmp_path: Path) -> None:
    save(tmp_path / "archive" / "holiday.jpg", colours((8, 8)))
    refused(name, tmp_path / "archive", rf"archive holds no .*; {find(name).title} has .*: get it from https://")


def test_an_archive_that_is_not_whole_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    archive = kvasir(tmp_path / "archive")
    with pytest.raises(
        InputError, match=r"holds 4 of 1000 images/\*\.jpg; get the whole archive from https.* --partial"
    ):
        prepare_recipe("kvasir_seg", archive, tmp_path / "out")
    (archive / "Kvasir-SEG/masks/cju0.jpg").unlink()
    refused("kvasir_seg", archive, r"cju0\.jpg has no .*masks/cju0\.jpg; unpack the archive from https")


def test_cases_are_dealt_by_seed_and_patients_stay_whole() -> None:
    pairs = [Pair(f"p{patient}_{slice_}", (), None) for patient in range(10) for slice_ in range(patient + 1)]

    def patient(name: str) -> str:
        return name.split("_")[0]

    source = dealt(pairs, train=40, test=15, seed=4, group=patient)
    assert abs(len(source.test) - 15) <= 5, "to half of the largest patient"
    assert len(source.train) + len(source.test) == 55
    assert not {patient(pair.name) for pair in source.train} & {patient(pair.name) for pair in source.test}
    assert source.about["split"] == "drawn by seed 4, patients whole; the paper counts 40 and 15"
    again, other = (dealt(pairs, train=40, test=15, seed=seed, group=patient) for seed in (4, 5))
    assert source.test == again.test != other.test
    assert len(dealt(pairs[:20], train=75, test=25, seed=0).test) == 5, "the same share of fewer cases"
    few = dealt(pairs[-19:], train=40, test=2, seed=0, group=patient)
    assert {len(few.train), len(few.test)} == {9, 10}, "a patient on each side, however large"
    assert not dealt(pairs[-9:], train=40, test=15, seed=0, group=patient).test, "one patient is learnt from"


# --- each data set ----------------------------------------------------------------------------------------------------


def kvasir(root: Path) -> Path:
    for number in range(4):
        save(root / f"Kvasir-SEG/images/cju{number}.jpg", colours((80, 100), number))
        save(root / f"Kvasir-SEG/masks/cju{number}.jpg", np.repeat(disk((80, 100))[..., None], 3, axis=2))
    return root


def test_kvasir_seg(tmp_path: Path) -> None:
    kvasir(tmp_path / "archive")
    shutil.make_archive(str(tmp_path / "kvasir-seg"), "zip", tmp_path / "archive")
    dataset = made("kvasir_seg", tmp_path / "kvasir-seg.zip")
    assert (len(dataset.train), len(dataset.test)) == (3, 1)
    for case in dataset.train + dataset.test:
        assert image_of(case).array.shape == (3, 256, 256)
        assert label_of(case).shape == (256, 256)
        assert label_of(case).mean() == pytest.approx(np.pi * 0.3**2, rel=0.02)
    other = made("kvasir_seg", tmp_path / "kvasir-seg.zip", seed=3)
    assert {case.name for case in other.test} != {case.name for case in dataset.test}
    assert open_dataset(dataset.root).labels == {"background": 0, "foreground": 1}
    told = about(dataset)
    assert (told["source"], told["seed"]) == ("Kvasir-SEG", 0)
    assert told["split"] == "drawn by seed 0; the paper counts 700 and 300"
    assert told["terms"].startswith("free for research")


def test_isic2017_of_a_folder_of_zips(tmp_path: Path) -> None:
    for part, count in {"Training": 3, "Test_v2": 2}.items():
        for number in range(count):
            name = f"ISIC_{number:07d}" if part == "Training" else f"ISIC_{number:07d}9"
            images, masks = f"ISIC-2017_{part}_Data", f"ISIC-2017_{part}_Part1_GroundTruth"
            save(tmp_path / "raw" / images / f"{name}.jpg", colours((120, 160), number))
            save(tmp_path / "raw" / images / f"{name}_superpixels.png", colours((120, 160)))
            save(tmp_path / "raw" / masks / f"{name}_segmentation.png", disk((120, 160)))
    archive = tmp_path / "archive"
    for folder in sorted((tmp_path / "raw").iterdir()):
        shutil.make_archive(str(archive / folder.name), "zip", tmp_path / "raw", folder.name)
    (archive / "unrelated.zip").write_bytes(b"not for the recipe")
    dataset = made("isic2017", archive)
    assert [case.name for case in dataset.train] == ["ISIC_0000000", "ISIC_0000001", "ISIC_0000002"]
    assert len(dataset.test) == 2
    assert image_of(dataset.train[0]).array.shape == (3, 128, 128)
    assert label_of(dataset.test[0]).mean() == pytest.approx(np.pi * 0.3**2, rel=0.03)
    again = made("isic2017", tmp_path / "raw", seed=1)
    np.testing.assert_array_equal(image_of(again.train[1]).array, image_of(dataset.train[1]).array)
    (tmp_path / "raw/ISIC-2017_Test_v2_Part1_GroundTruth/ISIC_00000009_segmentation.png").unlink()
    refused("isic2017", tmp_path / "raw", r"ISIC_00000009\.jpg has no file ISIC_00000009_segmentation\.png")


SIDES = {"left lung": 0.25, "right lung": 0.75, "heart": 0.5, "left clavicle": 0.3, "right clavicle": 0.7}


def jsrt(root: Path) -> Path:
    """Two radiographs, brighter from left to right; structures are disks whose column tells which one it is."""
    ramp = np.broadcast_to(np.arange(2048, dtype=">u2") * 2, (2048, 2048))
    for name in ("JPCLN001", "JPCNN002"):
        (root / "All247images").mkdir(parents=True, exist_ok=True)
        (4095 - ramp).astype(">u2").tofile(root / "All247images" / f"{name}.IMG")
        for structure, column in SIDES.items():
            at, radius = ((0.15, 0.05) if "clavicle" in structure else (0.5, 0.1)), 0.0
            mask = disk((1024, 1024), radius or at[1], (at[0], column))
            save(root / f"scratch/fold{name[-1]}/masks/{structure}/{name}.gif", mask)
    return root


def test_jsrt(tmp_path: Path) -> None:
    archive = jsrt(tmp_path / "archive")
    lungs, heart, clavicles, every = (
        made(name, archive) for name in ("jsrt_lung", "jsrt_heart", "jsrt_clavicle", "jsrt")
    )
    image = image_of(lungs.train[0]).array
    assert image.shape == (1, 256, 256)
    assert (image[0, :, 0].max(), image[0, :, -1].min()) == (0, 255), "dark is bright in the files"
    area = np.pi * 0.1**2
    assert label_of(lungs.train[0]).mean() == pytest.approx(2 * area, rel=0.03)
    assert label_of(heart.train[0]).mean() == pytest.approx(area, rel=0.03)
    assert label_of(clavicles.train[0]).shape == image_of(clavicles.train[0]).array.shape[1:] == (96, 224)
    assert label_of(clavicles.train[0]).sum() == pytest.approx(2 * np.pi * 0.05**2 * 256**2, rel=0.03)
    assert every.labels == {"background": 0, "lung": 1, "heart": 2, "clavicle": 3}
    assert [(label_of(every.train[0]) == value).any() for value in range(4)] == [True] * 4
    assert lungs.labels == {"background": 0, "lung": 1}
    assert lungs.test[0].name == heart.test[0].name == clavicles.test[0].name == every.test[0].name
    path = archive / "All247images/JPCLN001.IMG"
    path.write_bytes(path.read_bytes()[:-2])
    refused("jsrt_heart", archive, r"JPCLN001\.IMG holds 8388606 bytes, not 8388608; unpack")
    np.full((2048, 2048), 4096, ">u2").tofile(path)
    refused("jsrt_heart", archive, "holds the value 4096, beyond 12 bits")
    shutil.rmtree(archive / "scratch")
    refused("jsrt_lung", archive, "holds no masks/left lung/JPC")


def test_shenzhen_and_montgomery(tmp_path: Path) -> None:
    archive, size = tmp_path / "archive", (90, 110)
    for number in range(1, 6):
        grey = colours(size, number)[..., :1].repeat(3, 2)
        save(archive / f"ChinaSet_AllFiles/CXR_png/CHNCXR_000{number}_0.png", grey)
        save(archive / f"MontgomerySet/CXR_png/MCUCXR_000{number}_1.png", grey[..., 0])
        if number < 5:
            save(archive / f"mask/CHNCXR_000{number}_0_mask.png", disk(size, 0.2))
        for side, column in (("leftMask", 0.25), ("rightMask", 0.75)):
            save(archive / f"MontgomerySet/ManualMask/{side}/MCUCXR_000{number}_1.png", disk(size, 0.2, (0.5, column)))
    china, county = made("shenzhen", archive), made("montgomery", archive)
    assert (len(china.train), len(china.test)) == (3, 1), "the fifth image has no mask"
    assert (len(county.train), len(county.test)) == (4, 1)
    assert china.channel_names == county.channel_names == ("grey",)
    assert image_of(china.train[0]).array.shape == (1, 256, 256)
    assert label_of(county.train[0]).mean() == pytest.approx(2 * label_of(china.train[0]).mean(), rel=0.03)
    save(archive / "mask/CHNCXR_0001_0_mask.png", disk((90, 100)))
    refused(
        "shenzhen", archive, r"mask\.png has the shape \(90, 100\), but its image CHNCXR_0001_0\.png has \(90, 110\)"
    )
    (archive / "ChinaSet_AllFiles/CXR_png/CHNCXR_0002_0.png").unlink()
    refused("shenzhen", archive, r"CHNCXR_0002_0_mask\.png has no file CHNCXR_0002_0\.png")


def test_breast_ultrasound(tmp_path: Path) -> None:
    """BUS-UC keeps every case twice, BUSI several masks of one image."""
    first, second = tmp_path / "bus_uc_raw", tmp_path / "busi_raw"
    for number in range(1, 5):
        for folder in ("All", "Benign"):
            save(first / f"BUS_UC/{folder}/images/00{number}.png", colours((256, 256), number)[..., 0])
            save(first / f"BUS_UC/{folder}/masks/00{number}.png", disk((256, 256), 0.2))
        for kind in ("benign", "malignant", "normal"):
            case = second / f"Dataset_BUSI_with_GT/{kind}/{kind} ({number})"
            save(case.with_name(f"{case.name}.png"), colours((70, 90), number))
            save(case.with_name(f"{case.name}_mask.png"), disk((70, 90), 0.2 * (kind != "normal"), (0.5, 0.25)))
    save(second / "Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png", disk((70, 90), 0.2, (0.5, 0.75)))
    dataset, other = made("bus_uc", first), made("busi", second)
    assert (len(dataset.train), len(dataset.test)) == (3, 1)
    assert dataset.channel_names == ("grey",)
    names = {case.name: case for case in other.train + other.test}
    assert set(names) == {f"{kind} ({number})" for kind in ("benign", "malignant") for number in range(1, 5)}
    one, two = label_of(names["benign (2)"]).sum(), label_of(names["benign (1)"]).sum()
    assert two == pytest.approx(2 * one, rel=0.05)


FORMS: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "1 bit": lambda mask: Image.fromarray(mask > 0),
    "0 and 1": lambda mask: Image.fromarray(mask // 255),
    "0 and 255": Image.fromarray,
    "palette": lambda mask: Image.fromarray(mask).convert("P"),
    "white first": lambda mask: white_first(mask),
    "colour": lambda mask: Image.fromarray(np.repeat(mask[..., None], 3, 2)),
    "opaque": lambda mask: Image.fromarray(mask).convert("LA"),
    "smooth": lambda mask: Image.fromarray(mask).resize((51, 67)).resize(mask.shape[::-1], Image.Resampling.BICUBIC),
}
"""How archives save a mask of 0 and 255; BUSI's are of 1 bit."""


def white_first(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(1 - mask // 255).convert("L")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    return picture


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["busi", "shenzhen", "isic2017", "bus_uc", "montgomery", "kvasir_seg"])
def test_masks_are_read_however_they_were_saved(tmp_path: Path, name: str, form: str) -> None:
    root, size = tmp_path / "archive", (70, 90)
    places = {
        "busi": ("benign/benign (1).png", "benign/benign (1)_mask.png"),
        "shenzhen": ("CXR_png/CHNCXR_0001_0.png", "mask/CHNCXR_0001_0_mask.png"),
        "isic2017": (
            "ISIC-2017_Training_Data/ISIC_1.jpg",
            "ISIC-2017_Training_Part1_GroundTruth/ISIC_1_segmentation.png",
        ),
        "bus_uc": ("All/images/1.png", "All/masks/1.png"),
        "montgomery": ("CXR_png/MCUCXR_1.png", "ManualMask/leftMask/MCUCXR_1.png"),
        "kvasir_seg": ("images/1.jpg", "masks/1.jpg"),
    }
    if name == "kvasir_seg" and form in ("1 bit", "0 and 1", "palette", "white first", "opaque"):
        return  # its masks are JPEG
    for number in "12":
        image, mask = (root / place.replace("1.", f"{number}.").replace("_1_", f"_{number}_") for place in places[name])
        image, mask = (
            Path(str(path).replace("(1)", f"({number})").replace("0001", f"000{number}")) for path in (image, mask)
        )
        save(image, colours(size))
        mask.parent.mkdir(parents=True, exist_ok=True)
        FORMS[form](disk(size, 0.3)).save(mask)
        if name == "montgomery":
            save(root / f"ManualMask/rightMask/{mask.name}", disk(size, 0))
        if name == "busi":
            other = [
                root / place.replace("benign", "malignant").replace("(1)", f"({number})") for place in places[name]
            ]
            save(other[0], colours(size))
            other[1].parent.mkdir(exist_ok=True)
            FORMS[form](disk(size, 0.3)).save(other[1])
        if name == "isic2017":
            test = [
                str(path).replace("Training", "Test_v2").replace(f"ISIC_{number}", f"ISIC_{number}9")
                for path in (image, mask)
            ]
            for path, other_path in zip((image, mask), test, strict=True):
                Path(other_path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, other_path)
    dataset = made(name, root)
    for case in dataset.train + dataset.test:
        assert label_of(case).mean() == pytest.approx(np.pi * 0.3**2, rel=0.05)


def test_busi_of_the_copy_with_two_folders(tmp_path: Path) -> None:
    """Images and masks of one name, or the masks with the suffix of the first copy."""
    root = tmp_path / "archive"
    for number in range(1, 4):
        for kind, suffix in (("benign", ""), ("malignant", "_mask")):
            save(root / f"{kind}/images/{number}.png", colours((70, 90), number))
            FORMS["1 bit"](disk((70, 90), 0.2)).save(place := root / f"{kind}.png")
            (root / kind / "mask").mkdir(exist_ok=True)
            place.rename(root / kind / "mask" / f"{number}{suffix}.png")
    dataset = made("busi", root)
    names = {case.name for case in dataset.train + dataset.test}
    assert names == {f"{kind}_{number}" for kind in ("benign", "malignant") for number in range(1, 4)}
    (root / "benign/mask/2.png").unlink()
    refused("busi", root, r"benign/images/2\.png has no .*benign/mask/2_mask\.png")


def test_masks_that_hold_more_or_nothing_are_refused(tmp_path: Path) -> None:
    root = kvasir(tmp_path / "archive")
    for number in range(3):
        save(root / f"Kvasir-SEG/masks/cju{number}.jpg", disk((80, 100), 0))
    refused(
        "kvasir_seg",
        root,
        r"refused: 3 of 4 masks are empty \(.*\), too many to be right; look at how they were saved\.",
    )
    busi = tmp_path / "busi"
    for kind in ("benign", "malignant"):
        save(busi / f"{kind}/{kind} (1).png", colours((70, 90)))
        save(busi / f"{kind}/{kind} (1)_mask.png", disk((70, 90)) // 255 + disk((70, 90), 0.1) // 255)
    refused("busi", busi, r"masks hold the values \[0, 1, 2\] where background and one structure are expected")
    patient = tmp_path / "acdc/training/patient001"
    volume(patient / "patient001_frame01.nii.gz", noise((3, 20, 20)))
    volume(patient / "patient001_frame01_gt.nii.gz", np.full((3, 20, 20), 7, np.uint8))
    refused("acdc", tmp_path / "acdc", r"_gt\.nii\.gz holds the value 7, where 0, 1, 2, 3 are expected")


def volume(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (0.7, 0.7, 3.0)) -> None:
    """A volume (D, H, W) with its place in space; ``spacing`` with x first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((10.0, -20.0, 30.0))
    sitk.WriteImage(image, str(path), True)


def ball(shape: tuple[int, int, int], value: int = 1) -> np.ndarray:
    """A mask (D, H, W) with a ball a little off the centre."""
    places = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"))
    return ((np.square(places - np.reshape((0.5, 0.4, 0.55), (3, 1, 1, 1))).sum(0) < 0.15**2) * value).astype(np.uint8)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


def test_brats2020(tmp_path: Path) -> None:
    root = tmp_path / "archive/MICCAI_BraTS2020_TrainingData"
    shape = (6, 8, 10)
    for number in (1, 2, 3, 355):
        name = f"BraTS20_Training_{number:03d}"
        for place, word in enumerate(("t1", "t2", "t1ce", "flair")):
            volume(root / name / f"{name}_{word}.nii", noise(shape, place))
        label = np.zeros(shape, np.int16)
        label[2, 2], label[3, 3], label[4, 4] = 1, 2, 4
        volume(root / name / (f"{name}_seg.nii" if number < 355 else "W39_1998.09.19_Segm.nii"), label)
    dataset = made("brats2020", tmp_path / "archive")
    assert dataset.channel_names == ("T1", "T2", "T1ce", "FLAIR")
    assert dataset.labels == {"background": 0, "tumour": 1}
    image = image_of(dataset.train[0])
    np.testing.assert_array_equal(image.array, [noise(shape, place) for place in range(4)])
    assert image.geometry.spacing_mm == pytest.approx((3.0, 0.7, 0.7))
    assert image.geometry.origin == pytest.approx((10, -20, 30))
    assert label_of(dataset.test[0]).sum() == 30
    (root / "BraTS20_Training_002/BraTS20_Training_002_t1ce.nii").unlink()
    refused("brats2020", tmp_path / "archive", r"BraTS20_Training_002_flair\.nii has no .*_t1ce\.nii; unpack")


def test_acdc(tmp_path: Path) -> None:
    for part, first in (("training", 1), ("testing", 101)):
        for number in range(first, first + 4):
            for frame in (1, 12):
                place = tmp_path / f"archive/{part}/patient{number:03d}/patient{number:03d}_frame{frame:02d}"
                shape = (5, 150, 120)
                label = ball(shape, 3)
                label[:, :70] = np.where(label[:, :70] > 0, 1, 0)
                label[2, 60, 60] = 2
                volume(place.with_name(f"{place.name}.nii.gz"), noise(shape, number), (1.5, 1.5, 10.0))
                volume(place.with_name(f"{place.name}_gt.nii.gz"), label, (1.5, 1.5, 10.0))
    dataset, whole = made("acdc", tmp_path / "archive"), made("acdc_volumes", tmp_path / "archive")
    assert dataset.labels == {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    assert len(dataset.train) + len(dataset.test) == 4 * 2 * 5
    assert len(dataset.test) == 10, "one patient of four"
    assert not {c.name.split("_")[0] for c in dataset.train} & {c.name.split("_")[0] for c in dataset.test}
    assert image_of(dataset.train[0]).array.shape == (1, 128, 128)
    assert {int(v) for case in dataset.train for v in np.unique(label_of(case))} == {0, 1, 2, 3}
    kept = sum(int((label_of(case) > 0).sum()) for case in dataset.train if case.name.startswith("patient002_frame01"))
    assert kept in (0, int((ball((5, 150, 120)) > 0).sum()), int((ball((5, 150, 120)) > 0).sum()) + 1)
    assert (len(whole.train), len(whole.test)) == (8, 8)
    assert whole.test[0].name.startswith("patient101")
    assert image_of(whole.train[0]).geometry.spacing_mm == pytest.approx((10.0, 1.5, 1.5))
    shutil.rmtree(tmp_path / "archive/testing")
    refused("acdc_volumes", tmp_path / "archive", "holds no testing/patient")


def atria(root: Path) -> Path:
    """Three scans, one of them of the test list: an atrium of 40 x 30 in 200 x 180."""
    for name in ("AAA", "BBB", TEST[0]):
        label = np.zeros((6, 200, 180), np.uint8)
        label[1:5, 90:130, 80:110] = 255
        volume(root / f"Training Set/{name}/lgemri.nrrd", noise(label.shape).astype(np.uint8), (0.625,) * 3)
        volume(root / f"Training Set/{name}/laendo.nrrd", label, (0.625,) * 3)
        volume(root / f"Testing Set/{name}X/lgemri.nrrd", label, (0.625,) * 3)
    return root


def test_la2018_of_nrrd(tmp_path: Path) -> None:
    archive = atria(tmp_path / "archive")
    dataset, flat = made("la2018", archive), made("la2018_slices", archive)
    assert [case.name for case in dataset.test] == [TEST[0]]
    assert dataset.labels == {"background": 0, "left atrium": 1}
    case = dataset.train[0]
    image, label = image_of(case), label_of(case)
    assert label.sum() == 4 * 40 * 30, "nothing of the atrium is cut off"
    rows, columns = image.array.shape[2:]
    assert image.array.shape[1] == 6
    assert 39 + 2 * 36 + 20 <= rows <= 39 + 2 * 36 + 38
    assert 29 + 2 * 41 + 20 <= columns <= 29 + 2 * 41 + 38
    source = noise((6, 200, 180)).astype(np.uint8).astype(np.float32)
    normal = (source - source.mean()) / source.std()
    first = np.argwhere(label)[0]
    corner = (90 - first[1], 80 - first[2])
    np.testing.assert_allclose(image.array[0, 0, 0, 0], normal[0, corner[0], corner[1]], rtol=1e-5)
    assert image.geometry.origin == pytest.approx((10 + 0.625 * corner[1], -20 + 0.625 * corner[0], 30))
    assert (len(flat.train), len(flat.test)) == (12, 6)
    assert image_of(flat.train[0]).array.shape == (1, 144, 144)
    assert set(read_supervision(flat.root).values()) == {Trust.CLEAN}, "8 of 2 scans"
    volume(archive / "Training Set/AAA/laendo.nrrd", np.zeros((6, 20, 18), np.uint8))
    refused("la2018", archive, r"laendo\.nrrd has the shape \(6, 20, 18\), but its image .* has \(6, 200, 180\)")
    volume(archive / "Training Set/AAA/laendo.nrrd", np.zeros((6, 200, 180), np.uint8))
    refused("la2018", archive, r"lgemri\.nrrd marks nothing")


def test_la2018_of_h5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    array = np.random.default_rng(0).normal(size=(20, 16, 5)).astype(np.float32)  # x, y, z
    label = np.zeros(array.shape, np.uint8)
    label[4:8, 2:5, 1:4] = 1
    for name in ("AAA", TEST[1]):
        path = tmp_path / f"archive/2018LA_Seg_Training Set/{name}/mri_norm2.h5"
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file["image"], file["label"] = array, label
    dataset = made("la2018", tmp_path / "archive")
    image = image_of(dataset.train[0])
    np.testing.assert_array_equal(image.array[0], array.T)
    np.testing.assert_array_equal(label_of(dataset.test[0]), label.T)
    assert image.geometry.spacing_mm == pytest.approx((0.625,) * 3)
    path.write_bytes(b"not HDF5")
    refused("la2018", tmp_path / "archive", r"mri_norm2\.h5 cannot be read \(.*\); unpack")


def test_h5_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / "archive/2018LA_Seg_Training Set/AAA/mri_norm2.h5"
    path.parent.mkdir(parents=True)
    path.touch()
    refused("la2018", tmp_path / "archive", "is HDF5, which needs another library: pip install h5py")


def test_promise12(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for number in range(5):
        name, shape = f"Case{number:02d}", (4, 20, 24)
        packed = tmp_path / f"part{number}"
        volume(packed / f"{name}.mhd", noise(shape, number))
        volume(packed / f"{name}_segmentation.mhd", ball(shape))
        assert (packed / f"{name}.zraw").exists() or (packed / f"{name}.raw").exists()
        shutil.make_archive(str(archive / f"TrainingData_Part{number}"), "zip", packed)
    dataset, flat = made("promise12", archive), made("promise12_slices", archive)
    assert (len(dataset.train), len(dataset.test)) == (4, 1)
    case = dataset.train[0]
    np.testing.assert_array_equal(image_of(case).array[0], noise((4, 20, 24), int(case.name[4:])))
    np.testing.assert_array_equal(label_of(case), ball((4, 20, 24)))
    assert image_of(case).geometry.spacing_mm == pytest.approx((3.0, 0.7, 0.7))
    assert image_of(case).geometry.origin == pytest.approx((10, -20, 30))
    assert (len(flat.train), len(flat.test)) == (16, 4)
    assert {case.name.rpartition("_s")[0] for case in flat.test} == {dataset.test[0].name}
    said = read_supervision(flat.root)
    assert sum(trust is Trust.CLEAN for trust in said.values()) == 3 * 4
    assert len({name[:6] for name, trust in said.items() if trust is Trust.CLEAN}) == 3
    assert image_of(flat.train[0]).array.shape == (1, 144, 144)
    assert max(int(image_of(case).array.max()) for case in flat.train[:4]) >= 250
    (archive / "Case00_segmentation.mhd").write_text("ObjectType = Image")
    refused("promise12", archive, r"Case00_segmentation\.mhd has no .*Case00\.mhd; unpack")


def slice_of(path: Path, pixels: np.ndarray, tags: dict[str, str]) -> None:
    """One DICOM slice (H, W) int16 of a CT."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(pixels.astype(np.int16)[None])
    image.SetSpacing((0.5, 0.5, 2.0))
    for tag, value in ({"0008|0060": "CT", "0028|1052": "0", "0028|1053": "1"} | tags).items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def series(folder: Path, array: np.ndarray, uid: str, patient: str, step_mm: float = 2.0) -> None:
    """A CT (D, H, W), its slices numbered from the top, 0.5 mm in the plane."""
    for place, pixels in enumerate(array):
        tags = {
            "0010|0020": patient,
            "0020|000d": f"{uid}.1",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{place + 10}",
            "0020|0032": f"-30\\-40\\{place * step_mm}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "0.5\\0.5",
            "0020|0013": str(len(array) - place),
        }
        slice_of(folder / f"1-{len(array) - place:03d}.dcm", pixels, tags)


@pytest.mark.parametrize("turned", [(1, 1), (1, -1), (-1, 1)])
def test_nih_pancreas(tmp_path: Path, turned: tuple[int, int]) -> None:
    archive, shape = tmp_path / "archive", (60, 30, 40)
    label = np.zeros(shape, np.uint8)
    label[10:20, 5:12, 20:30] = 1
    for number in (1, 2):
        folder = archive / f"Pancreas-CT/PANCREAS_{number:04d}/1.2.{number}/1.2.{number}.3"
        series(folder, np.where(label > 0, 100, -1000), f"1.2.{number}.3", f"PANCREAS_{number:04d}")
        drawn = label[:: turned[0], :: turned[1]]
        volume(archive / f"TCIA_pancreas_labels-02-05-2017/label{number:04d}.nii.gz", drawn, (1.0, 1.0, 1.0))
    dataset = made("nih_pancreas", archive)
    words = {(1, 1): "as they are", (1, -1): "turned in y", (-1, 1): "turned in z"}
    assert about(dataset)["labels_laid"] == words[turned]
    assert [case.name for case in dataset.train + dataset.test] == ["PANCREAS_0001", "PANCREAS_0002"]
    image, inside = image_of(dataset.train[0]), label_of(dataset.train[0])
    assert image.geometry.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    assert image.array.shape[1] == pytest.approx(20 + 20 + 38, abs=1), "of 38 mm before it, 20 are in the scan"
    assert image.array.shape[2:] == (15, 20), "all there is"
    assert (image.array.min(), image.array.max()) == (0, pytest.approx(225 / 400))
    assert inside.sum() == pytest.approx(20 * 3.5 * 5, rel=0.2)
    assert image.array[0][inside > 0].mean() > 0.4
    assert image.geometry.origin == pytest.approx((-30, -40, 0))
    (archive / "TCIA_pancreas_labels-02-05-2017/label0002.nii.gz").unlink()
    refused("nih_pancreas", archive, r"holds no label0002\.nii\.gz; NIH Pancreas-CT has .*: get it from")
    volume(archive / "TCIA_pancreas_labels-02-05-2017/label0002.nii.gz", label[:10])
    refused(
        "nih_pancreas", archive, r"label0002\.nii\.gz has the shape \(10, 30, 40\), but its scan .* has \(60, 30, 40\)"
    )
    for number in (1, 2):
        volume(archive / f"TCIA_pancreas_labels-02-05-2017/label{number:04d}.nii.gz", 1 - label)
    refused("nih_pancreas", archive, "of the labels lie on soft tissue, however they are turned")


def outline(middle: tuple[int, int], radius: int) -> list[tuple[int, int]]:
    """The pixels just outside of a square, (row, column), in order round it."""
    steps = range(-radius, radius + 1)
    (row, column), r = middle, radius
    edge = [(-r, s) for s in steps] + [(s, r) for s in steps] + [(r, -s) for s in steps] + [(-s, -r) for s in steps]
    return [(row + a, column + b) for a, b in edge]


def reading(uid: str, readers: list[list[tuple[int, tuple[int, int], int]]]) -> str:
    """The XML of four readers; each nodule is (slice, middle, radius)."""
    sessions = []
    for nodules in readers:
        text = ""
        for place, middle, radius in nodules:
            points = "".join(
                f"<edgeMap><xCoord>{column}</xCoord><yCoord>{row}</yCoord></edgeMap>"
                for row, column in outline(middle, radius)
            )
            roi = f"<imageSOP_UID>{uid}.{place + 10}</imageSOP_UID><inclusion>TRUE</inclusion>{points}"
            text += f"<unblindedReadNodule><noduleID>1</noduleID><roi>{roi}</roi></unblindedReadNodule>"
        sessions.append(f"<readingSession>{text}</readingSession>")
    header = f"<ResponseHeader><SeriesInstanceUid>{uid}</SeriesInstanceUid></ResponseHeader>"
    return f'<LidcReadMessage xmlns="http://www.nih.gov">{header}{"".join(sessions)}</LidcReadMessage>'


def test_lidc(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for number in (1, 2, 3):
        uid, patient = f"1.3.{number}", f"LIDC-IDRI-000{number}"
        folder = archive / "LIDC-IDRI" / patient / "1.9" / uid
        ct = np.full((3, 200, 210), -1000)
        ct[1, 95:106, 15:26] = 40
        series(folder, ct, uid, patient)
        readers = [[(1, (100, 20), 5 + rater)] for rater in range(4)]
        readers[0].append((2, (50, 50), 6))  # which the others did not see
        readers[1].append((1, (150, 150), 0))  # a single point: below 3 mm
        beside = folder if number < 3 else archive / "LIDC-XML-only/157"
        beside.mkdir(parents=True, exist_ok=True)
        (beside / f"00{number}.xml").write_text(reading(uid, readers))
    (archive / "LIDC-XML-only/158.xml").write_text("<IdriReadMessage/>")
    dataset = made("lidc", archive)
    assert dataset.labels == {"background": 0, "nodule": 1}
    names = [case.name for case in dataset.train + dataset.test]
    assert sorted(names) == [f"LIDC-IDRI-000{number}_c1_n0_1-002" for number in (1, 2, 3)]
    assert (len(dataset.train), len(dataset.test)) == (2, 1)
    case = dataset.train[0]
    image = image_of(case).array
    assert image.shape == (1, 128, 128)
    assert (image.min(), image.max()) == (0, round(255 * 1040 / 1400))
    assert [path.parent.name for path in case.raters] == ["A1", "A2", "A3", "A4"]
    drawn = [read_label(path).array for path in case.raters]
    assert [int(mask.sum()) for mask in drawn] == [(2 * (5 + rater) - 1) ** 2 for rater in range(4)]
    rows, columns = np.nonzero(drawn[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 68, 16, 24), "moved to lie within the scan"
    assert image[0][drawn[0] > 0].min() > 180
    np.testing.assert_array_equal(label_of(case), drawn[1], "the majority of four nested squares, ties to background")
    assert len(list((dataset.root / "labelsTs_raters").glob("A*/*.png"))) == 4
    (archive / "LIDC-IDRI/LIDC-IDRI-0001/1.9/1.3.1/1-002.dcm").unlink()
    refused("lidc", archive, r"1\.3\.1 lacks the slice 1\.3\.1\.11, which a reader drew on")
    shutil.rmtree(archive / "LIDC-IDRI")
    refused("lidc", archive, "holds readings, but no slices of theirs; put both into one folder")


def test_mmis2024(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for part, names, shape in (("training_2d", ("a_1", "a_2", "b_1"), (64, 64)), ("validation", ("v",), (2, 64, 64))):
        for name in names:
            path = tmp_path / "archive" / part / f"{name}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                for place, word in enumerate(("t1", "t1c", "t2")):
                    file[word] = np.full(shape, place + 0.5, np.float32)
                for rater in range(1, 5):
                    mask = np.zeros(shape, np.uint8)
                    mask[..., 10 : 20 + rater, 30:40] = 1
                    file[f"label_a{rater}"] = mask
    dataset = made("mmis2024", tmp_path / "archive")
    assert dataset.channel_names == ("T1", "T1c", "T2")
    assert [case.name for case in dataset.train] == ["a_1", "a_2", "b_1"]
    assert [case.name for case in dataset.test] == ["v_s000", "v_s001"]
    image = image_of(dataset.test[0]).array
    assert (image.shape, image.dtype) == ((3, 128, 128), np.float32)
    np.testing.assert_array_equal(image[:, 0, 0], [0.5, 1.5, 2.5])
    assert [int(read_label(path).array.sum()) for path in dataset.train[0].raters] == [
        4 * 10 * (10 + rater) for rater in range(1, 5)
    ]
    assert len(list((dataset.root / "labelsTs_raters").glob("A*/*.tif"))) == 8
    with h5py.File(tmp_path / "archive/validation/v.h5", "a") as file:
        del file["t2"]
        file["t2"] = np.zeros((2, 64, 60), np.float32)
    refused("mmis2024", tmp_path / "archive", r"v\.h5 holds arrays of the shape .*; expected are 3D ones of one shape")


def test_zips_beside_their_unpacked_folders_are_not_read_twice(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    kvasir(archive / "kvasir-seg")
    shutil.make_archive(str(archive / "kvasir-seg"), "zip", archive / "kvasir-seg")
    with zipfile.ZipFile(archive / "kvasir-seg.zip") as packed:
        assert len(packed.namelist()) > 8
    assert len(made("kvasir_seg", archive).train) == 3


def test_the_page_tells_every_recipe_and_where_it_is_from() -> None:
    page = Path(__file__).parents[2].joinpath("docs/how-to/public-data.md").read_text("utf-8")
    for recipe in recipes().values():
        assert f"maskmend prepare {recipe.name} --from" in page or f"`{recipe.name}`" in page
        assert recipe.home in page
