"""BUS-UC: breast tumours in ultrasound. GSD-Net's BU_SUC: its counts add up to the 811 of BUS-UC, and its authors name
this source, so that no other set is mixed in.

Layout, as public code reads it: ``BUS_UC/All/images/NUMBER.png`` and ``BUS_UC/All/masks/NUMBER.png``, all 256 x 256,
and the same cases once more under ``Benign`` (358) and ``Malignant`` (453).
"""

from __future__ import annotations

from ..sources import Source
from .base import Archive, Recipe, dealt
from .pairs import squeezed

SIZE = (256, 256)


def read(archive: Archive) -> Source:
    """Images with masks of the same names."""
    drawn = {}
    for image in archive.files("All/images/*.*", 811):
        masks = image.parents[1] / "masks"
        drawn[image] = [archive.beside(image, masks / image.name, *sorted(masks.glob(f"{image.stem}.*")))]
    return dealt(squeezed(archive, drawn, SIZE), train=568, test=243, seed=archive.seed)


RECIPES = (
    Recipe(
        name="bus_uc",
        title="BUS-UC",
        home="https://www.kaggle.com/datasets/orvile/bus-uc-breast-ultrasound",
        terms="as its page says; read it",
        cite="Iqbal and Sharif, Eng. Appl. Artif. Intell. 127 (2024) 107292",
        layout="811 All/images/* and All/masks/*",
        makes="grey, 256 x 256; 568 cases to learn from and 243 to test on, GSD-Net's counts for BU_SUC (its list lies"
        " with its authors' data only). There are no patients' names",
        read=read,
        packed=("*bus*uc*.zip", "*BUS*UC*.zip"),
    ),
)
