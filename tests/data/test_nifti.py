"""Where a NIfTI lies is read as nibabel reads it, and written as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmend.data.formats import Geometry, read_image, read_label, write_image, write_label
from maskmend.errors import InputError

VERSIONS: dict[int, Any] = {
    1: (nibabel.Nifti1Image, nibabel.Nifti1Header),
    2: (nibabel.Nifti2Image, nibabel.Nifti2Header),
}
CODES = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 4), (1, 2)]
SHAPES = [(5, 6, 7), (5, 6, 1), (1, 6, 7), (5, 6), (5, 6, 7, 2)]


def affine(seed: int, shear: float = 0.0) -> np.ndarray:
    """Oblique, 0.7 × 0.8 × 3.3 mm."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = turn * [0.7, 0.8, 3.3], [1.1 * seed, -2.2, 33.3]
    found[0, 1] += shear
    return found


def save(path: Path, shape: tuple[int, ...] = (5, 6, 7), version: int = 1, unit: int = 2, **forms: Any) -> Path:
    """A file of which ``forms`` are qform and sform, each (affine, code)."""
    image, header = VERSIONS[version]
    found = image(np.arange(np.prod(shape)).reshape(shape).astype(np.int16), None, header())
    found.header.set_data_dtype(np.int16)
    for name, (matrix, code) in forms.items():
        getattr(found.header, f"set_{name}")(matrix, code)
    found.header["xyzt_units"] = unit
    nibabel.save(found, path)
    return path


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shear", [0.0, 0.3])
def test_a_mask_has_its_image_s_header(
    tmp_path: Path, version: int, codes: tuple[int, int], shape: tuple[int, ...], shear: float
) -> None:
    ending = ".nii" if shear else ".nii.gz"
    forms = {"qform": (affine(1), codes[0]), "sform": (affine(2, shear), codes[1])}
    path = save(tmp_path / f"a{ending}", shape, version, 2 + 8 * bool(shear), **forms)
    picture = read_image([path])
    write_label(tmp_path / f"b{ending}", np.ones(picture.array.shape[1:], np.uint8), picture.geometry)
    image, mask = nibabel.load(path), nibabel.load(tmp_path / f"b{ending}")
    assert type(mask) is type(image)
    assert mask.shape == image.shape[:3]
    np.testing.assert_array_equal(mask.affine, image.affine)
    for form in ("qform", "sform"):
        (given, code), (written, other) = (getattr(each.header, f"get_{form}")(coded=True) for each in (image, mask))
        assert code == other
        assert given is written is None or np.array_equal(given, written)
    assert mask.header["xyzt_units"] == image.header["xyzt_units"]
    assert mask.header.get_zooms() == image.header.get_zooms()[:3]


def world(geometry: Geometry, index: tuple[int, int, int]) -> np.ndarray:
    """RAS mm of (x, y, z), by the fields that all formats share."""
    steps = np.array(geometry.spacing_mm[::-1])
    found = np.array(geometry.origin) + np.reshape(geometry.direction or (), (3, 3)) @ (steps * index)
    return found * [-1, -1, 1]


@pytest.mark.parametrize("codes", CODES)
def test_the_affine_is_nibabel_s(tmp_path: Path, codes: tuple[int, int]) -> None:
    path = save(tmp_path / "a.nii", qform=(affine(1), codes[0]), sform=(affine(2, 0.2), codes[1]))
    expected = nibabel.affines.apply_affine(nibabel.load(path).affine, (4, 3, 2))
    np.testing.assert_allclose(world(read_image([path]).geometry, (4, 3, 2)), expected, atol=1e-5)


@pytest.mark.parametrize(("unit", "mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (2 + 8, 1.0)])
def test_units_are_told_in_mm_and_kept(tmp_path: Path, unit: int, mm: float) -> None:
    path = save(tmp_path / "a.nii.gz", unit=unit, sform=(np.diag([2, 3, 4, 1.0]), 1))
    geometry = read_image([path]).geometry
    assert geometry.spacing_mm == pytest.approx((4 * mm, 3 * mm, 2 * mm))
    write_label(tmp_path / "b.nii.gz", np.ones((7, 6, 5), np.uint8), geometry)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "b.nii.gz").affine, nibabel.load(path).affine)


def test_a_negative_step_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", qform=(np.diag([2, 3, 4, 1.0]), 1))
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(-2).tobytes()  # pixdim[1]
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.nii has the step -2 \(pixdim\)"):
        read_image([path])


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_affine_that_places_nothing_is_told(tmp_path: Path, value: float) -> None:
    save(tmp_path / "a.nii", sform=(np.full((4, 4), value), 1))
    with pytest.raises(InputError, match=r"a\.nii cannot be read \(its affine .* does not place three axes"):
        read_image([tmp_path / "a.nii"])


def test_a_geometry_that_was_changed_is_written_as_it_is_now(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", qform=(affine(1), 1), sform=(affine(1), 2))
    picture = read_image([path])
    moved = replace(picture.geometry, origin=(1.0, 2.0, 3.0))
    write_image(tmp_path / "b.nii", picture.array[0], moved)
    back = nibabel.load(tmp_path / "b.nii")
    np.testing.assert_allclose(back.affine[:3, 3], [-1, -2, 3])
    np.testing.assert_allclose(back.get_qform(), back.affine, atol=1e-5)
    assert read_label(tmp_path / "b.nii").geometry.spacing_mm == picture.geometry.spacing_mm


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_from_and_to_itk_s_formats(tmp_path: Path, ending: str) -> None:
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int64).reshape(3, 4, 5))
    image.SetSpacing((0.7, 0.8, 3.3))
    image.SetOrigin((1.5, -2.5, 7.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, tmp_path / f"a{ending}")
    picture = read_image([tmp_path / f"a{ending}"])
    for name in ("b.nii.gz", f"c{ending}"):
        write_image(tmp_path / name, picture.array[0], picture.geometry)
        back = sitk.ReadImage(tmp_path / name)
        assert back.GetPixelID() == image.GetPixelID()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(back), picture.array[0])
        np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin())
        np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), rtol=1e-6)
