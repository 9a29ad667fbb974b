"""Images and labels on disk: NIfTI, NRRD, MHA, PNG, BMP, TIFF. Geometry survives every round trip.

Every write goes to a temporary name in the same folder and is renamed when it is whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..texts import check_readable, read_object
from .align import aligned, apart
from .geometry import Array, Geometry, Picture
from .headers import check_data_files, segments
from .pictures import decode_picture, decode_tiff, encode_picture, encode_tiff
from .remarks import remark
from .scratch import temporary
from .volumes import decode_volume, encode_volume

__all__ = [
    "ENDINGS",
    "LOSSY",
    "PICTURES",
    "READ_ONLY",
    "VOLUMES",
    "Array",
    "Geometry",
    "Picture",
    "ending_of",
    "first_line",
    "read_image",
    "read_label",
    "replacing",
    "sources",
    "write_image",
    "write_json",
    "write_label",
]

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
PICTURES = (".png", ".bmp")
TIFFS = (".tif", ".tiff")
SEGMENTS = ".seg.nrrd"
"""What 3D Slicer calls a label map."""
ENDINGS: tuple[str, ...] = VOLUMES + PICTURES + TIFFS
"""What is read and written."""
LOSSY = (".jpg", ".jpeg")
"""What is read as an image, never as a label, and never written."""
READ_ONLY = (*LOSSY, ".gif")
"""What is read, and never written."""


def ending_of(path: Path) -> str:
    """The ending of a readable file, ".nii.gz" whole, in lower case.

    Raises InputError if no known format has it.
    """
    for ending in ENDINGS + READ_ONLY:
        if path.name.lower().endswith(ending):
            return ending
    raise InputError(f"{path} is in no known format; use one of {', '.join(ENDINGS)}.")


# --- reading ----------------------------------------------------------------------------------------------------------


def read_image(paths: Sequence[Path]) -> Picture:
    """The image of one case: one file per channel, or all channels in one file, in the files' own number type.

    Returns a Picture of (C, *S).
    Raises InputError where a file is missing or damaged, or where the channels do not lie on one grid (``align``).
    """
    first, *others = [_read(path, indices=False) for path in paths]
    if not others:
        return first
    channels = [first.array]
    for path, other in zip(paths[1:], others, strict=True):
        channel = aligned(other, first, str(path), str(paths[0]))
        if apart(channel, first):
            remark(
                f"{path.parent}: channels of a case differ in origin or direction, and one has a bare header; they are "
                "taken to lie on one grid."
            )
        channels.append(channel.array)
    return Picture(np.concatenate(channels), first.geometry)


def read_label(path: Path) -> Picture:
    """A label map of (*S) whole numbers.

    Raises InputError where the file is missing or damaged, holds colours, is a JPEG, or holds other than whole numbers.
    """
    if ending_of(path) in LOSSY:
        raise InputError(f"{path} is a JPEG, which blurs labels; convert the data set with `maskmend prepare`.")
    picture = _read(path, indices=True)
    if path.name.lower().endswith(SEGMENTS):
        picture = Picture(segments(path, picture.array), replace(picture.geometry, cropped=True))
    array = picture.array[0]
    if any(not np.array_equal(array, channel) for channel in picture.array[1:]):
        raise InputError(f"{path} is a colour picture, not a label map; save one whole number per pixel.")
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array))
        if not whole.all():
            raise InputError(f"{path} holds the value {array[~whole].flat[0]}; a label map holds whole numbers only.")
        array = array.astype(np.int64)
        array = array.astype(_narrowest(array))
    return Picture(array, picture.geometry)


def sources(paths: Sequence[Path]) -> tuple[Path, ...]:
    """All files that images or labels are read from: themselves, the data that a header names, the spacing of a TIFF.

    Raises InputError as ``check_data_files``.
    """
    beside = [_sidecar(path) for path in paths if path.name.lower().endswith(TIFFS)]
    data = (file for path in paths for file in check_data_files(path))
    return *paths, *dict.fromkeys(path for path in beside if path.exists()), *data


def _read(path: Path, indices: bool) -> Picture:
    """(C, *S) of one file, any trouble told as InputError."""
    path = Path(path)
    ending = ending_of(path)
    if not path.exists():
        raise InputError(f"{path} is missing; put it back, or take the case out of the data set.")
    check_readable(path)
    try:
        if ending in VOLUMES:
            array, geometry = decode_volume(path)
        elif ending in TIFFS:
            array = decode_tiff(path, indices)
            geometry = Geometry(_sidecar_spacing(path, array.ndim - 1))
        else:
            array = decode_picture(path, indices)
            geometry = Geometry((1.0, 1.0))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged file may raise anything in four libraries
        raise InputError(f"{path} cannot be read ({first_line(error)}); replace it by a whole copy.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} holds numbers of the kind {array.dtype}; save it as whole or real numbers.")
    if 0 in array.shape:
        raise InputError(f"{path} is empty (shape {array.shape[1:]}); replace it by a whole copy.")
    return _drop_singleton(Picture(array, geometry))


def first_line(error: BaseException) -> str:
    """The telling line of an error message, without addresses and paths of a library's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _drop_singleton(picture: Picture) -> Picture:
    """A 3D array of one slice as 2D, with what is needed to put the axis back."""
    shape = picture.array.shape[1:]
    if len(shape) != 3 or 1 not in shape:
        return picture
    axis = shape.index(1)
    steps = list(picture.geometry.spacing_mm)
    singleton = (axis, steps.pop(axis))
    geometry = replace(picture.geometry, spacing_mm=tuple(steps), singleton=singleton)
    return Picture(np.squeeze(picture.array, axis=axis + 1), geometry)


