"""ISIC 2017, part 1: skin lesions in dermoscopy. SP-guided's ISIC.

Layout, as public code reads it: ``ISIC-2017_Training_Data/ISIC_0000000.jpg`` (with ``…_superpixels.png``, not used),
``ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png``, and the same of ``ISIC-2017_Test_v2``. The
challenge's 150 validation images are not used: SP-guided learns from the training part and tests on the test part.
"""

from __future__ import annotations

from pathlib import Path

from ..sources import Source
from .base import Archive, Recipe
from .pairs import squeezed

SIZE = (128, 128)
PARTS = {"Training": 2000, "Test_v2": 600}


def read(archive: Archive) -> Source:
    """The challenge's own training and test parts."""
    found = [_files(archive, part, count) for part, count in PARTS.items()]
    train, test = (tuple(squeezed(archive, part, SIZE, colour=True)) for part in found)
    return Source(train, test, about={"split": "the challenge's training and test parts"})


def _files(archive: Archive, part: str, count: int) -> dict[Path, list[Path]]:
    images = archive.files(f"*{part}_Data/ISIC_*.jpg", count)
    masks = archive.files(f"*{part}_Part1_GroundTruth/*_segmentation.png", count)
    return {image: [archive.partner(image, f"{image.stem}_segmentation.png", masks)] for image in images}


RECIPES = (
    Recipe(
        name="isic2017",
        title="ISIC 2017, part 1",
        home="https://challenge.isic-archive.com/data/#2017",
        terms="CC0 (public domain)",
        cite="Codella et al., Skin Lesion Analysis Toward Melanoma Detection, ISBI 2018 (arXiv:1710.05006)",
        layout="2000 ISIC-2017_Training_Data/ISIC_*.jpg with ISIC-2017_Training_Part1_GroundTruth/*_segmentation.png, "
        "and 600 of ISIC-2017_Test_v2, in four .zip files or unpacked",
        makes="RGB, squeezed to 128 x 128; 2000 cases to learn from and 600 to test on, the challenge's own parts, as "
        "SP-guided takes them. The 150 of its validation part are left out",
        read=read,
        packed=tuple(f"ISIC-2017_{part}_{what}.zip" for part in PARTS for what in ("Data", "Part1_GroundTruth")),
    ),
)
