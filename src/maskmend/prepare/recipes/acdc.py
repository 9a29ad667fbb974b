"""ACDC: both ventricles and the myocardium in cine MR. Deep Self-cleansing's ACDC.

Layout, as public code reads it: ``training/patient001/patient001_frame01.nii.gz`` with
``patient001_frame01_gt.nii.gz``, two frames (end-diastole, end-systole) of each of 100 patients; ``testing/patient101``
to ``patient150`` alike in the release that has their masks. Values: 1 right ventricle, 2 myocardium, 3 left ventricle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..arrays import extent, padded, percentiles, read_scan, structures, to_bytes, window
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt
from .pairs import slices, volumes_of

SIDE = 128
LABELS = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
FRAME = "patient*_frame[0-9][0-9].nii.gz"


def read(archive: Archive) -> Source:
    """Slices of 128 x 128 about the heart, of the 100 patients of the training part."""
    pairs: list[Pair] = []
    for path in archive.each(archive.files(f"training/patient*/{FRAME}", 200)):
        drawn = _mask(archive, path)
        image, mask = read_scan(path, drawn)
        label = structures(mask.array, drawn, LABELS.values())
        rows, columns = (
            window((first + last) // 2, SIDE, length)
            for (first, last), length in zip(extent(label, path)[1:], label.shape[1:], strict=True)
        )
        low, high = percentiles(image.array, 1, 99)
        size = (len(label), SIDE, SIDE)
        pixels = padded(to_bytes(image.array[:, rows, columns], low, high), size)
        pairs += slices(archive, path.name.split(".")[0], pixels, padded(label[:, rows, columns], size))
    source = dealt(pairs, train=1488, test=414, seed=archive.seed, group=lambda name: name.split("_")[0])
    return replace(source, labels=LABELS, beside=(volumes_of(archive, pairs),))


def read_volumes(archive: Archive) -> Source:
    """Whole volumes, the challenge's own parts."""

    def pairs(part: str, count: int) -> tuple[Pair, ...]:
        images = archive.files(f"{part}/patient*/{FRAME}", count)
        return tuple(Pair(path.name.split(".")[0], (path,), _mask(archive, path)) for path in images)

    about = {"split": "the challenge's training and testing parts"}
    return Source(pairs("training", 200), pairs("testing", 100), ("MRI",), LABELS, about=about)


def _mask(archive: Archive, image: Path) -> Path:
    return archive.beside(image, image.with_name(image.name.replace(".nii.gz", "_gt.nii.gz")))


SLICES = Recipe(
    name="acdc",
    title="ACDC",
    home="https://humanheart-project.creatis.insa-lyon.fr/database/",
    terms="for research, as its page says",
    cite="Bernard et al., IEEE TMI 37 (2018) 2514",
    layout="200 training/patient*/patient*_frame??.nii.gz with *_gt.nii.gz",
    makes="2D patches of 128 x 128 about the heart, a case for each slice, intensities from the volume's 1st to its "
    "99th percentile in 8 bits; about 1488 to learn from and 414 to test on, patients whole. Deep Self-cleansing "
    "counts 414 for validation as well; 1488 and 414 make up the slices of the 100 patients, and whether it split by "
    "patient is not said",
    read=read,
    packed=("*ACDC*.zip", "*acdc*.zip", "training.zip", "testing.zip"),
)
RECIPES = (
    SLICES,
    replace(
        SLICES,
        name="acdc_volumes",
        layout=f"{SLICES.layout}, and 100 of testing",
        makes="whole volumes as they are, two of each patient: the challenge's 100 patients to learn from, its 50 to "
        "test on",
        read=read_volumes,
    ),
)
