"""BUSI: breast tumours in ultrasound.

Layout of Dataset_BUSI.zip, as public code reads it: ``Dataset_BUSI_with_GT/benign/benign (1).png`` with
``benign (1)_mask.png`` and, where there are more tumours, ``benign (1)_mask_1.png``; ``malignant`` alike; ``normal``
images show no tumour and have empty masks.
"""

from __future__ import annotations

from ..sources import Source
from .base import Archive, Recipe, dealt
from .pairs import squeezed

SIZE = (256, 256)


def read(archive: Archive) -> Source:
    """The images with a tumour; several masks of one image are one class."""
    images = archive.files("benign/benign (*).png", 437) + archive.files("malignant/malignant (*).png", 210)
    pairs = []
    for image in archive.each(images):
        first = archive.beside(image, image.with_name(f"{image.stem}_mask.png"))
        masks = [first, *sorted(image.parent.glob(f"{image.stem}_mask_*.png"))]
        pairs.append(squeezed(archive, image, masks, SIZE))
    return dealt(pairs, train=453, test=194, seed=archive.seed)


RECIPES = (
    Recipe(
        name="busi",
        title="BUSI",
        home="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        terms="as its page says; read it",
        cite="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28 (2020) 104863",
        layout="437 benign/benign (*).png and 210 malignant/malignant (*).png, with masks beside them",
        makes="grey, squeezed to 256 x 256; the 647 images with a tumour, 453 to learn from and 194 to test on: none "
        "of the five papers uses it. Some images are there twice, and there are no patients' names, so that copies "
        "may be on both sides",
        read=read,
        packed=("*BUSI*.zip",),
    ),
)
