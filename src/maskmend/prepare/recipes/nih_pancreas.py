"""NIH Pancreas-CT: the pancreas in CT. ALC's NIH.

Layout, as public code reads it: ``Pancreas-CT/PANCREAS_0001/STUDY/SERIES/*.dcm`` and, apart from them,
``TCIA_pancreas_labels-02-05-2017/label0001.nii.gz``. 82 scans were released; numbers 25 and 70 were withdrawn since.

The flip: the labels' own headers do not lie on the scans. By their indices they do, where a scan is read in the order
of its DICOM rows (CoraNet compares them so); scans that a converter turned upside down need labels turned in y
(deedsBCV). Here labels are laid by index, and whether they must be turned in y or z is read from the first scans: by
the share of the label that lies on soft tissue.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.formats import Array, Picture, read_label
from ...errors import InputError
from ..arrays import cut, extent, read_series, resampled, structures
from ..sources import Pair, Source
from .base import Archive, Recipe, parted

WINDOW_HU = (-125.0, 275.0)
SOFT_HU = (0.0, 200.0)
SPACING_MM = 1.0
MARGIN, SIDE = 25, 96
TRAIN = 62
TURNS = {"as they are": (1, 1), "turned in y": (1, -1), "turned in z": (-1, 1), "turned in y and z": (-1, -1)}
LOOKED_AT = 5


def read(archive: Archive) -> Source:
    """Volumes about the pancreas, from 0 to 1 in a window of soft tissue."""
    series, labels = _series(archive), archive.files("label[0-9][0-9][0-9][0-9].nii*", (82, 80))
    drawn = {int(path.name[5:9]): path for path in labels}
    if lone := sorted(set(series) - set(drawn)):
        raise archive.lacks(f"label{lone[0]:04d}.nii.gz")
    turn = _turn(archive, [(series[number], drawn[number]) for number in list(series)[:LOOKED_AT]])
    pairs = []
    for number, folder in archive.each(list(series.items())):
        image, label = _prepared(*_laid(folder, drawn[number], turn), drawn[number])
        name = f"PANCREAS_{number:04d}"
        stored = archive.image(name, image.array, image.geometry, ".nii.gz")
        pairs.append(Pair(name, (stored,), archive.mask(name, label.array, label.geometry, ".nii.gz")))
    tests = {pair.name for pair in pairs[min(TRAIN, len(pairs) - 1) :]}
    source = parted(pairs, lambda pair: pair.name in tests, f"by number: the first {TRAIN} to learn from (CoraNet)")
    about = {**source.about, "labels_laid": turn}
    return replace(source, channel_names=("HU",), labels={"background": 0, "pancreas": 1}, about=about)


def _series(archive: Archive) -> dict[int, Path]:
    """Number of a scan -> the folder with its slices."""
    folders: dict[int, set[Path]] = {}
    for path in archive.find("*.dcm"):
        if match := re.search(r"PANCREAS_(\d{4})", str(path)):
            folders.setdefault(int(match[1]), set()).add(path.parent)
    if not folders:
        raise archive.lacks("PANCREAS_*/**/*.dcm")
    archive.check(len(folders), (80, 82), "scans PANCREAS_*")
    for number, found in folders.items():
        if len(found) > 1:
            raise InputError(f"PANCREAS_{number:04d} has slices in {len(found)} folders; keep one series of it.")
    return {number: next(iter(found)) for number, found in sorted(folders.items())}


def _laid(folder: Path, label: Path, turn: str) -> tuple[Picture, Array]:
    """A scan in HU and its label (D, H, W) of 0 and 1, on one grid."""
    image, mask = read_series(folder), read_label(label).array
    if mask.shape != image.array.shape:
        raise InputError(f"{label} has the shape {mask.shape}, but its scan {folder} has {image.array.shape}.")
    z, y = TURNS[turn]
    return image, structures(mask, label)[::z, ::y]


def _turn(archive: Archive, looked_at: list[tuple[Path, Path]]) -> str:
    """How labels must be turned to lie on soft tissue. Raises InputError where no way does."""
    low, high = SOFT_HU
    shares = dict.fromkeys(TURNS, 0.0)
    for folder, label in looked_at:
        image, mask = _laid(folder, label, "as they are")
        soft = (image.array >= low) & (image.array <= high)
        for turn, (z, y) in TURNS.items():
            shares[turn] += float(soft[mask[::z, ::y] > 0].mean()) / len(looked_at)
    best = max(shares, key=lambda turn: shares[turn])
    if shares[best] < 0.7:
        raise InputError(
            f"{archive.given}: only {shares[best]:.0%} of the labels lie on soft tissue, however they are turned: "
            "check that scans and labels belong together."
        )
    return best


def _prepared(image: Picture, label: Array, path: Path) -> tuple[Picture, Picture]:
    """At 1 mm, in the window, cut about the pancreas."""
    low, high = WINDOW_HU
    share = ((image.array.astype(np.float32) - low) / (high - low)).clip(0, 1)
    pixels = resampled(Picture(share, image.geometry), SPACING_MM)
    inside = resampled(Picture(label, image.geometry), SPACING_MM, nearest=True)
    box = []
    for (first, last), length in zip(extent(inside.array, path), inside.array.shape, strict=True):
        more = max(SIDE - (last - first + 1 + 2 * MARGIN) + 1, 0) // 2
        start, stop = max(first - MARGIN - more, 0), min(last + 1 + MARGIN + more, length)
        box.append(slice(start, stop))
    return cut(pixels, tuple(box)), cut(inside, tuple(box))


RECIPES = (
    Recipe(
        name="nih_pancreas",
        title="NIH Pancreas-CT",
        home="https://www.cancerimagingarchive.net/collection/pancreas-ct/",
        terms="CC BY 3.0",
        cite="Roth et al., Data From Pancreas-CT, The Cancer Imaging Archive 2016",
        layout="80 (once 82) scans PANCREAS_*/**/*.dcm, and label????.nii.gz of TCIA_pancreas_labels-02-05-2017.zip",
        makes="volumes at 1 mm, -125 to 275 HU as 0 to 1, cut about the pancreas, by its mask, with a margin of 25 mm "
        "and at least 96 each way, as CoraNet does (which takes slices for as thick as pixels are wide: here "
        "they are not); the first 62 scans to learn from, the others to test on: 20 of the 82 that ALC counts, "
        "18 of the 80 left",
        read=read,
        packed=("*ancreas*.zip",),
    ),
)
