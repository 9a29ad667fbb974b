"""What recipes do to arrays: other sizes, boxes cut out, slices, intensities in a byte; and formats only they read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..data.formats import Array, Geometry, Picture, first_line, read_image
from ..data.volumes import decode_volume, simple_itk
from ..errors import InputError

FLAT = Geometry((1.0, 1.0))
"""Of a picture whose pixels have no size in mm, or lost it when it was squeezed."""
Box = tuple[slice, ...]


# --- reading ----------------------------------------------------------------------------------------------------------


def read_grey(path: Path) -> Array:
    """A picture (H, W) float32: the mean of its channels. Raises InputError if it cannot be read."""
    grey: Array = read_image([path]).array.astype(np.float32).mean(0)
    return grey


def read_volume(path: Path) -> Picture:
    """A volume (D, H, W) of any format that ITK reads, MHD too. Raises InputError if it cannot be read."""
    try:
        array, geometry = decode_volume(path)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    if array.ndim != 4 or len(array) != 1:
        raise InputError(f"{path} has the shape {array.shape}; a volume of one channel is expected: get it anew.")
    return Picture(array[0], geometry)


def read_scan(image: Path, mask: Path) -> tuple[Picture, Picture]:
    """A volume and its mask, (D, H, W) each. Raises InputError where they are not alike in shape, or unreadable."""
    scan, drawn = read_volume(image), read_volume(mask)
    if scan.array.shape != drawn.array.shape:
        raise InputError(f"{mask} has the shape {drawn.array.shape}, but its image {image} has {scan.array.shape}.")
    return scan, drawn


def read_series(folder: Path) -> Picture:
    """The DICOM series in a folder, (D, H, W): slices in order of position, rows as in the files, rescaled (CT: HU).

    Raises InputError where there is not exactly one series, or it cannot be read.
    """
    sitk = simple_itk()
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise InputError(f"{folder} holds {len(series)} DICOM series where one is expected; get it anew.")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(folder, error) from error
    spacing, direction = image.GetSpacing()[::-1], tuple(float(value) for value in image.GetDirection())
    return Picture(sitk.GetArrayFromImage(image), Geometry(spacing, image.GetOrigin(), direction))


def read_h5(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Arrays of an HDF5 file by name. Raises InputError without h5py, and where the file lacks one or is damaged."""
    try:
        h5py: Any = import_module("h5py")
    except ImportError:
        raise InputError(f"{path} is HDF5, which needs another library: pip install h5py.") from None
    try:
        with h5py.File(path, "r") as file:
            return {name: np.asarray(file[name]) for name in names}
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> InputError:
    return InputError(f"{path} cannot be read ({first_line(error)}); unpack the archive anew.")


# --- shaping ----------------------------------------------------------------------------------------------------------


def resized(array: Array, size: tuple[int, int], nearest: bool = False) -> Array:
    """(..., H, W) at another size, each picture by itself: bilinear, with antialiasing where it shrinks, or
    ``nearest`` for masks. Numbers keep their type."""
    from PIL import Image

    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    flat = array.reshape(-1, *array.shape[-2:]).astype(np.float32)
    pictures = [np.asarray(Image.fromarray(picture).resize(size[::-1], how)) for picture in flat]
    found = np.stack(pictures).reshape(*array.shape[:-2], *size)
    return (np.rint(found) if array.dtype.kind in "ui" else found).astype(array.dtype)


def to_bytes(array: Array, low: float, high: float) -> Array:
    """Values from ``low`` to ``high`` as 0 to 255, uint8; those beyond are cut off."""
    share = (np.asarray(array, np.float32) - low) / max(high - low, 1e-6)
    found: Array = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    return found


def percentiles(array: Array, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of an array."""
    found = np.percentile(array, (low, high))
    return float(found[0]), float(found[1])


def extent(mask: Array, path: Path) -> list[tuple[int, int]]:
    """First and last place of the foreground along each axis. Raises InputError where the mask at ``path`` has none."""
    if not mask.any():
        raise InputError(f"{path} marks nothing; unpack the archive anew.")
    return [(int(places.min()), int(places.max())) for places in np.nonzero(mask)]


def window(centre: int, size: int, length: int) -> slice:
    """``size`` places about a centre, moved to lie within an axis of this length, all of it if it is shorter."""
    start = min(max(centre - size // 2, 0), max(length - size, 0))
    return slice(start, min(start + size, length))


def padded(array: Array, size: tuple[int, ...]) -> Array:
    """An array with zeros at its ends, where it is smaller than ``size``."""
    missing = [max(want - have, 0) for want, have in zip(size, array.shape, strict=True)]
    return np.pad(array, [(lack // 2, lack - lack // 2) for lack in missing])


def cut(picture: Picture, box: Box) -> Picture:
    """A box of a volume (D, H, W), where it lies in the patient."""
    geometry = picture.geometry
    start_mm = [part.start * step for part, step in zip(box, geometry.spacing_mm, strict=True)][::-1]
    if geometry.origin is not None and geometry.direction is not None:
        moved = np.reshape(geometry.direction, (len(box), len(box))) @ start_mm
        origin = tuple(float(a + b) for a, b in zip(geometry.origin, moved, strict=True))
        geometry = replace(geometry, origin=origin)
    return Picture(picture.array[box], geometry)


def resampled(picture: Picture, spacing_mm: float, nearest: bool = False) -> Picture:
    """A volume (D, H, W) on a grid of equal steps, from the same first voxel: linear, or ``nearest`` for masks."""
    sitk = simple_itk()
    geometry = picture.geometry
    image = sitk.GetImageFromArray(picture.array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    size = [
        max(round(length * step / spacing_mm), 1)
        for length, step in zip(picture.array.shape, geometry.spacing_mm, strict=True)
    ]
    how = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    fill = float(picture.array.min())
    origin, direction, steps = image.GetOrigin(), image.GetDirection(), [spacing_mm] * 3
    found = sitk.Resample(image, size[::-1], sitk.Transform(), how, origin, steps, direction, fill)
    return Picture(sitk.GetArrayFromImage(found), replace(geometry, spacing_mm=(spacing_mm,) * 3))


def structures(mask: Array, path: Path, values: Collection[int] = ()) -> Array:
    """The mask of an archive's ``path`` (*S) as uint8: as it is, where it holds some of ``values`` only; or, without,
    0 and 1, the higher of its two values, however it was saved.

    Raises InputError where it holds others.
    """
    found = [float(value) for value in np.unique(mask)]
    if strange := [value for value in found if value not in values] if values else found[2:]:
        known = ", ".join(map(str, sorted(values))) if values else "background and one structure"
        raise InputError(f"{path} holds the value {strange[0]:g}, where {known} are expected; unpack the archive anew.")
    return (mask if values else mask > (found[0] if len(found) > 1 else 0)).astype(np.uint8)


def united(classes: Mapping[int, Array]) -> Array:
    """Masks (*S) as one label map, uint8; where they overlap, the last holds."""
    label = np.zeros(next(iter(classes.values())).shape, np.uint8)
    for value, mask in classes.items():
        label[mask > 0] = value
    return label
