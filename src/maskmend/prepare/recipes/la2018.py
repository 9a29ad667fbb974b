"""LA 2018: the left atrium in late gadolinium-enhanced MR, 0.625 mm. ALC's and MLB-Seg's LA.

Layout, as UA-MT's ``la_heart_processing.py`` reads it: ``…Training Set/CASE/lgemri.nrrd`` with ``laendo.nrrd`` (0 and
255). Or the ``…Training Set/CASE/mri_norm2.h5`` that it writes and that UA-MT distributes (``image`` and ``label``,
axes x, y, z): normalised, then cut about the atrium. From the first, the same is made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.formats import Geometry, Picture
from ..arrays import cut, extent, percentiles, read_h5, read_scan, resized, structures, to_bytes
from ..sources import Pair, Source
from .base import Archive, Recipe, parted
from .pairs import clean_scans, scan_of, slices, volumes_of

SIDE, MARGINS = 112, (10, 20)
"""At least 112 rows and columns, and a margin of 10 to 19 on each side (UA-MT)."""
SLICE = (144, 144)
CLEAN = 8
TEST = (
    "UPT6DX9IQY9JAZ7HJKA7", "UTBUJIWZMKP64E3N73YC", "ULHWPWKKLTE921LQLH1P", "V0MZOWJ6MU3RMRCV9EXR",
    "VDOF02M8ZHEAADFMS6NP", "VG4C826RAAKVMV9BQLVD", "VIXBEFTNVHZWKAKURJBN", "VQ2L3WM8KEVF6L44E6G9",
    "WBG9WYZ1B25WDT5WAT8T", "WMDG2EFA6L2SNDZXIRU0", "WNPKE0W404QE9AELX1LR", "WSJB9P4JCXUVHBOYFVWL",
    "WW8F5CO4S4K5IM5Z7EXX", "X18LU5AOBNNDMLTA0JZL", "XYDLYJ5CS19FDBVLJIPI", "Y7ZU0B2APPF54WG6PDMF",
    "YDKD1HVHSME6NVMA8I39", "Z9GMG63CJLL0VW893BB1", "ZIJLJAVQV3FJ6JSQOH1E", "ZQPMJ4XEC5A4BISD45P1",
)  # fmt: skip
"""The 20 test cases of UA-MT's ``test.list``, which ALC and MLB-Seg follow."""
SPLIT = "UA-MT's list: 80 scans to learn from, 20 to test on"


def read(archive: Archive) -> Source:
    """Volumes about the atrium."""
    pairs = []
    for name, image, label in _scans(archive):
        stored = archive.image(name, image.array, image.geometry, ".nii.gz")
        pairs.append(Pair(name, (stored,), archive.mask(name, label.array, image.geometry, ".nii.gz")))
    source = parted(pairs, lambda pair: pair.name in TEST, SPLIT)
    return replace(source, channel_names=("MRI",), labels={"background": 0, "left atrium": 1})


def read_slices(archive: Archive) -> Source:
    """Slices across the long axis of the body, and 8 scans whose masks count as clean."""
    pairs: list[Pair] = []
    for name, image, label in _scans(archive):
        pixels = to_bytes(image.array, *percentiles(image.array, 0.1, 99.9))
        pairs += slices(archive, name, resized(pixels, SLICE), resized(label.array, SLICE, nearest=True))
    source = parted(pairs, lambda pair: scan_of(pair.name) in TEST, SPLIT)
    said = clean_scans(archive, source.train, CLEAN)
    return replace(source, beside=(said, volumes_of(archive, pairs)), labels={"background": 0, "left atrium": 1})


def _scans(archive: Archive) -> Iterator[tuple[str, Picture, Picture]]:
    """Name, image (D, H, W) float32 of mean 0 and sd 1 before it was cut, label 0 and 1."""
    raw = archive.find("*rain*/*/lgemri.nrrd")
    paths = raw or archive.files("*rain*/*/mri_norm2.h5", 100)
    if raw:
        archive.check(len(raw), 100, "*rain*/*/lgemri.nrrd")
    for place, path in enumerate(archive.each(paths)):
        name = path.parent.name
        yield (name, *(_cropped(archive, path, place) if raw else _stored(path)))


def _stored(path: Path) -> tuple[Picture, Picture]:
    found = read_h5(path, ("image", "label"))
    geometry = Geometry((0.625,) * 3)
    return Picture(found["image"].T, geometry), Picture(structures(found["label"].T, path), geometry)


def _cropped(archive: Archive, path: Path, place: int) -> tuple[Picture, Picture]:
    drawn = archive.beside(path, path.with_name("laendo.nrrd"))
    image, mask = read_scan(path, drawn)
    label = structures(mask.array, drawn)
    margins = np.random.default_rng([archive.seed, place]).integers(*MARGINS, size=(2, 2))
    box = [slice(0, len(label))]
    for (first, last), (before, after), length in zip(extent(label, path)[1:], margins, label.shape[1:], strict=True):
        more = max(SIDE - (last - first), 0) // 2
        box.append(slice(max(first - int(before) - more, 0), min(last + int(after) + more, length)))
    pixels = image.array.astype(np.float32)
    normal = Picture((pixels - pixels.mean()) / max(float(pixels.std()), 1e-6), image.geometry)
    return cut(normal, tuple(box)), cut(Picture(label, image.geometry), tuple(box))


VOLUMES = Recipe(
    name="la2018",
    title="2018 Atrial Segmentation Challenge, training part",
    home="https://www.cardiacatlas.org/atriaseg2018-challenge/atria-seg-data/",
    terms="for research, as its page says; UA-MT passes its .h5 on without terms of its own",
    cite="Xiong et al., Medical Image Analysis 67 (2021) 101832; for the split Yu et al., UA-MT, MICCAI 2019",
    layout="100 Training Set/*/lgemri.nrrd with laendo.nrrd, or 100 Training Set/*/mri_norm2.h5 of UA-MT",
    makes="volumes at 0.625 mm of mean 0 and sd 1, then cut in rows and columns about the atrium, by its mask, as "
    "UA-MT does (margins drawn by seed); 80 scans to learn from and 20 to test on, UA-MT's list",
    read=read,
    packed=("*rain*.zip", "*tria*.zip"),
)
RECIPES = (
    VOLUMES,
    replace(
        VOLUMES,
        name="la2018_slices",
        makes="a 2D case for each slice of the volumes of la2018, squeezed to 144 x 144, in 8 bits from the volume's "
        "0.1th to its 99.9th percentile; 80 scans to learn from and 20 to test on, UA-MT's list; supervision.csv calls "
        "8 scans, drawn by seed, clean, as MLB-Seg does (its list is not published)",
        read=read_slices,
    ),
)
