"""Pairs that several recipes make alike: squeezed pictures, and the slices of volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...data.formats import Array, read_image
from ...data.stack import FILE, SLICE, write_volumes
from ...errors import InputError
from ..arrays import FLAT, read_grey, resized
from ..sources import Pair
from .base import Archive


def squeezed(
    archive: Archive,
    drawn: Mapping[Path, Sequence[Path]],
    size: tuple[int, int],
    colour: bool = False,
    name: Callable[[Path], str] = lambda path: path.stem,
) -> list[Pair]:
    """Pictures and what any of the masks ``drawn`` of each marks, at ``size`` whatever their shape was: pictures
    bilinear with antialiasing, in ``colour`` or grey; masks the nearest pixel. ``name``: of the case of a picture.

    Raises InputError where a mask is not as large as its picture, or masks hold more than one structure.
    """
    rule = archive.reader([mask for masks in drawn.values() for mask in masks])
    pairs = []
    for image, masks in archive.each(list(drawn.items())):
        pixels = read_image([image]).array if colour else np.rint(read_grey(image)).astype(np.uint8)
        inside = np.zeros(pixels.shape[-2:], np.uint8)
        for path in masks:
            mask = rule(path).array
            if mask.shape != inside.shape:
                raise InputError(f"{path} has the shape {mask.shape}, but its image {image.name} has {inside.shape}.")
            inside |= mask.astype(np.uint8)
        case = name(image)
        stored = archive.image(case, resized(pixels, size), FLAT)
        pairs.append(Pair(case, (stored,), archive.mask(case, resized(inside, size, True), FLAT)))
    return pairs


def slices(archive: Archive, name: str, image: Array, label: Array) -> list[Pair]:
    """A case for each slice of a volume (D, H, W): NAME_s000, NAME_s001, …, ``image`` uint8."""
    made = []
    for place in range(len(image)):
        case = f"{name}_s{place:03d}"
        stored = archive.image(case, image[place], FLAT)
        made.append(Pair(case, (stored,), archive.mask(case, label[place], FLAT)))
    return made


def scan_of(case: str) -> str:
    """The scan that a slice is of."""
    return case.rpartition("_s")[0]


def volumes_of(archive: Archive, pairs: Iterable[Pair]) -> Path:
    """A volumes.csv that says which scan each slice is of; what is no slice stands alone."""
    named = ((pair.name, SLICE.fullmatch(pair.name)) for pair in pairs)
    rows = ((case, match[1], int(match[2])) if match else (case, case, 0) for case, match in named)
    return write_volumes(archive.scratch / FILE, rows)


def clean_scans(archive: Archive, train: Sequence[Pair], count: int) -> Path:
    """A supervision.csv that calls the slices of ``count`` scans, drawn by seed, clean and the others noisy."""
    scans = sorted({scan_of(pair.name) for pair in train})
    clean = {scans[place] for place in np.random.default_rng(archive.seed).permutation(len(scans))[:count]}
    rows = [f"{pair.name},{'clean' if scan_of(pair.name) in clean else 'noisy'}" for pair in train]
    path = archive.scratch / "supervision.csv"
    path.write_text("\n".join(["case,supervision", *rows]) + "\n", encoding="utf-8")
    return path
