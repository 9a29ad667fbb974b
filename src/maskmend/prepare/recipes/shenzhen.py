"""Shenzhen and Montgomery: both lungs in chest X-rays. GSD-Net's Shenzhen is the 566 images that have a mask.

Layout, as public code reads it: images in ``ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png`` and
``MontgomerySet/CXR_png/MCUCXR_0001_0.png``; Montgomery's masks in ``MontgomerySet/ManualMask/leftMask`` and
``rightMask`` under the image's name; Shenzhen's, which others drew (Stirenko et al.), in
``mask/CHNCXR_0001_0_mask.png``. A copy that holds both calls the image folder ``CXR_png`` as well.
"""

from __future__ import annotations

from ..sources import Source
from .base import Archive, Recipe, dealt
from .pairs import squeezed

SIZE = (256, 256)
HOME = "https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html#tuberculosis-image-data-sets"
CITE = "Jaeger et al., Quant Imaging Med Surg 2014; Candemir et al., IEEE TMI 2014"


def read(archive: Archive) -> Source:
    """Shenzhen: the images that have a mask."""
    masks = archive.files("CHNCXR_*_mask.png", 566)
    images = archive.find("CXR_png/CHNCXR_*.png", "images/CHNCXR_*.png")
    if not images:
        raise archive.lacks("CXR_png/CHNCXR_*.png")
    drawn = {archive.partner(mask, mask.name.replace("_mask", ""), images): [mask] for mask in masks}
    return dealt(squeezed(archive, drawn, SIZE), train=453, test=113, seed=archive.seed)


def read_montgomery(archive: Archive) -> Source:
    """Montgomery: the left and the right lung are one class."""
    drawn = {}
    for image in archive.files("CXR_png/MCUCXR_*.png", 138):
        folder = image.parents[1] / "ManualMask"
        drawn[image] = [archive.beside(image, folder / side / image.name) for side in ("leftMask", "rightMask")]
    return dealt(squeezed(archive, drawn, SIZE), train=110, test=28, seed=archive.seed)


RECIPES = (
    Recipe(
        name="shenzhen",
        title="Shenzhen chest X-rays",
        home=HOME,
        terms="attribution and citation (images: U.S. National Library of Medicine; masks: see their page, "
        "https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask)",
        cite=f"{CITE}; for the masks Stirenko et al., ELNANO 2018",
        layout="662 ChinaSet_AllFiles/CXR_png/CHNCXR_*.png, and 566 masks CHNCXR_*_mask.png that are obtained from "
        "https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask",
        makes="grey, squeezed to 256 x 256; both lungs one class; 453 cases to learn from and 113 to test on, "
        "GSD-Net's counts (its list lies with its authors' data only). An image is a patient",
        read=read,
        packed=("ChinaSet*.zip", "*mask*.zip"),
    ),
    Recipe(
        name="montgomery",
        title="Montgomery chest X-rays",
        home=HOME,
        terms="attribution and citation (U.S. National Library of Medicine)",
        cite=CITE,
        layout="138 MontgomerySet/CXR_png/MCUCXR_*.png with ManualMask/leftMask and ManualMask/rightMask",
        makes="grey, squeezed to 256 x 256; both lungs one class; 110 cases to learn from and 28 to test on. None of "
        "the five papers uses it; it goes with shenzhen as a test of another hospital",
        read=read_montgomery,
        packed=("*Montgomery*.zip",),
    ),
)
