"""MMIS-2024, task 1 (NPC-170): nasopharyngeal carcinoma in MR, drawn by four raters. GSD-Net's MMIS-2024.

Layout, as D-Persona (by the challenge's organisers) and GSD-Net read it: ``training_2d/*.h5``, slices (H, W) of 100
patients, and ``validation/*.h5``, volumes (D, H, W) of 20, each with ``t1``, ``t1c``, ``t2`` and ``label_a1`` to
``label_a4``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...data.formats import Array
from ...errors import InputError
from ..arrays import FLAT, read_h5, resized, structures
from ..sources import Pair, Source
from .base import Archive, Recipe
from .pairs import volumes_of

SIZE = (128, 128)
CHANNELS = {"T1": "t1", "T1c": "t1c", "T2": "t2"}
MAY_BE_EMPTY = 0.5
"""Slices at a tumour's end, of which the majority of the raters is background."""
RATERS = {"A1": "label_a1", "A2": "label_a2", "A3": "label_a3", "A4": "label_a4"}


def read(archive: Archive) -> Source:
    """Slices to learn from, and the slices of the validation volumes to test on."""
    parts = archive.files("training_2d/*.h5", 2405), archive.files("validation/*.h5", 20)
    train, test = (
        tuple(pair for path in archive.each(paths) for pair in _pairs(archive, path, dims))
        for paths, dims in zip(parts, (2, 3), strict=True)
    )
    about = {"split": "the challenge's training and validation parts"}
    labels = {"background": 0, "tumour": 1}
    return Source(train, test, tuple(CHANNELS), labels, about=about, beside=(volumes_of(archive, train + test),))


def _pairs(archive: Archive, path: Path, dims: int) -> list[Pair]:
    """The cases of a file: itself, or each of its slices."""
    found = read_h5(path, (*CHANNELS.values(), *RATERS.values()))
    shape = found["t1"].shape
    if len(shape) != dims or any(array.shape != shape for array in found.values()):
        shapes = ", ".join(map(str, sorted({array.shape for array in found.values()})))
        raise InputError(f"{path} holds arrays of the shape {shapes}; expected are {dims}D ones of one shape.")
    if dims == 2:
        return [_pair(archive, path.stem, found, path)]
    slices = [{word: array[n] for word, array in found.items()} for n in range(shape[0])]
    return [_pair(archive, f"{path.stem}_s{n:03d}", each, path) for n, each in enumerate(slices)]


def _pair(archive: Archive, name: str, found: dict[str, Array], path: Path) -> Pair:
    pixels = [resized(found[word].astype(np.float32), SIZE) for word in CHANNELS.values()]
    images = tuple(archive.image(f"{name}_{n:04d}", array, FLAT, ".tif") for n, array in enumerate(pixels))
    masks = {who: resized(structures(found[word], path), SIZE, nearest=True) for who, word in RATERS.items()}
    raters = tuple((who, archive.mask(name, mask, FLAT, ".tif", of=who)) for who, mask in masks.items())
    return Pair(name, images, None, raters)


RECIPES = (
    Recipe(
        name="mmis2024",
        title="MMIS-2024, task 1",
        home="https://mmis2024.com/",
        terms="for research, as its page says",
        cite="Wu et al., Dataset, Challenge, and Evaluation for Tumor Segmentation Variability, ACM MM 2024; Luo et "
        "al., Radiotherapy and Oncology 180 (2023) 109480",
        layout="2405 training_2d/*.h5 and 20 validation/*.h5",
        makes="2D cases of three channels (T1, T1c, T2), 128 x 128, with labelsTr_raters and labelsTs_raters of A1 to "
        "A4: 2405 slices of 100 patients to learn from, and each slice of 20 to test on, GSD-Net's. Test"
        " slices are put together to volumes, by volumes.csv",
        read=read,
        packed=("*MMIS*.zip", "*mmis*.zip"),
        empty=MAY_BE_EMPTY,
    ),
)
