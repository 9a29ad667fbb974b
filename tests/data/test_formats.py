"""Every format: values and geometry come back as they went; damage and loss are told, never passed over."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from maskmend.data.cache import content_hash
from maskmend.data.formats import (
    ENDINGS,
    VOLUMES,
    Geometry,
    ending_of,
    read_image,
    read_label,
    write_image,
    write_label,
)
from maskmend.errors import InputError

C, S = np.cos(0.3), np.sin(0.3)
TILTED = Geometry((3.25, 0.5, 0.75), origin=(1.5, -7.25, 33.0), direction=(C, -S, 0.0, S, C, 0.0, 0.0, 0.0, 1.0))


def ramp(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def rewrite_all_but(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("ending", ENDINGS)
def test_label_comes_back_in_2d(tmp_path: Path, ending: str) -> None:
    label = ramp(6, 9)
    write_label(tmp_path / f"a{ending}", label.astype(np.int64), Geometry((1.0, 1.0)))
    back = read_label(tmp_path / f"a{ending}")
    assert back.array.dtype == np.uint8
    np.testing.assert_array_equal(back.array, label)
    assert back.geometry.spacing_mm == (1.0, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{ending}"]


@pytest.mark.parametrize("ending", [*VOLUMES, ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_image_comes_back_in_3d(tmp_path: Path, ending: str, dtype: str) -> None:
    image = ramp(3, 5, 7, dtype=dtype)
    write_image(tmp_path / f"a_0000{ending}", image, TILTED)
    back = read_image([tmp_path / f"a_0000{ending}"])
    assert back.array.dtype == image.dtype
    np.testing.assert_array_equal(back.array[0], image)
    assert back.geometry.spacing_mm == TILTED.spacing_mm
    if ending != ".tif":
        np.testing.assert_allclose(back.geometry.origin, TILTED.origin)
        np.testing.assert_allclose(back.geometry.direction, TILTED.direction, atol=1e-6)


def test_nifti_to_nifti_keeps_geometry_exactly(tmp_path: Path) -> None:
    odd = Geometry((3.3, 0.7, 0.8), origin=(1.1, -7.1, 33.3), direction=TILTED.direction)
    write_image(tmp_path / "a.nii.gz", ramp(3, 5, 7), odd)
    first = read_image([tmp_path / "a.nii.gz"]).geometry
    write_label(tmp_path / "b.nii.gz", ramp(3, 5, 7), first)
    assert read_label(tmp_path / "b.nii.gz").geometry == first


@pytest.mark.parametrize(("ending", "axis"), [(".nii.gz", 0), (".mha", 1)])
def test_one_slice_is_read_as_2d_and_written_as_it_was(tmp_path: Path, ending: str, axis: int) -> None:
    volume = np.expand_dims(ramp(5, 7), axis)
    write_image(tmp_path / f"a{ending}", volume, TILTED)
    picture = read_image([tmp_path / f"a{ending}"])
    assert picture.array.shape == (1, 5, 7)
    assert len(picture.geometry.spacing_mm) == 2
    write_label(tmp_path / f"b{ending}", picture.array[0], picture.geometry)
    before, after = sitk.ReadImage(tmp_path / f"a{ending}"), sitk.ReadImage(tmp_path / f"b{ending}")
    assert before.GetSize() == after.GetSize()
    assert before.GetSpacing() == after.GetSpacing()
    assert before.GetDirection() == after.GetDirection()


def test_sheared_nifti_keeps_its_affine(tmp_path: Path) -> None:
    affine = np.array([[0.5, 0.2, 0, 4], [0, 0.75, 0, 5], [0, 0.1, 2, 6], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(ramp(4, 5, 6), affine), tmp_path / "a.nii.gz")
    picture = read_image([tmp_path / "a.nii.gz"])
    assert picture.array.shape == (1, 6, 5, 4)
    write_label(tmp_path / "b.nii.gz", picture.array[0], picture.geometry)
    back = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(back.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(back.dataobj), ramp(4, 5, 6))


def test_a_fourth_axis_and_vector_components_are_channels(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(ramp(4, 5, 6, 2), np.diag([1, 2, 3, 1.0])), tmp_path / "a.nii.gz")
    picture = read_image([tmp_path / "a.nii.gz"])
    np.testing.assert_array_equal(picture.array, ramp(4, 5, 6, 2).T)
    assert picture.geometry.spacing_mm == (3.0, 2.0, 1.0)
    assert len(picture.geometry.direction or ()) == 9
    for ending in (".nii.gz", ".nrrd", ".mha"):
        write_image(tmp_path / f"v{ending}", picture.array, picture.geometry)
        np.testing.assert_array_equal(read_image([tmp_path / f"v{ending}"]).array, picture.array)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_colour_is_three_channels(tmp_path: Path, ending: str) -> None:
    write_image(tmp_path / f"a{ending}", ramp(3, 6, 9), Geometry((1.0, 1.0)))
    np.testing.assert_array_equal(read_image([tmp_path / f"a{ending}"]).array, ramp(3, 6, 9))


@pytest.mark.parametrize("shape", [(6, 9), (3, 6, 9)])
def test_sixteen_bit_png(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = (ramp(*shape, dtype="uint16") * 250).astype(np.uint16)
    write_image(tmp_path / "a.png", image, Geometry((1.0, 1.0)))
    back = read_image([tmp_path / "a.png"]).array
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, image.reshape(-1, 6, 9))


def test_palette_is_colour_in_an_image_and_class_in_a_label(tmp_path: Path) -> None:
    palette = Image.fromarray(ramp(2, 3) % 3).convert("L")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png").array, ramp(2, 3) % 3)
    image = read_image([tmp_path / "a.png"]).array
    assert image.shape == (3, 2, 3)
    assert image[0, 0, 1] == 255


def test_one_bit_label_and_grey_saved_as_colour(tmp_path: Path) -> None:
    mask = ramp(5, 6) % 2
    Image.fromarray(mask.astype(bool)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png").array, mask)
    Image.fromarray(np.stack([mask] * 3, -1)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_label(tmp_path / "b.png").array, mask)
    Image.fromarray(ramp(5, 6, 3)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"c\.png is a colour picture"):
        read_label(tmp_path / "c.png")


def test_alpha_is_dropped_only_where_it_says_nothing(tmp_path: Path) -> None:
    rgba = ramp(4, 5, 4)
    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image([tmp_path / "a.png"]).array, np.moveaxis(rgba[..., :3], -1, 0))
    rgba[0, 0, 3] = 7
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has a transparency"):
        read_image([tmp_path / "a.png"])


def test_tiff_sidecar_gives_the_spacing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_0000.tif", ramp(3, 5, 7), photometric="minisblack")
    (tmp_path / "a.json").write_text('{"spacing": [2.5, 1, 1]}')
    assert read_image([tmp_path / "a_0000.tif"]).geometry.spacing_mm == (2.5, 1.0, 1.0)
    (tmp_path / "a.json").write_text('{"spacing": [2.5, 1]}')
    with pytest.raises(InputError, match=r"a\.json gives the spacing"):
        read_image([tmp_path / "a_0000.tif"])


def test_channels_of_one_case_share_a_grid(tmp_path: Path) -> None:
    paths = [tmp_path / f"a_000{i}.mha" for i in range(2)]
    write_image(paths[0], ramp(3, 5, 7), TILTED)
    write_image(paths[1], ramp(3, 5, 7, dtype="float32"), TILTED)
    assert read_image(paths).array.shape == (2, 3, 5, 7)
    write_image(paths[1], ramp(3, 5, 8), TILTED)
    with pytest.raises(InputError, match=r"a_0001\.mha has the shape \(3, 5, 8\), but .*a_0000\.mha has \(3, 5, 7\)"):
        read_image(paths)


def test_a_float_label_of_whole_numbers_is_taken(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz", ramp(3, 5, 7, dtype="float64"), TILTED)
    assert read_label(tmp_path / "a.nii.gz").array.dtype == np.uint8
    write_image(tmp_path / "a.nii.gz", ramp(3, 5, 7, dtype="float64") + 0.5, TILTED)
    with pytest.raises(InputError, match=r"a\.nii\.gz holds the value 0\.5"):
        read_label(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"a{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    write_image(path, noise, Geometry((1.0, 1.0)))
    rewrite_all_but(path, share)
    with pytest.raises(InputError, match=f"a{ending} cannot be read"):
        read_image([path])


@pytest.mark.parametrize("ending", [*VOLUMES, ".tif"])
def test_nan_is_not_hidden(tmp_path: Path, ending: str) -> None:
    image = np.array([[1, np.nan, np.inf]] * 4, np.float32)
    write_image(tmp_path / f"a{ending}", image, Geometry((1.0, 1.0)))
    np.testing.assert_array_equal(read_image([tmp_path / f"a{ending}"]).array[0], image)


def test_nifti_kinds(tmp_path: Path) -> None:
    """Big-endian, NIfTI-2, scaled and colour files."""
    array, affine = ramp(4, 5, 6, dtype="int16"), np.eye(4)
    big = nibabel.Nifti1Header(endianness=">")
    big.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, affine, big), tmp_path / "big.nii.gz")
    nibabel.save(nibabel.Nifti2Image(array, affine), tmp_path / "two.nii")
    for name in ("big.nii.gz", "two.nii"):
        back = read_image([tmp_path / name]).array[0]
        np.testing.assert_array_equal(back, array.T)
        assert back.dtype == np.int16
    scaled = nibabel.Nifti1Image(array, affine)
    scaled.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(scaled, tmp_path / "scaled.nii.gz")
    raw = nibabel.load(tmp_path / "scaled.nii.gz")
    back = read_image([tmp_path / "scaled.nii.gz"]).array
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[0], raw.get_fdata().T)
    colour = sitk.GetImageFromArray(ramp(2, 4, 5, 3), isVector=True)
    sitk.WriteImage(colour, tmp_path / "colour.nii.gz")
    np.testing.assert_array_equal(read_image([tmp_path / "colour.nii.gz"]).array, np.moveaxis(ramp(2, 4, 5, 3), -1, 0))
    rgb = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    nibabel.save(nibabel.Nifti1Image(rgb, affine), tmp_path / "rgb.nii.gz")
    back = read_image([tmp_path / "rgb.nii.gz"]).array
    assert back.shape == (3, 6, 5, 4)
    assert [int(channel.max()) for channel in back] == [0, 7, 0]


def test_other_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png is missing"):
        read_image([tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no known format"):
        ending_of(tmp_path / "a.dcm")
    Image.fromarray(ramp(5, 6)).save(tmp_path / "a.jpg")
    assert read_image([tmp_path / "a.jpg"]).array.shape == (1, 5, 6)
    with pytest.raises(InputError, match="maskmend prepare"):
        read_label(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.jpg", ramp(5, 6)),
        ("a.png", ramp(5, 6, dtype="float32")),
        ("a.png", ramp(2, 5, 6)),
        ("a.bmp", ramp(5, 6, dtype="uint16") + 300),
        ("a.png", ramp(5, 6, dtype="int16") - 1),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, array: np.ndarray) -> None:
    with pytest.raises(InputError, match=name):
        write_image(tmp_path / name, array, Geometry((1.0, 1.0)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    write_label(path, ramp(4, 4), Geometry((1.0, 1.0)))
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (256, 256), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match=f"a{ending} cannot be written"):
            write_label(path, noise, Geometry((1.0, 1.0)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for read in (read_label, lambda path: content_hash([path])):
        with pytest.raises(InputError, match=r"a\.png is a pipe"):
            read(tmp_path / "a.png")
