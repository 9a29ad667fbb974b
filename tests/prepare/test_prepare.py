"""Folders people have become nnU-Net data sets; the source stays as it was and nothing half-written remains."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from maskmend.data.dataset import case_arrays, open_dataset, write_dataset
from maskmend.data.formats import Geometry, read_image, read_label, write_image, write_label
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError
from maskmend.prepare import majority, prepare
from maskmend.prepare.survey import MaskRule
from maskmend.types import Trust
from maskmend.verbs.fuse import fuse

FLAT = Geometry((1.0, 1.0))
GREY = (np.arange(80) % 200).reshape(8, 10).astype(np.uint8)
COLOUR = np.stack([GREY, GREY + 5, GREY + 9])
MASK = (GREY > 40).astype(np.uint8) * 255


def pairs(root: Path, image: np.ndarray = GREY, mask: np.ndarray = MASK, cases: int = 4) -> Path:
    for number in range(cases):
        write_image(root / "images" / f"p{number}.png", image, FLAT)
        write_label(root / "masks" / f"p{number}.png", mask, FLAT)
    return root


def fingerprint(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def test_grey_pairs(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw")
    before = fingerprint(source)
    dataset = prepare(source, tmp_path / "out")
    check_dataset(dataset)
    assert fingerprint(source) == before
    assert dataset.channel_names == ("grey",)
    assert dataset.labels == {"background": 0, "foreground": 1}
    assert dataset.file_ending == ".png"
    assert (tmp_path / "out" / "imagesTr" / "p0_0000.png").exists()
    image, label = case_arrays(dataset.train[0], dataset)
    np.testing.assert_array_equal(image.array[0], GREY)
    np.testing.assert_array_equal(label.array, MASK // 255)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["numTraining"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_colour_pairs_with_a_grey_one_among_them(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", COLOUR)
    Image.fromarray(GREY).save(source / "images" / "p1.png")
    Image.fromarray(np.stack([GREY] * 3, -1)).save(source / "images" / "p2.png")
    dataset = prepare(source, tmp_path / "out")
    check_dataset(dataset)
    assert dataset.channel_names == ("R", "G", "B")
    assert dataset.train[0].images == (tmp_path / "out" / "imagesTr" / "p0_0000.png",)
    np.testing.assert_array_equal(case_arrays(dataset.train[0], dataset)[0].array, COLOUR)


def test_grey_saved_as_colour_is_grey(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", np.stack([GREY] * 3))
    assert prepare(source, tmp_path / "out").channel_names == ("grey",)


def test_suffixes_and_several_classes(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", mask=np.select([GREY > 60, GREY > 40], [255, 128], 0).astype(np.uint8))
    for number, suffix in enumerate(("_mask", "_Segmentation", "-seg", "_gt")):
        path = source / "masks" / f"p{number}.png"
        path.rename(path.with_name(f"p{number}{suffix}.png"))
    dataset = prepare(source, tmp_path / "out")
    assert dataset.labels == {"background": 0, "128": 1, "255": 2}
    label = read_label(tmp_path / "out" / "labelsTr" / "p0.png")
    assert set(np.unique(label.array)) == {0, 1, 2}


def test_jpeg_images_and_masks(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", COLOUR)
    for number in range(2):
        (source / "images" / f"p{number}.png").unlink()
        (source / "masks" / f"p{number}.png").unlink()
        Image.fromarray(np.moveaxis(COLOUR, 0, -1)).save(source / "images" / f"p{number}.jpg")
        Image.fromarray(MASK).save(source / "masks" / f"p{number}.jpeg")
    with pytest.warns(UserWarning, match="2 masks are JPEG .* cut at 127"):
        dataset = prepare(source, tmp_path / "out")
    check_dataset(dataset)
    assert dataset.file_ending == ".png"
    np.testing.assert_array_equal(
        case_arrays(dataset.train[0], dataset)[0].array, read_image([source / "images" / "p0.jpg"]).array
    )
    np.testing.assert_array_equal(case_arrays(dataset.train[0], dataset)[1].array, MASK // 255)


def test_smoothed_masks_are_cut(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", mask=GREY)
    with pytest.warns(UserWarning, match="80 grey values, .* cut at 50"):
        dataset = prepare(source, tmp_path / "out", threshold=50)
    np.testing.assert_array_equal(case_arrays(dataset.train[0], dataset)[1].array, GREY > 50)


def test_many_shades_taken_for_classes_are_told(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", mask=np.where(GREY > 40, 254, GREY // 40).astype(np.uint8))
    with pytest.warns(UserWarning, match=r"the masks hold the values \[0, 1, 254\], and each is taken for a class"):
        assert prepare(source, tmp_path / "out").classes == 3


def test_masks_of_0_1_beside_0_255(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw")
    write_label(source / "masks" / "p2.png", MASK // 255, FLAT)
    with pytest.warns(UserWarning, match="0/1 and some 0/255"):
        dataset = prepare(source, tmp_path / "out")
    for case in dataset.train:
        np.testing.assert_array_equal(case_arrays(case, dataset)[1].array, MASK // 255)


def test_held_out_share_and_given_test_folders(tmp_path: Path) -> None:
    source = pairs(tmp_path / "raw", cases=10)
    dataset = prepare(source, tmp_path / "a", test=0.3, seed=1)
    assert (len(dataset.train), len(dataset.test)) == (7, 3)
    assert all(case.reference is not None for case in dataset.test)
    again = prepare(source, tmp_path / "b", test=0.3, seed=1)
    assert [case.name for case in again.test] == [case.name for case in dataset.test]
    shutil.copytree(source / "images", source / "images_test")
    shutil.copytree(source / "masks", source / "masks_test")
    assert len(prepare(source, tmp_path / "c").test) == 10
    with pytest.raises(InputError, match="has a test set of its own"):
        prepare(source, tmp_path / "d", test=0.2)
    shutil.rmtree(source / "masks_test")
    assert all(case.reference is None for case in prepare(source, tmp_path / "e").test)


def decathlon(root: Path) -> Path:
    """Two 4D training images of two channels and one test image, at an angle."""
    affine = np.array([[0, -0.5, 0, 3], [0.75, 0, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1.0]])
    image = (np.arange(4 * 5 * 6 * 2) % 200).reshape(4, 5, 6, 2).astype(np.int16)
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (root / folder).mkdir(parents=True)
    for name in ("x_1", "x_2"):
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "imagesTr" / f"{name}.nii.gz")
        nibabel.save(
            nibabel.Nifti1Image((image[..., 0] % 3).astype(np.uint8), affine), root / f"labelsTr/{name}.nii.gz"
        )
    nibabel.save(nibabel.Nifti1Image(image, affine), root / "imagesTs" / "x_3.nii.gz")
    header = {
        "name": "X",
        "licence": "CC",
        "modality": {"0": "T1", "1": "FLAIR"},
        "labels": {"0": "background", "1": "edema", "2": "tumour"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/x_{n}.nii.gz", "label": f"./labelsTr/x_{n}.nii.gz"} for n in (1, 2)],
        "test": ["./imagesTs/x_3.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(header))
    return root


def test_decathlon(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "raw")
    dataset = prepare(source, tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(dataset)
    assert dataset.channel_names == ("T1", "FLAIR")
    assert dataset.labels == {"background": 0, "edema": 1, "tumour": 2}
    assert len(dataset.test) == 1
    assert len(dataset.train[0].images) == 2
    whole = read_image([source / "imagesTr" / "x_1.nii.gz"])
    parts = read_image(dataset.train[0].images)
    np.testing.assert_array_equal(parts.array, whole.array)
    np.testing.assert_allclose(parts.geometry.direction, whole.geometry.direction, atol=1e-6)
    assert parts.geometry.spacing_mm == whole.geometry.spacing_mm
    assert parts.geometry.origin == whole.geometry.origin
    label = (tmp_path / "out" / "labelsTr" / "x_1.nii.gz").read_bytes()
    assert label == (source / "labelsTr" / "x_1.nii.gz").read_bytes()
    (source / "labelsTr" / "x_2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"x_2\.nii\.gz, the label of a case .* is missing"):
        prepare(source, tmp_path / "again")


def test_volumes_keep_geometry_and_masks_of_another_format_take_it(tmp_path: Path) -> None:
    tilted = Geometry((2.0, 0.5, 0.5), origin=(1.0, 2.0, 3.0), direction=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    volume = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    for name in "ab":
        write_image(tmp_path / "raw" / "images" / f"{name}.nii.gz", volume, tilted)
    write_label(tmp_path / "raw" / "masks" / "a.nrrd", (volume % 4).astype(np.uint8), tilted)
    write_label(tmp_path / "raw" / "masks" / "b.tif", (volume % 4).astype(np.uint8), Geometry((1.0, 1.0, 1.0)))
    dataset = prepare(tmp_path / "raw", tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(dataset)
    assert dataset.labels == {"background": 0, "1": 1, "2": 2, "3": 3}
    assert dataset.file_ending == ".nii.gz"


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_with_a_bare_header_is_written_where_its_image_lies(tmp_path: Path, value: int) -> None:
    """So that it can be compared with what is predicted for the image, which lies there too."""
    place = nibabel.affines.from_matvec(np.diag([-0.5, 0.5, 2]), [90, -126, 7])
    for folder, affine in (("images", place), ("masks", np.diag([0.5, 0.5, 2, 1]))):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        data = (MASK[..., None] // 255 * np.ones(5, np.uint8)) * (value if folder == "masks" else 7)
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "raw" / folder / "a.nii.gz")
    with pytest.warns(UserWarning, match=r"1 masks \(.*masks/a\.nii\.gz, …\) have a bare header"):
        case = prepare(tmp_path / "raw", tmp_path / "out").train[0]
    np.testing.assert_allclose(nibabel.load(case.label).affine, place)
    np.testing.assert_array_equal(nibabel.load(case.label).get_fdata()[..., 0], MASK // 255)


def test_nnunet_is_converted_only_if_its_masks_are_0_255(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for name in "abc":
        write_image(root / "imagesTr" / f"{name}_0000.png", COLOUR, FLAT)
        write_label(root / "labelsTr" / f"{name}.png", MASK, FLAT)
    write_dataset(root, ["R", "G", "B"], {"background": 0, "polyp": 1}, ".png", 3)
    (root / "supervision.csv").write_text("case,supervision\na,clean\n")
    dataset = prepare(root, tmp_path / "out")
    check_dataset(dataset)
    assert dataset.labels == {"background": 0, "polyp": 1}
    assert dataset.train[0].trust is Trust.CLEAN
    with pytest.raises(InputError, match="nnU-Net data set already and needs no preparing"):
        prepare(tmp_path / "out", tmp_path / "again")


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        prepare(tmp_path / "gone", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither dataset\.json nor the folders images/ and masks/"):
        prepare(tmp_path / "empty", tmp_path / "out")
    source = pairs(tmp_path / "raw")
    with pytest.raises(InputError, match=r"raw is not empty; choose another"):
        prepare(source, source)
    with pytest.raises(InputError, match="which is never changed"):
        prepare(source, source / "images" / "out")
    with pytest.raises(InputError, match=r"test=1\.5"):
        prepare(source, tmp_path / "out", test=1.5)
    write_label(source / "masks" / "p1.png", MASK[:, :-1], FLAT)
    with pytest.raises(InputError, match=r"masks/p1\.png has the shape \(8, 9\), but its image p1\.png has \(8, 10\)"):
        prepare(source, tmp_path / "out")
    (source / "masks" / "p1.png").unlink()
    with pytest.raises(InputError, match=r"images/p1\.png has no mask .* \(1 of 4"):
        prepare(source, tmp_path / "out")
    (source / "images" / "p1.png").unlink()
    (source / "images" / "p2.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"images/p2\.png cannot be read"):
        prepare(source, tmp_path / "out")
    (source / "images" / "p2.png").unlink()
    with pytest.raises(InputError, match=r"masks/p2\.png has no image of its own"):
        prepare(source, tmp_path / "out")
    shutil.rmtree(source / "masks")
    (source / "masks" / "all" / "rater0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"masks/all holds only folders \(rater0\)"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- several raters ---------------------------------------------------------------------------------------------------


def rated(root: Path, masks: dict[str, dict[str, np.ndarray]]) -> Path:
    """A folder with masks[rater][case] and an image of every case."""
    for case in {case for drawn in masks.values() for case in drawn}:
        write_image(root / "images" / f"{case}.png", GREY, FLAT)
    for rater, drawn in masks.items():
        for case, mask in drawn.items():
            write_label(root / "masks" / rater / f"{case}.png", mask, FLAT)
    return root


def rows(*given: int) -> np.ndarray:
    """(8, 10), a value for each row."""
    return np.repeat(np.array(given, np.uint8)[:, None], 10, axis=1)


ANNA, BERT = rows(0, 0, 255, 255, 255, 255, 0, 0), rows(0, 255, 255, 255, 0, 0, 0, 0)
CLEO = rows(255, 255, 0, 255, 255, 0, 0, 0)


def test_the_majority_of_raters_is_the_label_and_theirs_lie_beside_it(tmp_path: Path) -> None:
    masks = {"anna": {"p": ANNA, "q": ANNA}, "bert": {"p": BERT, "q": BERT, "r": BERT}, "cleo": {"p": CLEO}}
    source = rated(tmp_path / "raw", masks)
    with pytest.warns(UserWarning, match=r"majority of 3 raters \(anna, bert, cleo\); ties go to the lower class\."):
        dataset = prepare(source, tmp_path / "out")
    check_dataset(dataset)
    labels = {case.name: case_arrays(case, dataset)[1].array[:, 0].tolist() for case in dataset.train}
    assert labels["p"] == [0, 1, 1, 1, 1, 0, 0, 0]
    assert labels["q"] == [0, 0, 1, 1, 0, 0, 0, 0], "where two of two disagree, background"
    assert labels["r"] == [0, 1, 1, 1, 0, 0, 0, 0]
    assert dataset.labels == {"background": 0, "foreground": 1}
    drawn = {case.name: {path.parent.name: path for path in case.raters} for case in dataset.train}
    assert {case: list(raters) for case, raters in drawn.items()} == {
        "p": ["anna", "bert", "cleo"],
        "q": ["anna", "bert"],
        "r": ["bert"],
    }
    for rater, of in masks.items():
        for case, mask in of.items():
            assert drawn[case][rater] == tmp_path / "out" / "labelsTr_raters" / rater / f"{case}.png"
            np.testing.assert_array_equal(read_label(drawn[case][rater]).array, mask // 255)
    assert "ties go to the lower class" in json.loads((tmp_path / "out" / "dataset.json").read_text())["annotation"]


def test_majority_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for raters in range(1, 6):
        labels = list(rng.integers(0, 4, (raters, 5, 6, 7), dtype=np.uint8))
        expected = [np.bincount(pixel).argmax() for pixel in np.stack(labels).reshape(raters, -1).T]
        np.testing.assert_array_equal(majority(labels).ravel(), expected)


def test_raters_of_test_cases_and_one_mapping_for_all(tmp_path: Path) -> None:
    """One rater writes 0/1, the others 0/255; suffixes may differ."""
    cases = "abcdef"
    source = rated(tmp_path / "raw", {r: dict.fromkeys(cases, m) for r, m in (("A", ANNA), ("B", BERT), ("C", CLEO))})
    for case in cases:
        write_label(source / "masks" / "C" / f"{case}.png", CLEO // 255, FLAT)
        (source / "masks" / "B" / f"{case}.png").rename(source / "masks" / "B" / f"{case}_mask.png")
    with pytest.warns(UserWarning, match="majority"), pytest.warns(UserWarning, match="0/1 and some 0/255"):
        dataset = prepare(source, tmp_path / "out", test=0.5)
    for part, held in (("Tr", dataset.train), ("Ts", dataset.test)):
        assert len(held) == 3
        for case in held:
            read = [read_label(tmp_path / f"out/labels{part}_raters/{r}/{case.name}.png").array for r in "ABC"]
            for found, drawn in zip(read, (ANNA, BERT, CLEO), strict=True):
                np.testing.assert_array_equal(found, drawn // 255)
            voted = read_label(tmp_path / f"out/labels{part}/{case.name}.png").array
            np.testing.assert_array_equal(voted, sum(read) >= 2)
    for folder in ("images", "masks"):
        shutil.copytree(source / folder, source / f"{folder}_test")
    with pytest.raises(InputError, match="has a test set of its own"):
        prepare(source, tmp_path / "again", test=0.5)


def test_volumes_of_raters_keep_their_geometry(tmp_path: Path) -> None:
    tilted = Geometry((2.0, 0.5, 0.5), origin=(1.0, 2.0, 3.0), direction=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    volume = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    write_image(tmp_path / "raw" / "images" / "a.nii.gz", volume, tilted)
    write_label(tmp_path / "raw" / "masks" / "x" / "a.nrrd", (volume % 3).astype(np.uint8), tilted)
    write_label(tmp_path / "raw" / "masks" / "y" / "a.tif", (volume % 3).astype(np.uint8), Geometry((1.0, 1.0, 1.0)))
    with pytest.warns(UserWarning, match="majority of 2 raters"):
        dataset = prepare(tmp_path / "raw", tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(dataset)
        for path in dataset.train[0].raters:
            check_dataset(replace(dataset, train=(replace(dataset.train[0], label=path),)))
    np.testing.assert_array_equal(case_arrays(dataset.train[0], dataset)[1].array, volume % 3)


def test_raters_of_a_0_255_data_set_are_converted_too(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for part, name in (("Tr", "Tr[1]"), ("Ts", "Ts[1]")):
        write_image(root / f"images{part}" / f"{name}_0000.png", GREY, FLAT)
        write_label(root / f"labels{part}" / f"{name}.png", CLEO, FLAT)
        write_label(root / f"labels{part}_raters" / "anna" / f"{name}.png", ANNA, FLAT)
    write_dataset(root, ["CT"], {"background": 0, "nodule": 1}, ".png", 1)
    prepare(root, tmp_path / "out")
    for part in ("Tr", "Ts"):
        for name, drawn in ((f"labels{part}", CLEO), (f"labels{part}_raters/anna", ANNA)):
            np.testing.assert_array_equal(read_label(tmp_path / "out" / name / f"{part}[1].png").array, drawn // 255)
    assert "annotation" not in json.loads((tmp_path / "out" / "dataset.json").read_text())


def test_bad_raters(tmp_path: Path) -> None:
    source = rated(tmp_path / "raw", {"anna": {"p": ANNA, "q": ANNA}, "bert": {"p": BERT}})
    (source / "masks" / "cleo").mkdir()
    with pytest.raises(InputError, match=r"masks/cleo holds no file of a known format"):
        prepare(source, tmp_path / "out")
    write_label(source / "masks" / "cleo" / "p.png", CLEO[:-1], FLAT)
    with pytest.raises(InputError, match=r"cleo/p\.png has the shape \(7, 10\), but its image p\.png has \(8, 10\)"):
        prepare(source, tmp_path / "out")
    (source / "masks" / "cleo" / "p.png").rename(source / "masks" / "cleo" / "z.png")
    with pytest.raises(InputError, match=r"cleo/z\.png has no image of its own in .*images"):
        prepare(source, tmp_path / "out")
    shutil.rmtree(source / "masks" / "cleo")
    (source / "masks" / "anna" / "q.png").unlink()
    with pytest.raises(InputError, match=r"images/q\.png has no mask in .*masks \(1 of 2 images have none\)"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_raters(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "lidc_nodules_4raters"
    names = sorted(path.name for path in (source / "images").iterdir())[:6]
    for folder in ("images", *(f"masks/rater{number}" for number in range(4))):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "raw" / folder / name).symlink_to(source / folder / name)
    with pytest.warns(UserWarning, match="majority of 4 raters"):
        dataset = prepare(tmp_path / "raw", tmp_path / "out", test=0.3)
    check_dataset(dataset)
    assert (len(dataset.train), len(dataset.test)) == (4, 2)
    for case in dataset.train:
        drawn = sum(read_label(path).array for path in case.raters)
        np.testing.assert_array_equal(case_arrays(case, dataset)[1].array, drawn >= 3)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_half_written_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException | type[BaseException]
) -> None:
    source = pairs(tmp_path / "raw")

    def break_off(rule: object, path: Path) -> None:
        raise failure

    monkeypatch.setattr(MaskRule, "__call__", break_off)
    with pytest.raises(KeyboardInterrupt if failure is KeyboardInterrupt else InputError):
        prepare(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_real_volumes(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "msd_hippocampus_3d"
    for name in sorted(path.name for path in (source / "images").iterdir())[:5]:
        for folder in ("images", "masks"):
            (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "raw" / folder / name).symlink_to(source / folder / name)
    dataset = prepare(tmp_path / "raw", tmp_path / "out", test=0.2)
    check_dataset(dataset)
    assert dataset.labels == {"background": 0, "1": 1, "2": 2}
    assert (len(dataset.train), len(dataset.test)) == (4, 1)
    assert not dataset.train[0].images[0].is_symlink()


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask", "name"),
    [
        ("X.png.jpg", "X_mask.png.jpg", "X"),
        ("X.png", "X_mask.png.jpg", "X"),
        ("X.nii.png", "X.gt.png", "X"),
        ("b\u00e9.png", "be\u0301_seg.png", "b\u00e9"),
        ("be\u0301.png", "b\u00e9.png", "b\u00e9"),
        ("X.gif", "X_manual.gif", None),
    ],
)
def test_names_pair_whatever_they_went_through(tmp_path: Path, image: str, mask: str, name: str | None) -> None:
    for folder, file, array in (("images", image, GREY), ("masks", mask, MASK)):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / "raw" / folder / file, quality=100)
    if name is None:
        with pytest.raises(InputError, match=r"X\.gif has no mask .* with _mask, _masks, _seg, .* behind the name"):
            prepare(tmp_path / "raw", tmp_path / "out")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = prepare(tmp_path / "raw", tmp_path / "out")
    assert [case.name for case in dataset.train] == [name]
    np.testing.assert_array_equal(case_arrays(dataset.train[0], dataset)[1].array, MASK // 255)


def test_what_systems_leave_in_folders_is_nothing(tmp_path: Path) -> None:
    clutter = ("Thumbs.db", ".DS_Store", "desktop.ini", "._p0.png", "._.DS_Store")

    def litter(root: Path) -> None:
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            for name in clutter:
                (folder / name).write_bytes(b"\0\5\x16\7")
            (folder / "__MACOSX").mkdir()
            (folder / "__MACOSX" / "._p0.png").write_bytes(b"\0\5\x16\7")

    source, output = rated(tmp_path / "raw", {"A": {"p": ANNA}, "B": {"p": BERT}}), tmp_path / "out"
    output.mkdir()
    litter(tmp_path)
    with pytest.warns(UserWarning, match=r"majority of 2 raters \(A, B\)"):
        dataset = prepare(source, output)
    assert [case.name for case in dataset.train] == ["p"]
    assert not [path for path in output.rglob("*") if path.name in clutter], "nothing of it is carried on"
    litter(output)
    again = open_dataset(output)
    assert [path.parent.name for path in again.train[0].raters] == ["A", "B"]
    check_dataset(again)
    assert len(fuse(output, tmp_path / "fused").fused) == 1
    (output / "notes.txt").touch()
    with pytest.raises(InputError, match="out is not empty"):
        prepare(source, output)


@pytest.mark.parametrize("raters", [False, True])
def test_masks_in_another_order_of_voxels_are_turned_and_elsewhere_is_refused(tmp_path: Path, raters: bool) -> None:
    source, rng = tmp_path / "raw", np.random.default_rng(0)
    drawn = (rng.random((5, 6, 7)) > 0.5).astype(np.uint8)
    affine = np.array([[-1.0, 0, 0, 9], [0, -1, 0, 8], [0, 0, 2, -7], [0, 0, 0, 1]])
    image, mask = nibabel.Nifti1Image(rng.random(drawn.shape, np.float32), affine), nibabel.Nifti1Image(drawn, affine)
    place = source / "masks" / "anna" / "a.nii.gz" if raters else source / "masks" / "a.nii.gz"
    place.parent.mkdir(parents=True)
    (source / "images").mkdir()
    nibabel.save(image, source / "images" / "a.nii.gz")
    turned = nibabel.orientations.axcodes2ornt(tuple("SPR"))
    start = nibabel.orientations.io_orientation(affine)
    nibabel.save(mask.as_reoriented(nibabel.orientations.ornt_transform(start, turned)), place)
    dataset = prepare(source, tmp_path / "out")
    np.testing.assert_array_equal(case_arrays(dataset.train[0], dataset)[1].array, drawn.T)
    affine[0, 3] += 1
    nibabel.save(nibabel.Nifti1Image(drawn, affine), place)
    with pytest.raises(InputError, match=r"a\.nii\.gz has the origin .* but its image a\.nii\.gz has"):
        prepare(source, tmp_path / "elsewhere")
