"""Folders people have become nnU-Net data sets; the source stays as it was and nothing half-written remains."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from maskmend.data.dataset import case_arrays, check_dataset, write_dataset
from maskmend.data.formats import Geometry, read_image, read_label, write_image, write_label
from maskmend.data.prepare import prepare
from maskmend.data.prepare.survey import MaskRule
from maskmend.errors import InputError
from maskmend.types import Trust

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
    (source / "masks" / "rater0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"only folders \(rater0\)"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
