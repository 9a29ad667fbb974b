"""Kvasir-SEG: polyps in colonoscopy. GSD-Net's Kvasir.

Layout: that of the official kvasir-seg.zip, ``Kvasir-SEG/images/NAME.jpg`` and ``Kvasir-SEG/masks/NAME.jpg``.
"""

from __future__ import annotations

from ..sources import Source
from .base import Archive, Recipe, dealt
from .pairs import squeezed

SIZE = (256, 256)


def read(archive: Archive) -> Source:
    """Images with masks of the same names."""
    images = archive.files("images/*.jpg", 1000)
    masks = [archive.beside(image, image.parents[1] / "masks" / image.name) for image in images]
    pairs = squeezed(archive, {image: [mask] for image, mask in zip(images, masks, strict=True)}, SIZE, colour=True)
    return dealt(pairs, train=700, test=300, seed=archive.seed)


RECIPES = (
    Recipe(
        name="kvasir_seg",
        title="Kvasir-SEG",
        home="https://datasets.simula.no/kvasir-seg/",
        terms="free for research and education; other use needs the owners' permission",
        cite="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020",
        layout="1000 images/*.jpg and masks/*.jpg",
        makes="RGB, 256 x 256; 700 cases to learn from and 300 to test on, GSD-Net's counts (its list lies with its "
        "authors' data only). Frames of one patient may be on both sides: there are no patients' names",
        read=read,
        packed=("kvasir-seg*.zip",),
    ),
)
