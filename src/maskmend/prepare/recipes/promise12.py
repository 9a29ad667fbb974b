"""PROMISE12: the prostate in T2-weighted MR. MLB-Seg's PROMISE12.

Layout, as public code reads it: ``Case00.mhd``, ``Case00.raw``, ``Case00_segmentation.mhd``,
``Case00_segmentation.raw``, up to ``Case49``, in three archives or one folder; the challenge's test cases have no masks
and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...data.formats import Picture
from ..arrays import percentiles, read_scan, resized, structures, to_bytes
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt
from .pairs import clean_scans, slices, volumes_of

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
    beside = clean_scans(archive, train, CLEAN), volumes_of(archive, train + test)
    return replace(scans, train=train, test=test, labels=LABELS, beside=beside)


def _scans(archive: Archive) -> Iterator[tuple[str, Picture, Picture]]:
    """Name, image (D, H, W), label 0 and 1."""
    for path in archive.each(archive.files("Case[0-9][0-9]_segmentation.mhd", 50)):
        name = path.name.removesuffix("_segmentation.mhd")
        image, mask = read_scan(archive.beside(path, path.with_name(f"{name}.mhd")), path)
        yield name, image, Picture(structures(mask.array, path), mask.geometry)


VOLUMES = Recipe(
    name="promise12",
    title="PROMISE12, training part",
    home="https://promise12.grand-challenge.org/",
    terms="for research, as its page says",
    cite="Litjens et al., Medical Image Analysis 18 (2014) 359",
    layout="50 Case??.mhd with Case??_segmentation.mhd, each with its .raw",
    makes="whole volumes as they are; 40 scans to learn from and 10 to test on, MLB-Seg's counts (drawn at random, "
    "too)",
    read=read,
    packed=("*rain*.zip", "*PROMISE12*.zip", "*promise12*.zip"),
)
RECIPES = (
    VOLUMES,
    replace(
        VOLUMES,
        name="promise12_slices",
        makes="a 2D case for each axial slice, squeezed to 144 x 144, in 8 bits from the scan's 1st to its 99th "
        "percentile; 40 scans to learn from and 10 to test on, MLB-Seg's counts (drawn at random there, too; for its "
        "Table 1 it parts the 10 into 4 for validation and 6); supervision.csv calls 3 scans, drawn by seed, clean, as "
        "MLB-Seg does",
        read=read_slices,
    ),
)
