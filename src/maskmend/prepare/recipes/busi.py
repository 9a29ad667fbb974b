"""BUSI: breast tumours in ultrasound.

Layout of Dataset_BUSI.zip, as public code reads it: ``Dataset_BUSI_with_GT/benign/benign (1).png`` with
``benign (1)_mask.png`` (of 1 bit) and, where there are more tumours, ``benign (1)_mask_1.png``; ``malignant`` alike;
``normal`` images show no tumour and have empty masks. Other copies sort images and masks into two folders,
``benign/images/`` and ``benign/mask/``.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..sources import Source
from .base import Archive, Recipe, dealt
from .pairs import squeezed

SIZE = (256, 256)
KINDS = {"benign": 437, "malignant": 210}
MASKS = ("mask", "masks", "label", "labels")


def read(archive: Archive) -> Source:
    """The images with a tumour; several masks of one image are one class."""
    images = {path: kind for kind, count in KINDS.items() for path in _images(archive, kind, count)}
    drawn = {path: _masks(archive, path) for path in images}

    def name(path: Path) -> str:
        return path.stem if path.stem.startswith(images[path]) else f"{images[path]}_{path.stem}"

    return dealt(squeezed(archive, drawn, SIZE, name=name), train=453, test=194, seed=archive.seed)


def _images(archive: Archive, kind: str, count: int) -> list[Path]:
    found = archive.find(f"{kind}/{kind} (*).png", f"{kind}/images/*.png", f"{kind}/image/*.png")
    if not found:
        raise archive.lacks(f"{kind}/{kind} (*).png")
    archive.check(len(found), count, f"{kind}/{kind} (*).png")
    return found


def _masks(archive: Archive, image: Path) -> list[Path]:
    """Beside the image, or under its name in a folder beside its folder."""
    others = [image.parents[1] / name for name in MASKS if image.parent.name in ("images", "image")]
    named = re.compile(re.escape(image.stem) + r"([ _-]mask([ _-]?\d+)?)?\.png", re.IGNORECASE)
    folders = [folder for folder in others if folder.is_dir()] or [image.parent]
    found = [path for folder in folders for path in sorted(folder.iterdir()) if named.fullmatch(path.name)]
    masks = [path for path in found if path != image]
    return masks or [archive.beside(image, folders[0] / f"{image.stem}_mask.png")]


RECIPES = (
    Recipe(
        name="busi",
        title="BUSI",
        home="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        terms="as its page says; read it",
        cite="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28 (2020) 104863",
        layout="437 benign/benign (*).png and 210 malignant/malignant (*).png with masks beside them, or benign/images "
        "and benign/mask, malignant/images and malignant/mask",
        makes="grey, squeezed to 256 x 256; the 647 images with a tumour, 453 to learn from and 194 to test on: none "
        "of the five papers uses it. Some images are there twice, and there are no patients' names, so that copies "
        "may be on both sides",
        read=read,
        packed=("*BUSI*.zip",),
    ),
)
