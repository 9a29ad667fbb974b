"""BraTS 2020: gliomas in MR. GSD-Net's BraTS2020.

Layout, as public code reads it: ``MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_flair.nii``
(or ``.nii.gz``), ``…_t1``, ``…_t1ce``, ``…_t2``, ``…_seg`` with the values 0, 1, 2 and 4. In some copies the mask of
case 355 is called ``W39_1998.09.19_Segm.nii``.
"""

from __future__ import annotations

from dataclasses import replace

from ...data.formats import ending_of, read_label
from ..arrays import structures
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt

VALUES = (0, 1, 2, 3, 4)
"""3 is the enhancing tumour in later releases."""
CHANNELS = {"T1": "t1", "T2": "t2", "T1ce": "t1ce", "FLAIR": "flair"}


def read(archive: Archive) -> Source:
    """Four channels of each patient; every kind of tumour is one class."""
    pairs = []
    for flair in archive.each(archive.files("BraTS20_Training_*_flair.nii*", 369)):
        ending = ending_of(flair)
        name = flair.name.removesuffix(f"_flair{ending}")
        images = [flair.with_name(f"{name}_{word}{ending}") for word in CHANNELS.values()]
        drawn = archive.beside(flair, flair.with_name(f"{name}_seg{ending}"), *sorted(flair.parent.glob("*_Segm.nii*")))
        label = read_label(drawn)
        kinds = structures(label.array, drawn, VALUES)
        mask = archive.mask(name, (kinds > 0).astype("uint8"), label.geometry, ending)
        pairs.append(Pair(name, tuple(archive.beside(flair, image) for image in images), mask))
    source = dealt(pairs, train=296, test=73, seed=archive.seed)
    return replace(source, channel_names=tuple(CHANNELS), labels={"background": 0, "tumour": 1})


RECIPES = (
    Recipe(
        name="brats2020",
        title="BraTS 2020, training part",
        home="https://www.med.upenn.edu/cbica/brats2020/data.html",
        terms="after registration, as its page says",
        cite="Menze et al., IEEE TMI 34 (2015) 1993; Bakas et al., Scientific Data 4 (2017) 170117",
        layout="369 BraTS20_Training_*/ with *_flair.nii, *_t1.nii, *_t1ce.nii, *_t2.nii and *_seg.nii, or .nii.gz",
        makes="volumes of four channels (T1, T2, T1ce, FLAIR) as they are, 240 x 240 x 155 at 1 mm; all kinds of "
        "tumour one class; 296 patients to learn from and 73 to test on, GSD-Net's counts (its list is not "
        "published). How that paper makes 128 x 128 x 128 of them is not said: here patches are cut in training",
        read=read,
        packed=("*BraTS2020*", "*BraTS20_*.zip"),
    ),
)
