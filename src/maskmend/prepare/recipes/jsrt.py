"""JSRT with the masks of SCR: lungs, heart and clavicles in chest X-rays. SP-guided's JSRT.

Layout, as public code reads it: ``JPCLN001.IMG`` (154, with a nodule) and ``JPCNN001.IMG`` (93, without), each 2048 x
2048 big-endian unsigned 16-bit numbers of 12 bits without a header, dark where X-rays are stopped: code that reads them
subtracts them from 1; SCR's ``fold1/masks/left lung/JPCLN001.gif``, ``right lung``, ``heart``, ``left clavicle``,
``right clavicle``, and the same under ``fold2``, 1024 x 1024. A pixel of 2048 is 0.175 mm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ...data.formats import Array
from ...errors import InputError
from ..arrays import FLAT, resized, united
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt

SIDE, LEVELS = 2048, 4096
SIZE = (256, 256)
STRUCTURES = {
    "lung": ("left lung", "right lung"),
    "heart": ("heart",),
    "clavicle": ("left clavicle", "right clavicle"),
}
CLAVICLES = (slice(0, 96), slice(24, 248))
"""Where clavicles are, of 256 x 256: SP-guided's released code."""


def read(
    archive: Archive, structures: tuple[str, ...], box: tuple[slice, slice] = (slice(None), slice(None))
) -> Source:
    """Each image with a label map of some structures, numbered as given; a later one lies over an earlier one."""
    images = archive.files("JPC[LN]N[0-9][0-9][0-9].IMG", 247)
    masks = {folder: archive.find(f"masks/{folder}/JPC*.gif") for name in structures for folder in STRUCTURES[name]}
    for folder, found in masks.items():
        if not found:
            raise archive.lacks(f"masks/{folder}/JPC*.gif")
    rule = archive.reader([path for found in masks.values() for path in found])
    pairs = []
    for image in archive.each(images):
        sides = {side: archive.partner(image, f"{image.stem}.gif", found) for side, found in masks.items()}
        drawn = {
            value: np.any([resized(rule(sides[side]).array, SIZE, nearest=True) for side in STRUCTURES[name]], 0)
            for value, name in enumerate(structures, 1)
        }
        stored = archive.image(image.stem, resized(_pixels(image), SIZE)[box], FLAT)
        pairs.append(Pair(image.stem, (stored,), archive.mask(image.stem, united(drawn)[box], FLAT)))
    source = dealt(pairs, train=197, test=50, seed=archive.seed)
    labels = {"background": 0, **{name: value for value, name in enumerate(structures, 1)}}
    return Source(source.train, source.test, labels=labels, about=source.about)


def _pixels(path: Path) -> Array:
    """(2048, 2048) uint8, bones bright."""
    raw = np.fromfile(path, ">u2")
    if raw.size != SIDE * SIDE:
        raise InputError(f"{path} holds {2 * raw.size} bytes, not {2 * SIDE * SIDE}; unpack the archive anew.")
    if raw.max() >= LEVELS:
        raise InputError(f"{path} holds the value {raw.max()}, beyond 12 bits; it is no image of JSRT.")
    return ((LEVELS - 1 - raw.reshape(SIDE, SIDE)) // (LEVELS // 256)).astype(np.uint8)


def _recipe(name: str, makes: str, reads: Callable[[Archive], Source]) -> Recipe:
    return Recipe(
        name=name,
        title="JSRT with SCR",
        home="https://db.jsrt.or.jp/eng.php",
        terms="images: free for research after registration; masks (SCR, https://zenodo.org/record/7056076): as their "
        "page says",
        cite="Shiraishi et al., AJR 174 (2000) 71; van Ginneken et al., Medical Image Analysis 10 (2006) 19",
        layout="247 JPC?N???.IMG and, from SCR, masks/left lung/JPC?N???.gif, masks/right lung, masks/heart, "
        "masks/left clavicle, masks/right clavicle",
        makes=f"grey, bones bright, 256 x 256, {makes}; 197 cases to learn from and 50 to test on, SP-guided's counts "
        "(its list is not published), the same cases for every structure. An image is a patient",
        read=reads,
        packed=("*247*.zip", "*Nodule*.zip", "*scratch*", "*SCR*", "*scr*"),
    )


RECIPES = (
    _recipe("jsrt", "all three as classes, clavicles over the rest", partial(read, structures=tuple(STRUCTURES))),
    _recipe("jsrt_lung", "both lungs one class", partial(read, structures=("lung",))),
    _recipe("jsrt_heart", "the heart", partial(read, structures=("heart",))),
    _recipe(
        "jsrt_clavicle",
        "cut to rows 0 to 95 and columns 24 to 247, both clavicles one class",
        partial(read, structures=("clavicle",), box=CLAVICLES),
    ),
)
