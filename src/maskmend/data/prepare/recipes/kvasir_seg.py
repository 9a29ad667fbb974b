"""Kvasir-SEG: polyps in colonoscopy. GSD-Net's Kvasir."""

from __future__ import annotations

from ....errors import InputError
from ...formats import read_image
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt, resized

SIZE = (256, 256)


def read(archive: Archive) -> Source:
    """``images/*.jpg`` with ``masks/*.jpg`` of the same names. JPEG masks are cut at 127, after resizing."""
    pairs = []
    for image in archive.files("images/*.jpg", 1000):
        mask = image.parents[1] / "masks" / image.name
        if not mask.exists():
            raise InputError(f"{image} has no {mask}; unpack the archive from {archive.recipe.home} anew.")
        picture, drawn = read_image([image]), read_image([mask])
        pixels = resized(picture.array.transpose(1, 2, 0), SIZE, order=1)
        inside = resized((drawn.array[0] > 127).astype("uint8"), SIZE, order=0)
        name = image.stem
        stored = archive.image(name, pixels.transpose(2, 0, 1), picture.geometry)
        pairs.append(Pair(name, (stored,), archive.mask(name, inside, picture.geometry)))
    return dealt(pairs, train=700, test=300, seed=archive.seed)


RECIPES = (
    Recipe(
        name="kvasir_seg",
        title="Kvasir-SEG",
        home="https://datasets.simula.no/kvasir-seg/",
        terms="free for research and education; other use needs the owners' permission",
        cite="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020",
        layout="1000 images/*.jpg and masks/*.jpg",
        makes="700 cases to learn from and 300 to test on, 256 x 256 (GSD-Net's counts; its list is not published). "
        "Frames of one patient may be on both sides: there are no patients' names",
        read=read,
    ),
)
