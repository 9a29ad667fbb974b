"""Recipes: tiny stand-ins with the layout of each archive become data sets; what is missing is told."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmend.data.dataset import Dataset, check_dataset, open_dataset
from maskmend.data.formats import read_image, read_label
from maskmend.data.prepare import prepare_recipe
from maskmend.data.prepare.recipes import find, recipes
from maskmend.errors import InputError


def made(name: str, archive: Path, seed: int = 0) -> Dataset:
    """The data set of an archive that is not whole, checked."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dataset = prepare_recipe(name, archive, archive.parent / f"made_{seed}", partial=True, seed=seed)
    assert any("the paper's numbers are of all" in str(each.message) for each in said)
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


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_says_what_one_must_know(name: str) -> None:
    recipe = find(name)
    assert recipe.name == name
    assert recipe.home.startswith("https://")
    for text in (recipe.title, recipe.terms, recipe.cite, recipe.layout, recipe.makes):
        assert len(text) > 5


def test_an_unknown_name_and_a_missing_archive_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no recipe 'kvasir'; did you mean kvasir_seg"):
        prepare_recipe("kvasir", tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="does not exist; name the archive"):
        prepare_recipe("kvasir_seg", tmp_path / "none.zip", tmp_path / "out")
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"cannot be unpacked .*; download it again"):
        prepare_recipe("kvasir_seg", tmp_path / "bad.zip", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no images/\*\.jpg; Kvasir-SEG has 1000 .*: get it from https"):
        prepare_recipe("kvasir_seg", tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="which is never changed; choose a folder outside"):
        prepare_recipe("kvasir_seg", tmp_path / "empty", tmp_path / "empty" / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


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
        label = read_label(case.label or case.reference).array
        assert read_image(case.images).array.shape == (3, 256, 256)
        assert label.shape == (256, 256)
        assert label.mean() == pytest.approx(np.pi * 0.3**2, rel=0.02)
    other = made("kvasir_seg", tmp_path / "kvasir-seg.zip", seed=3)
    assert {case.name for case in other.test} != {case.name for case in dataset.test}
    assert open_dataset(dataset.root).labels == {"background": 0, "foreground": 1}
