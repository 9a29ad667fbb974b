"""The same probabilities are the same, however they lie on disk; what cannot be used is told in a sentence."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskmend.audit.stored import nnunet, predictions
from maskmend.data.dataset import Dataset, open_dataset, write_dataset
from maskmend.data.formats import Geometry, Picture, read_image, write_image, write_label
from maskmend.errors import InputError
from maskmend.functional.doubt import from_mask

SHAPE = {2: (6, 7), 3: (4, 5, 6)}
ENDING = {2: ".png", 3: ".nii.gz"}
PLACE = {
    2: Geometry((1.0, 1.0)),
    3: Geometry((3.0, 1.0, 2.0), (5.0, 6.0, 7.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
}
CASES = ("case01", "case02", "case03")
TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(params=[2, 3])
def dims(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def dataset(tmp_path: Path, dims: int) -> Dataset:
    """Three cases of three classes."""
    root, rng = tmp_path / "Dataset001_X", np.random.default_rng(0)
    for name in CASES:
        write_image(root / f"imagesTr/{name}_0000{ENDING[dims]}", _grey(rng, dims), PLACE[dims])
        write_label(root / f"labelsTr/{name}{ENDING[dims]}", rng.integers(0, 3, SHAPE[dims]), PLACE[dims])
    write_dataset(root, ["CT"], {"background": 0, "liver": 1, "lesion": 2}, ENDING[dims], len(CASES))
    return open_dataset(root)


def _grey(rng: np.random.Generator, dims: int) -> np.ndarray:
    return rng.integers(0, 255, SHAPE[dims]).astype(np.uint8)


def drawn(dims: int, seed: int = 1, rows: int = 3) -> np.ndarray:
    """Probabilities (K, *S) float32."""
    scores = np.exp(np.random.default_rng(seed).normal(0, 2, (rows, *SHAPE[dims])))
    return (scores / scores.sum(0)).astype(np.float32)


def label_of(dims: int) -> Picture:
    return Picture(np.zeros(SHAPE[dims], np.int16), PLACE[dims])


def save(folder: Path, dims: int, prob: np.ndarray, mask: bool = True, key: str = "probabilities") -> Path:
    """``case01`` as nnU-Net writes it: float16, a picture with an axis more, the mask beside."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = prob.astype(np.float16)
    np.savez_compressed(folder / "case01.npz", **{key: rows[:, None] if dims == 2 else rows})
    if mask:
        write_label(folder / f"case01{ENDING[dims]}", prob.argmax(0), PLACE[dims])
    return folder


