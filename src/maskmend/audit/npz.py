"""Probabilities in an .npz of somebody's, read with distrust; and nnU-Net's regions, turned into classes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.formats import first_line
from ..data.layout import parse_labels, read_json_object
from ..errors import InputError
from ..functional.doubt import planes
from ..types import members

Array = NDArray[Any]

KEYS = ("probabilities", "softmax", "prob")
TOLERANCE = 0.01
"""How far the sum of a voxel's probabilities may be from one: rounding to float16 stays far below."""


@dataclass(frozen=True)
class Row:
    """One row of a network with regions: the label values it holds together, and the one that it is drawn as."""

    members: tuple[int, ...]
    value: int


Regions = tuple[Row, ...]


def read_regions(path: Path, classes: int) -> Regions | None:
    """The regions that nnU-Net's ``dataset.json`` declares, in the order of the rows; None without such.

    Raises InputError where it is wrong (``layout.parse_labels``), or has more than ``classes``.
    """
    if not path.is_file():
        return None
    content = read_json_object(path)
    labels = parse_labels(content, path)
    if not labels.regions:
        return None
    if len(labels.values) > classes:
        raise InputError(
            f"{path} has the label values 0 to {len(labels.values) - 1} in its regions, but the data set {classes} "
            "classes; give the training of this data set."
        )
    drawn = zip(labels.regions.values(), content["regions_class_order"], strict=True)
    return tuple(Row(members(region), value) for region, value in drawn)


def header(path: Path) -> tuple[int, ...]:
    """The shape of the probabilities in a file, without reading them.

    Raises InputError where it is damaged, holds none, or objects instead of numbers.
    """
    with _told(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        with archive.open(f"{_key(path, [name.removesuffix('.npy') for name in names])}.npy") as file:
            old = np.lib.format.read_magic(file) == (1, 0)
            reader = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(file)
    if dtype.kind != "f":
        raise InputError(f"{path} holds {dtype} instead of real numbers; save probabilities (K, *S) as float16.")
    return tuple(shape)


def read(path: Path, shape: Sequence[int]) -> Array:
    """The rows (K, *S) of a file as they are stored, S brought to ``shape`` where only axes of length 1 differ.

    Raises InputError as ``header``, and where the shape is another.
    """
    with _told(path), np.load(path, allow_pickle=False) as file:
        rows: Array = file[_key(path, file.files)]
    if [n for n in rows.shape[1:] if n != 1] != [n for n in shape if n != 1]:
        raise InputError(
            f"{path} has the shape {rows.shape}, but the image is {tuple(shape)}; save (K, *S), the axes in the order "
            "z, y, x."
        )
    return rows.reshape(len(rows), *shape)


def resolved(rows: Array, regions: Regions | None, classes: int, path: Path) -> NDArray[np.float32]:
    """Rows of classes or of regions -> probabilities (K, *S) float32, which sum to one.

    Raises InputError where a value is no probability, or those of a voxel do not sum to one.
    """
    low, high = rows.min(), rows.max()
    if not (low >= 0 and high <= 1 + TOLERANCE):
        raise InputError(
            f"{path} holds the value {high if low >= 0 else low:.6g}, which is no probability; save softmax values."
        )
    if regions is not None:
        return _classes_of(rows, regions, classes)
    prob = rows.astype(np.float32, copy=False)
    for part in planes(prob.shape[1:]):
        block = prob[:, part]
        total = block.sum(0)
        if high > 0:  # else nothing was predicted: told below
            block[0][total == 0] = 1
            total[total == 0] = 1
        worst = total.flat[np.abs(total - 1).argmax()]
        if abs(worst - 1) > TOLERANCE:
            raise InputError(
                f"{path} has probabilities that sum to {worst:.6g}, not to one; save softmax over all classes."
            )
        block /= total
    return prob


def _classes_of(rows: Array, regions: Regions, classes: int) -> NDArray[np.float32]:
    """What regions (R, *S), which may overlap, say of single classes (K, *S).

    A region has what its other members leave of it, the smallest first: exact where of any two regions one holds the
    other, or they are apart. What no region has is background.
    """
    prob = np.zeros((classes, *rows.shape[1:]), np.float32)
    for row, region in sorted(zip(rows, regions, strict=True), key=lambda pair: len(pair[1].members)):
        rest = prob[region.value]
        rest[...] = row
        for value in region.members:
            if value != region.value:
                rest -= prob[value]
        np.maximum(rest, 0, out=rest)
    for block in (prob[:, part] for part in planes(prob.shape[1:])):
        np.maximum(1 - block[1:].sum(0), 0, out=block[0])
        block /= block.sum(0)
    return prob


def _key(path: Path, names: Sequence[str]) -> str:
    key = next((key for key in KEYS if key in names), None)
    if key is None:
        raise InputError(
            f"{path} holds {', '.join(names) or 'nothing'}, but none of {', '.join(KEYS)}; name the array so."
        )
    return key


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Any trouble with the file within, as InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}); save it again, as plain numbers.") from error
