"""One rule for a label and its image, the channels of a case, a prediction and its reference."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmend.data.align import aligned, apart, resampled
from maskmend.data.dataset import case_arrays, open_dataset, write_dataset
from maskmend.data.formats import Picture, read_label, write_image
from maskmend.data.geometry import Geometry
from maskmend.data.survey import check_dataset
from maskmend.errors import InputError

SHAPE = (5, 6, 7)
TURN, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TURN * [0.7, 0.8, 3.3], [-40, 22, 7]
PLACED = np.array([[-0.7, 0, 0, 90], [0, 0.8, 0, -126], [0, 0, 3.3, 7], [0, 0, 0, 1]])
LPS, RAS = np.diag([-1.0, -1, 1, 1]), np.eye(4)


def array(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)


def save(path: Path, affine: np.ndarray | None, data: np.ndarray | None = None) -> Picture:
    nibabel.save(nibabel.Nifti1Image(array() if data is None else data, affine), path)
    return read_label(path)


def reordered(path: Path, affine: np.ndarray, order: str, data: np.ndarray | None = None) -> Picture:
    """The same voxels at the same places, stored in another order."""
    image = nibabel.Nifti1Image(array() if data is None else data, affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(tuple(order))
    )
    nibabel.save(image.as_reoriented(turn), path)
    return read_label(path)


ORDERS = ["".join(order) for pairs in itertools.permutations(("LR", "PA", "IS")) for order in itertools.product(*pairs)]


@pytest.mark.parametrize("affine", [LPS, RAS, PLACED, OBLIQUE])
def test_every_order_of_axes_is_turned(tmp_path: Path, affine: np.ndarray) -> None:
    still = save(tmp_path / "a.nii", affine)
    for order in ORDERS:
        turned = aligned(reordered(tmp_path / "b.nii", affine, order), still, "b", "a")
        np.testing.assert_array_equal(turned.array, still.array, err_msg=order)
        assert not apart(turned, still)


@pytest.mark.parametrize("shape", [(1, 6, 7), (5, 1, 7), (5, 6, 1)])
def test_a_slice_is_turned_as_well(tmp_path: Path, shape: tuple[int, ...]) -> None:
    still = save(tmp_path / "a.nii", PLACED, array(shape))
    for order in ORDERS:
        moved = reordered(tmp_path / "b.nii", PLACED, order, array(shape))
        np.testing.assert_array_equal(aligned(moved, still, "b", "a").array, still.array, err_msg=order)


def test_another_format_of_the_same_place(tmp_path: Path) -> None:
    still = save(tmp_path / "a.nii", OBLIQUE)
    write_image(tmp_path / "a.mha", still.array, still.geometry)
    image = sitk.DICOMOrient(sitk.ReadImage(tmp_path / "a.mha"), "SAR")
    sitk.WriteImage(image, tmp_path / "b.nrrd")
    np.testing.assert_array_equal(aligned(read_label(tmp_path / "b.nrrd"), still, "b", "a").array, still.array)


def shifted(affine: np.ndarray, *mm: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += mm
    return moved


def rolled(affine: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ affine


@pytest.mark.parametrize(
    ("affine", "moved", "said"),
    [
        (PLACED, PLACED * [1, 1, 2, 1], r"b has the spacing 6\.6 × 0\.8 × 0\.7 mm, but a has 3\.3 × 0\.8 × 0\.7 mm"),
        (RAS, np.diag([3.0, 3, 3, 1]), r"b has the spacing 3 × 3 × 3 mm, but a has 1 × 1 × 1 mm"),
        (PLACED, shifted(PLACED, 0, 0, 5), r"b has the origin \(-90, 126, 12\) mm, but a has \(-90, 126, 7\) mm"),
        (OBLIQUE, shifted(OBLIQUE, 0.1, 0, 0), r"b has the origin \(39\.9, -22, 7\) mm, but a has \(40, -22, 7\)"),
        (PLACED, rolled(PLACED, 20), r"b has the direction .*0\.342.* but a has \(1, 0, 0\)"),
        (PLACED, rolled(PLACED, 45), r"b has the direction"),
        (PLACED, PLACED + np.eye(4, k=1) * 0.3, r"b has the spacing"),
    ],
)
def test_another_grid_is_refused_with_both_values(
    tmp_path: Path, affine: np.ndarray, moved: np.ndarray, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        aligned(save(tmp_path / "b.nii", moved), save(tmp_path / "a.nii", affine), "b", "a")


def test_rounding_is_no_other_place(tmp_path: Path) -> None:
    still = save(tmp_path / "a.nii", OBLIQUE)
    for moved in (shifted(OBLIQUE, 0.05, 0, 0), rolled(OBLIQUE, 0.05), OBLIQUE * [1.00005, 1, 1, 1]):
        assert aligned(save(tmp_path / "b.nii", moved), still, "b", "a").array is not None


def test_a_bare_header_is_excused_where_that_is_asked_for(tmp_path: Path) -> None:
    still = save(tmp_path / "a.nii", shifted(LPS, 90, -126, 7))
    for affine in (LPS, RAS):
        bare = save(tmp_path / "b.nii", affine)
        taken = aligned(bare, still, "b", "a")
        assert taken is bare
        assert apart(taken, still)
        with pytest.raises(InputError, match="b has the origin"):
            aligned(bare, still, "b", "a", excuse_bare=False)


def test_files_without_a_place_are_taken_as_they_are_stored(tmp_path: Path) -> None:
    still = save(tmp_path / "a.nii", np.diag([2.0, 3, 4, 1]))
    image = nibabel.Nifti1Image(array(), None)
    image.header.set_zooms((2, 3, 4))
    nibabel.save(image, tmp_path / "b.nii")
    silent = read_label(tmp_path / "b.nii")
    assert not silent.geometry.placed
    assert aligned(silent, still, "b", "a", excuse_bare=False) is silent
    flat = Picture(still.array, Geometry((1.0, 1.0, 1.0)))
    assert aligned(flat, still, "b", "a").geometry == still.geometry
    assert aligned(still, flat, "b", "a") is still
    with pytest.raises(InputError, match=r"b has the spacing 1 × 1 × 2 mm, but a has 4 × 3 × 2 mm"):
        aligned(Picture(still.array, Geometry((1.0, 1.0, 2.0))), still, "b", "a")
    with pytest.raises(InputError, match=r"b has the shape \(7, 5, 6\), but a has \(7, 6, 5\)"):
        aligned(Picture(still.array.reshape(7, 5, 6), Geometry((1.0, 1.0, 1.0))), still, "b", "a")


@pytest.mark.parametrize("moved", [PLACED * [1, 1, 0.4, 1], rolled(PLACED, 20), PLACED + np.eye(4, k=1) * 0.3])
def test_resampling_is_simple_itk_s(tmp_path: Path, moved: np.ndarray) -> None:
    """Each voxel of the grid has the value of the voxel nearest to it in mm."""
    still, given = save(tmp_path / "a.nii", PLACED), save(tmp_path / "b.nii", moved)
    found = resampled(given, still, "b")
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    index = nibabel.affines.apply_affine(np.linalg.inv(moved) @ PLACED, places).round().astype(int)
    inside = ((index >= 0) & (index < SHAPE)).all(-1)
    expected = np.zeros(SHAPE, np.uint8)
    expected[inside] = array()[tuple(index[inside].T)]
    assert np.mean(expected == found.array.T) > 0.99  # halves are rounded one way or the other
    assert found.geometry == still.geometry


def data_set(root: Path, image: np.ndarray, *channels: nibabel.Nifti1Image, label: nibabel.Nifti1Image) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number, channel in enumerate((nibabel.Nifti1Image(array(), image), *channels)):
        nibabel.save(channel, root / f"imagesTr/x_{number:04d}.nii.gz")
    nibabel.save(label, root / "labelsTr/x.nii.gz")
    names = [f"T{number}" for number in range(1 + len(channels))]
    write_dataset(root, names, {"background": 0, "a": 1, "b": 2}, ".nii.gz", 1)
    return root


def test_channels_and_labels_of_a_case_are_turned_onto_its_first_channel(tmp_path: Path) -> None:
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(array(), LPS))
    data = open_dataset(data_set(tmp_path / "d", LPS, canonical, label=canonical))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(data)
    image, label = case_arrays(data.train[0], data)
    np.testing.assert_array_equal(image.array[0], image.array[1])
    np.testing.assert_array_equal(label.array, image.array[0])
    assert label.geometry == image.geometry


def test_another_place_in_a_case_is_refused_and_a_bare_header_is_told(tmp_path: Path) -> None:
    same, other = (nibabel.Nifti1Image(array(), affine) for affine in (PLACED, shifted(PLACED, 5, 0, 0)))
    bare = nibabel.Nifti1Image(array(), np.diag([0.7, 0.8, 3.3, 1]))
    data = open_dataset(data_set(tmp_path / "label", PLACED, label=other))
    with pytest.raises(InputError, match=r"labelsTr/x\.nii\.gz has the origin .* its image x_0000\.nii\.gz has"):
        check_dataset(data)
    data = open_dataset(data_set(tmp_path / "channel", PLACED, other, label=same))
    with pytest.raises(InputError, match=r"x_0001\.nii\.gz has the origin .*x_0000\.nii\.gz has"):
        check_dataset(data)
    data = open_dataset(data_set(tmp_path / "bare", PLACED, bare, label=bare))
    with pytest.warns(UserWarning, match="image and label differ"), pytest.warns(UserWarning, match="channels of a"):
        check_dataset(data)


def test_a_bare_label_keeps_its_header_for_what_is_made_of_it(tmp_path: Path) -> None:
    still = save(tmp_path / "a.nii", PLACED)
    bare = save(tmp_path / "b.nii", np.diag([-0.7, -0.8, 3.3, 1]))
    assert aligned(bare, still, "b", "a").geometry == bare.geometry
