"""PROMISE12: the prostate in T2-weighted MR. MLB-Seg's PROMISE12.

Layout, as public code reads it: ``Case00.mhd``, ``Case00.raw``, ``Case00_segmentation.mhd``,
``Case00_segmentation.raw``, up to ``Case49``, in three archives or one folder; the challenge's test cases have no masks
and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ...formats import Picture
from ..arrays import percentiles, read_scan, resized, to_bytes
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt
from .pairs import scan_of, slices

SLICE = (144, 144)
CLEAN = 3
LABELS = {"background": 0, "prostate": 1}


def read(archive: Archive) -> Source:
    """Whole volumes."""
    pairs = []
    for name, image, label in _scans(archive):
        stored = archive.image(name, image.array, image.geometry, ".nii.gz")
        pairs.append(Pair(name, (stored,), archive.mask(name, label.array, label.geometry, ".nii.gz")))
    source = dealt(pairs, train=40, test=10, seed=archive.seed)
    return replace(source, channel_names=("MRI",), labels=LABELS)


def read_slices(archive: Archive) -> Source:
    """Axial slices, and 3 scans whose masks count as clean."""
    made: dict[str, list[Pair]] = {}
    for name, image, label in _scans(archive):
        pixels = to_bytes(image.array, *percentiles(image.array, 1, 99))
        made[name] = slices(archive, name, resized(pixels, SLICE), resized(label.array, SLICE, nearest=True))
    scans = dealt([Pair(name, (), None) for name in made], train=40, test=10, seed=archive.seed)
    train, test = (tuple(pair for scan in part for pair in made[scan.name]) for part in (scans.train, scans.test))
    names = [scan.name for scan in scans.train]
    clean = {names[place] for place in np.random.default_rng(archive.seed).permutation(len(names))[:CLEAN]}
    said = archive.supervision(train, lambda pair: scan_of(pair.name) in clean)
    return replace(scans, train=train, test=test, labels=LABELS, beside=(said,))


def _scans(archive: Archive) -> Iterator[tuple[str, Picture, Picture]]:
    """Name, image (D, H, W), label 0 and 1."""
    for path in archive.each(archive.files("Case[0-9][0-9]_segmentation.mhd", 50)):
        name = path.name.removesuffix("_segmentation.mhd")
        image, mask = read_scan(archive.beside(path, path.with_name(f"{name}.mhd")), path)
        yield name, image, Picture((mask.array > 0).astype(np.uint8), mask.geometry)


def _recipe(name: str, makes: str, read: Callable[[Archive], Source]) -> Recipe:
    return Recipe(
        name=name,
        title="PROMISE12, training part",
        home="https://promise12.grand-challenge.org/",
        terms="for research, as its page says",
        cite="Litjens et al., Medical Image Analysis 18 (2014) 359",
        layout="50 Case??.mhd with Case??_segmentation.mhd, each with its .raw",
        makes=makes,
        read=read,
        packed=("*rain*.zip", "*PROMISE12*.zip", "*promise12*.zip"),
    )


RECIPES = (
    _recipe(
        "promise12",
        "whole volumes as they are; 40 scans to learn from and 10 to test on, MLB-Seg's counts (drawn at random, too)",
        read,
    ),
    _recipe(
        "promise12_slices",
        "a 2D case for each axial slice, squeezed to 144 x 144, in 8 bits from the scan's 1st to its 99th percentile; "
        "40 scans to learn from and 10 to test on, MLB-Seg's counts (drawn at random there, too; for its Table 1 it "
        "parts the 10 into 4 for validation and 6); supervision.csv calls 3 scans, drawn by seed, clean, as MLB-Seg "
        "does",
        read_slices,
    ),
)
