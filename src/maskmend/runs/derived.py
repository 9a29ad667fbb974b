"""A data set made of another: the same images, test cases, splits and supervision, with training labels of its own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..data.dataset import Case, Dataset
from ..data.formats import ending_of, read_image, write_image, write_json
from ..data.headers import check_data_files
from ..data.layout import read_json_object
from ..errors import InputError

CHANNEL = re.compile(r"_\d{4}$")


def check_endings(source: Dataset, cases: Sequence[Case]) -> None:
    """Raises InputError where an image or label of ``cases`` has another ending than dataset.json says."""
    files = [path for case in cases for path in (case.label, *case.images) if path is not None]
    if stray := next((path for path in files if not path.name.endswith(source.file_ending)), None):
        raise InputError(
            f"{stray} does not end in {source.file_ending}, as dataset.json says; convert it, or correct it."
        )


def copy_beside(source: Dataset, root: Path) -> None:
    """Everything but the training labels: images (linked), test labels, dataset.json, splits and supervision."""
    for folder, cases in (("imagesTr", source.train), ("imagesTs", source.test)):
        for case in cases:
            for channel, image in enumerate(case.images):
                carry(image, root / folder, f"{case.name}_{channel:04d}", link=True)
    for case in source.test:
        if case.reference is not None:
            carry(case.reference, root / "labelsTs", case.name)
    for name in ("splits_final.json", "supervision.csv", "volumes.csv"):
        if (source.root / name).exists():
            shutil.copy2(source.root / name, root / name)
    about = read_json_object(source.root / "dataset.json")
    about.pop("dataset", None)  # where files lay in the source; here they lie where nnU-Net expects them
    write_json(root / "dataset.json", about)


def carry(path: Path, folder: Path, name: str, link: bool = False) -> None:
    """The file in ``folder`` as ``name`` with its ending, and the JSON file with the spacing that a TIFF may have. What
    is only a header, and names other files, is written anew with all they hold."""
    ending = ending_of(path)
    target = folder / f"{name}{ending}"
    folder.mkdir(parents=True, exist_ok=True)
    if check_data_files(path):
        picture = read_image([path])
        write_image(target, picture.array, picture.geometry)
    else:
        (_link if link else shutil.copy2)(path, target)
    spacing = path.with_name(CHANNEL.sub("", path.name[: -len(ending)]) + ".json")
    if spacing.exists():
        shutil.copy2(spacing, folder / (CHANNEL.sub("", name) + ".json"))


def _link(path: Path, target: Path) -> None:
    """A second name for the same file, or a copy where the disk has no such thing."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copy2(path, target)