def ask(source: object, dataset: Dataset, dims: int) -> np.ndarray:
    """What is said of case01, by a source that warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return source.probabilities(dataset.train[0], label_of(dims))


# --- the same, however it lies there ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["probabilities", "softmax", "prob"])
def test_npz_with_and_without_masks(tmp_path: Path, dataset: Dataset, dims: int, key: str) -> None:
    prob = drawn(dims)
    for mask in (True, False):
        source = predictions(save(tmp_path / f"p{mask}", dims, prob, mask, key), dataset)
        found = ask(source, dataset, dims)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, prob, atol=1e-3)
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)
        assert (source.kind, source.held_out, source.names()) == ("predictions", False, {"case01"})


def test_nnunet_folds_say_the_same(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    prob, root = drawn(dims), tmp_path / "results" / "Dataset001_X" / TRAINER
    save(root / "fold_0/validation", dims, prob)
    other = save(root / "fold_3/validation", dims, drawn(dims, 2))
    for path in other.iterdir():
        path.rename(path.with_name(path.name.replace("case01", "case03")))
    (root / "fold_0/validation/case01.pkl").write_bytes(b"never opened")
    (root / "fold_0/validation/summary.json").write_text("{}")
    for folder in (root, root.parent, root.parent.parent, root / "fold_0", root / "fold_0/validation"):
        source = nnunet(folder, dataset)
        assert (source.kind, source.held_out, source.names()) == ("nnunet", True, {"case01", "case03"})
        np.testing.assert_allclose(ask(source, dataset, dims), prob, atol=1e-3)


def test_outside_of_the_crop_is_background(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    prob = drawn(dims)
    prob[..., :2] = 0
    for mask in (True, False):
        found = ask(predictions(save(tmp_path / f"p{mask}", dims, prob, mask), dataset), dataset, dims)
        assert (found[0, ..., :2] == 1).all()
        assert (found[1:, ..., :2] == 0).all()
        np.testing.assert_allclose(found[..., 2:], prob[..., 2:], atol=1e-3)


def test_ties_of_float16_prove_the_mask(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    prob = np.full((3, *SHAPE[dims]), 0.2, np.float32)
    prob[1], prob[2] = 0.4, 0.4 + 1e-6
    folder = save(tmp_path / "p", dims, prob)
    assert np.load(folder / "case01.npz")["probabilities"].argmax() != prob.argmax()
    np.testing.assert_allclose(ask(predictions(folder, dataset), dataset, dims), prob, atol=1e-3)


def test_regions_become_classes(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    """Rows of nested regions are sums of classes, from which the classes come back."""
    prob, root = drawn(dims), tmp_path / TRAINER
    rows = np.stack([prob[1] + prob[2], prob[2]])
    folder = save(root / "fold_0/validation", dims, rows, mask=False)
    labels = {"background": 0, "whole": [1, 2], "lesion": [2], "ignore": 3}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "regions_class_order": [1, 2]}))
    mask = np.where(rows[1] > 0.5, 2, np.where(rows[0] > 0.5, 1, 0))
    write_label(folder / f"case01{ENDING[dims]}", mask, PLACE[dims])
    np.testing.assert_allclose(ask(nnunet(root, dataset), dataset, dims), prob, atol=2e-3)

    write_label(folder / f"case01{ENDING[dims]}", 2 - mask, PLACE[dims])
    with pytest.warns(UserWarning, match="is not what the mask beside it was drawn from"):
        nnunet(root, dataset).probabilities(dataset.train[0], label_of(dims))

    (root / "dataset.json").write_text(json.dumps({"labels": labels, "regions_class_order": [1]}))
    with pytest.raises(InputError, match=r"2 regions and the regions_class_order \[1\]"):
        nnunet(root, dataset)


def test_masks_alone_judge(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    mask = np.random.default_rng(3).integers(0, 3, SHAPE[dims])
    write_label(tmp_path / "p" / f"case01{ENDING[dims]}", mask, PLACE[dims])
    found = ask(predictions(tmp_path / "p", dataset), dataset, dims)
    np.testing.assert_array_equal(found, from_mask(mask, 3, PLACE[dims].spacing_mm))
    assert (found.argmax(0) == mask).all()


def test_a_file_that_its_mask_belies_is_passed_over(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    prob = drawn(dims)
    folder = save(tmp_path / "p", dims, prob)
    mask = prob.argmax(0)
    mask.flat[0] = (mask.flat[0] + 1) % 3
    write_label(folder / f"case01{ENDING[dims]}", mask, PLACE[dims])
    source = predictions(folder, dataset)
    with pytest.warns(UserWarning, match=r"case01\.npz is not what the mask beside it was drawn from"):
        found = source.probabilities(dataset.train[0], label_of(dims))
    assert (found.argmax(0) == mask).all()


@pytest.mark.parametrize("dims", [3], indirect=True)
def test_axes_are_turned_and_other_grids_refused(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    prob = drawn(dims)
    source = predictions(save(tmp_path / "p", dims, prob), dataset)
    x = PLACE[3].origin[0] + 2.0 * (SHAPE[3][2] - 1)
    flipped = replace(PLACE[3], origin=(x, 6.0, 7.0), direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    found = source.probabilities(dataset.train[0], Picture(np.zeros(SHAPE[3], np.int16), flipped))
    np.testing.assert_allclose(found, prob[..., ::-1], atol=1e-3)

    moved = Picture(np.zeros(SHAPE[3], np.int16), replace(PLACE[3], origin=(9.0, 6.0, 7.0)))
    with pytest.raises(InputError, match=r"origin \(5, 6, 7\) mm.* \(9, 6, 7\) mm"):
        source.probabilities(dataset.train[0], moved)


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda prob: prob * 0.5, r"sum to 0\.[0-9]+, not to one"),
        (lambda prob: prob * 0, r"sum to 0, not to one"),
        (lambda prob: np.log(prob), "holds the value -[0-9.]+, which is no probability"),
        (lambda prob: np.where(prob == prob.max(), np.nan, prob), "holds the value nan"),
        (lambda prob: prob[..., 1:], r"has the shape \(3, .*but the image is"),
        (lambda prob: np.swapaxes(prob, 1, -1), r"the axes in the order z, y, x"),
        (lambda prob: prob[:2], r"has the shape \(2, .*there are 3 classes"),
        (lambda prob: prob.astype(object), "holds object instead of real numbers"),
        (lambda prob: (prob * 255).astype(np.uint8), "holds uint8 instead of real numbers"),
    ],
)
def test_arrays_that_are_no_probabilities(
    tmp_path: Path, dataset: Dataset, dims: int, spoil: object, said: str
) -> None:
    (tmp_path / "p").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.savez(tmp_path / "p" / "case01.npz", probabilities=spoil(drawn(dims)))
    with pytest.raises(InputError, match=said) as told:
        predictions(tmp_path / "p", dataset).probabilities(dataset.train[0], label_of(dims))
    assert str(told.value).endswith(".")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", "case01.npz cannot be read"),
        (b"", "case01.npz cannot be read"),
        (None, "holds other, but none of"),
    ],
)
def test_files_that_are_no_npz(tmp_path: Path, dataset: Dataset, dims: int, content: bytes | None, said: str) -> None:
    path = tmp_path / "p" / "case01.npz"
    path.parent.mkdir()
    if content is None:
        np.savez(path, other=drawn(dims))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        predictions(tmp_path / "p", dataset)


def test_a_file_cut_short_is_told(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    path = save(tmp_path / "p", dims, drawn(dims), mask=False) / "case01.npz"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"case01\.npz cannot be read"):
        predictions(tmp_path / "p", dataset).probabilities(dataset.train[0], label_of(dims))


def test_masks_with_other_values(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    write_label(tmp_path / "p" / f"case01{ENDING[dims]}", np.full(SHAPE[dims], 255), PLACE[dims])
    with pytest.raises(InputError, match="holds the value 255, but the data set has the classes 0 to 2"):
        predictions(tmp_path / "p", dataset).probabilities(dataset.train[0], label_of(dims))


@pytest.mark.parametrize("folder", ["labelsTr", "link"])
def test_given_labels_do_not_judge_themselves(tmp_path: Path, dataset: Dataset, dims: int, folder: str) -> None:
    (dataset.root / "link").mkdir()
    for path in (dataset.root / "labelsTr").iterdir():
        (dataset.root / "link" / path.name).hardlink_to(path)
    with pytest.raises(InputError, match="is the given label itself"):
        predictions(dataset.root / folder, dataset)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Case_1"], "a prediction Case_1, but the case is called case01"),
        (["case01", "case002"], "a prediction case002, but the case is called case02"),
        (["case01_0000"], "a prediction case01_0000, but the case is called case01"),
        (["casa01"], r"casa01 is none \(did you mean case01\?\)"),
        ([], "it holds no NAME.npz and no mask"),
    ],
)
def test_names_that_are_no_cases(tmp_path: Path, dataset: Dataset, dims: int, names: list[str], said: str) -> None:
    (tmp_path / "p").mkdir()
    for name in names:
        write_label(tmp_path / "p" / f"{name}{ENDING[dims]}", np.zeros(SHAPE[dims], np.uint8), PLACE[dims])
    with pytest.raises(InputError, match=said):
        predictions(tmp_path / "p", dataset)


def test_predictions_of_test_cases_beside_are_let_be(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    folder = save(tmp_path / "p", dims, drawn(dims))
    shutil.copy(folder / "case01.npz", folder / "test77.npz")
    assert predictions(folder, dataset).names() == {"case01"}


def test_two_masks_of_a_case(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    for ending in (".tif", ENDING[dims]):
        write_label(tmp_path / "p" / f"case01{ending}", np.zeros(SHAPE[dims], np.uint8), PLACE[dims])
    with pytest.raises(InputError, match="are both masks of case01"):
        predictions(tmp_path / "p", dataset)


def test_folders_that_are_no_training(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    root = tmp_path / "results" / "Dataset001_X" / TRAINER
    with pytest.raises(InputError, match="is no folder"):
        predictions(tmp_path / "nowhere", dataset)
    with pytest.raises(InputError, match="holds no fold_X/validation"):
        nnunet(tmp_path / "nowhere", dataset)
    save(root / "fold_all/validation", dims, drawn(dims))
    with pytest.raises(InputError, match="fold_all learnt from every case"):
        nnunet(root, dataset)
    with pytest.raises(InputError, match="name it with --nnunet"):
        predictions(root, dataset)
    save(root.parent / "Other__nnUNetPlans__2d" / "fold_0/validation", dims, drawn(dims))
    with pytest.raises(InputError, match=rf"holds 2 trainings of nnU-Net \(Other__nnUNetPlans__2d, {TRAINER}\)"):
        nnunet(root.parent, dataset)


def test_an_npz_alone_lies_on_the_grid_of_its_image(tmp_path: Path, dataset: Dataset, dims: int) -> None:
    prob = drawn(dims)
    source = predictions(save(tmp_path / "p", dims, prob, mask=False), dataset)
    image = read_image(dataset.train[0].images)
    found = source.probabilities(dataset.train[0], Picture(np.zeros(SHAPE[dims], np.int16), image.geometry))
    np.testing.assert_allclose(found, prob, atol=1e-3)
