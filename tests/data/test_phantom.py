"""Phantoms: the same bytes everywhere, a truth worth the name, and a data set others can read."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from maskmend.data.dataset import case_arrays, open_dataset
from maskmend.data.formats import read_label
from maskmend.data.phantom import LESION_SHARE, SPACING_3D, picture, render_2d, render_3d, write_phantom
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError


def digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()[:16]


def test_the_same_seed_gives_the_same_bytes_on_every_machine():
    flat = [array for seed in range(4) for array in render_2d(seed)]
    deep = [array for seed in range(2) for array in render_3d(seed)]
    assert (digest(*flat), digest(*deep)) == ("8a2956dcdf9332bf", "7bc3af06193b7440")
    assert digest(*render_2d(1)) != digest(*render_2d(2))


@pytest.mark.parametrize("size", [64, 96, 128])
def test_every_lesion_takes_a_fair_share_of_the_image(size):
    shares = []
    for seed in range(40):
        image, truth = render_2d(seed, size)
        assert image.shape == truth.shape == (size, size)
        assert image.dtype == truth.dtype == np.uint8
        assert set(np.unique(truth)) == {0, 1}
        shares.append(truth.mean())
    assert LESION_SHARE[0] <= min(shares) < 0.05
    assert 0.15 < max(shares) <= LESION_SHARE[1]


def test_an_image_is_neither_black_nor_white_and_the_lesion_is_darker_than_its_rim():
    from scipy.ndimage import binary_dilation

    darker = 0
    for seed in range(30):
        image, truth = render_2d(seed)
        assert 70 < image.mean() < 170
        assert ((image == 0) | (image == 255)).mean() < 0.1
        rim = binary_dilation(truth, iterations=6) & (truth == 0)
        darker += image[truth == 1].mean() < image[rim].mean()
    assert darker >= 27


def test_volumes_hold_three_structures_that_touch():
    from scipy.ndimage import binary_dilation

    for seed in range(10):
        image, truth = render_3d(seed)
        assert image.shape == truth.shape == (16, 48, 48)
        assert (image.dtype, truth.dtype) == (np.uint16, np.uint8)
        assert set(np.unique(truth)) == {0, 1, 2, 3}
        assert all((truth == k).mean() > 0.004 for k in (1, 2, 3))
        for one, other in ((1, 2), (1, 3), (2, 3)):
            assert (binary_dilation(truth == one) & (truth == other)).any()
    assert render_3d(0, (9, 30, 40))[1].shape == (9, 30, 40)


def eaten(label: np.ndarray, seed: int) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return np.where(binary_erosion(label > 0, iterations=1 + seed % 2), label, 0).astype(label.dtype)


@pytest.mark.parametrize(("dims", "size"), [(2, 64), (3, 24)])
def test_a_data_set_is_written_that_others_can_read(tmp_path, dims, size):
    root = tmp_path / "phantoms"
    dataset = write_phantom(root, dims, train=3, test=2, size=size, seed=5, corrupt=eaten)
    check_dataset(dataset)
    assert (len(dataset.train), len(dataset.test), dataset.classes) == (3, 2, 2 if dims == 2 else 4)
    left = json.loads((root / "noise.json").read_text())["cases"]
    for case in dataset.train:
        image, label = case_arrays(case, dataset)
        truth = read_label(root / "labelsTr_truth" / case.label.name).array
        again = (render_2d if dims == 2 else render_3d)(left[case.name]["seed"], *size_of(dims, size))
        assert np.array_equal(image.array[0], again[0])
        assert np.array_equal(truth, again[1])
        assert np.array_equal(label.array, eaten(truth, left[case.name]["seed"]))
        assert 0 <= left[case.name]["dice_mean"] < 1
        assert image.geometry.spacing_mm == pytest.approx(SPACING_3D if dims == 3 else (1, 1))
    assert all(case.reference is not None for case in dataset.test)
    picture(root, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 5000


def size_of(dims: int, size: int) -> tuple:
    return (size,) if dims == 2 else ((size // 3, size, size),)


def test_seeds_and_splits_do_not_share_cases_and_clean_sets_have_no_noise_file(tmp_path):
    first = write_phantom(tmp_path / "a", train=2, test=2, size=32)
    second = write_phantom(tmp_path / "b", train=2, test=2, size=32, seed=1)
    again = write_phantom(tmp_path / "c", train=2, test=2, size=32)
    seen = {digest(case_arrays(c, d)[0].array) for d in (first, second) for c in d.train + d.test}
    assert len(seen) == 8
    for case, same in zip(first.train, again.train, strict=True):
        assert case.images[0].read_bytes() == same.images[0].read_bytes()
    assert not (tmp_path / "a" / "noise.json").exists()
    assert not (tmp_path / "a" / "labelsTr_truth").exists()


def test_nothing_is_overwritten_and_nothing_is_left_half_written(tmp_path):
    root = tmp_path / "phantoms"

    def fails(label: np.ndarray, seed: int) -> np.ndarray:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_phantom(root, train=1, test=1, size=32, corrupt=fails)
    assert not list(tmp_path.iterdir())
    write_phantom(root, train=1, test=1, size=32)
    with pytest.raises(InputError, match="is not empty"):
        write_phantom(root, train=1, test=1, size=32)
    assert len(open_dataset(root).train) == 1