def _sidecar(path: Path) -> Path:
    """Where nnU-Net keeps the spacing of a TIFF: CASE.json beside CASE_0000.tif and CASE.tif."""
    stem = path.name[: -len(ending_of(path))]
    return path.with_name(re.sub(r"_\d{4}$", "", stem) + ".json")


def _sidecar_spacing(path: Path, dims: int) -> tuple[float, ...]:
    sidecar = _sidecar(path)
    if not sidecar.exists():
        return (1.0,) * dims
    spacing = read_object(sidecar, "correct or remove it").get("spacing")
    if not isinstance(spacing, list) or not all(type(step) in (int, float) and 0 < step < 1e9 for step in spacing):
        raise InputError(f'{sidecar} does not hold {{"spacing": [...]}}, lengths in mm; correct or remove it.')
    if len(spacing) != dims:
        raise InputError(f"{sidecar} gives the spacing {spacing}, but {path.name} has {dims} axes; correct it.")
    return tuple(map(float, spacing))


# --- writing ----------------------------------------------------------------------------------------------------------


def write_label(path: Path, label: Array, geometry: Geometry) -> None:
    """Write (*S) whole numbers in the narrowest type that holds them.

    Raises InputError where the file cannot be written.
    """
    if label.dtype.kind not in "uib":
        raise TypeError(f"a label map holds whole numbers, not {label.dtype}")
    _write(Path(path), label.astype(_narrowest(label))[None], geometry)


def write_image(path: Path, array: Array, geometry: Geometry) -> None:
    """Write one channel (*S), or several in one file (C, *S), without loss.

    Raises InputError where the format cannot hold them or the file cannot be written.
    """
    array = array.astype({"float16": np.float32, "bool": np.uint8}.get(array.dtype.name, array.dtype), copy=False)
    _write(Path(path), array[None] if array.ndim == len(geometry.spacing_mm) else array, geometry)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path with the same ending, renamed to ``path`` at the end, removed on any error.

    Raises InputError where the disk is full or the folder closed.
    """
    try:
        with temporary(path) as part:
            yield part
            os.replace(part, path)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"{path} cannot be written ({reason}); free some space or choose another folder.") from error


def _write(path: Path, array: Array, geometry: Geometry) -> None:
    ending = ending_of(path)
    _refuse_loss(path, ending, array)
    if ending in TIFFS and any(step != 1 for step in geometry.spacing_mm):
        write_json(_sidecar(path), {"spacing": list(geometry.spacing_mm)})
    with replacing(path) as temporary:
        try:
            _encode(temporary, ending, array, geometry)
        except (RuntimeError, EOFError) as error:  # SimpleITK's words for a full disk
            raise OSError(first_line(error)) from error


def _encode(path: Path, ending: str, array: Array, geometry: Geometry) -> None:
    if ending in VOLUMES:
        encode_volume(path, *_restore_singleton(array, geometry))
    elif ending in TIFFS:
        encode_tiff(path, array)
    else:
        encode_picture(path, array)


def _refuse_loss(path: Path, ending: str, array: Array) -> None:
    """InputError where the format cannot hold (C, *S) exactly."""
    if ending in READ_ONLY:
        raise InputError(f"{path} would lose detail as {ending}; use one of {', '.join(ENDINGS)}.")
    if ending not in PICTURES:
        return
    if array.ndim != 3 or len(array) not in (1, 3):
        raise InputError(f"{path} cannot hold an array of shape {array.shape}; use .nii.gz or .tif.")
    top = 65535 if ending == ".png" else 255
    if array.dtype.kind not in "uib" or array.min(initial=0) < 0 or array.max(initial=0) > top:
        raise InputError(
            f"{path} cannot hold {array.dtype} from {array.min()} to {array.max()} without loss; use .nii.gz or .tif."
        )


def _restore_singleton(array: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    if geometry.singleton is None:
        return array, geometry
    axis, step = geometry.singleton
    steps = list(geometry.spacing_mm)
    steps.insert(axis, step)
    return np.expand_dims(array, axis + 1), replace(geometry, spacing_mm=tuple(steps), singleton=None)


def _narrowest(label: Array) -> np.dtype[Any]:
    low, high = int(label.min(initial=0)), int(label.max(initial=0))
    names = ("uint8", "uint16") if low >= 0 else ("int8", "int16")
    for name in names:
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return np.dtype(name)
    return np.dtype("int32")
