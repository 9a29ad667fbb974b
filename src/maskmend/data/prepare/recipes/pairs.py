"""Pairs that several recipes make alike: squeezed pictures, and the slices of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....errors import InputError
from ...formats import Array, read_image
from ..arrays import FLAT, read_grey, resized
from ..sources import Pair
from ..survey import THRESHOLD
from .base import Archive


def squeezed(archive: Archive, image: Path, masks: Sequence[Path], size: tuple[int, int], colour: bool = False) -> Pair:
    """A picture and what any of its ``masks`` marks, at ``size`` whatever their shape was: the picture bilinear with
    antialiasing, in ``colour`` or grey; masks cut at ``THRESHOLD``, then the nearest pixel.

    Raises InputError where a mask is not as large as its picture.
    """
    pixels = read_image([image]).array if colour else np.rint(read_grey(image)).astype(np.uint8)
    inside = np.zeros(pixels.shape[-2:], bool)
    for path in masks:
        mask = read_grey(path)
        if mask.shape != inside.shape:
            raise InputError(f"{path} has the shape {mask.shape}, but its image {image.name} has {inside.shape}.")
        inside |= mask > THRESHOLD
    stored = archive.image(image.stem, resized(pixels, size), FLAT)
    return Pair(image.stem, (stored,), archive.mask(image.stem, resized(inside.astype(np.uint8), size, True), FLAT))


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


def clean_scans(archive: Archive, train: Sequence[Pair], count: int) -> Path:
    """A supervision.csv that calls the slices of ``count`` scans, drawn by seed, clean and the others noisy."""
    scans = sorted({scan_of(pair.name) for pair in train})
    clean = {scans[place] for place in np.random.default_rng(archive.seed).permutation(len(scans))[:count]}
    rows = [f"{pair.name},{'clean' if scan_of(pair.name) in clean else 'noisy'}" for pair in train]
    path = archive.scratch / "supervision.csv"
    path.write_text("\n".join(["case,supervision", *rows]) + "\n", encoding="utf-8")
    return path
