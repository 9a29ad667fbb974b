"""What is refused before anything is done: places that are taken, and what a format cannot hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..audit.store import Audit
from ..data.formats import PICTURES
from ..data.scratch import check_new
from ..errors import InputError
from .accept import Accept, Doubtful

NUMBERED = re.compile(r"Dataset(\d{3,})_")
"""How nnU-Net names a data set; it keeps what it prepared under the number."""


def number_of(output: Path) -> int | None:
    """nnU-Net's number of a data set, by its name."""
    match = NUMBERED.match(output.resolve().name)
    return int(match[1]) if match else None


def check_output(audit: Audit, output: Path) -> None:
    """Raises InputError where the new data set would lie in its source, or take a number that nnU-Net knows."""
    source, folder, target = (path.resolve() for path in (audit.dataset.root, audit.folder, output))
    if target == source or source in target.parents or target in source.parents:
        raise InputError(f"{output} is, holds or lies in {source}, which was audited; choose another folder with -o.")
    if target == folder or folder in target.parents:
        raise InputError(f"{output} lies in the audit; choose another folder with -o.")
    check_new(output)
    places = [os.environ.get(name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")]
    taken = {
        number: path
        for place in (target.parent, *(Path(place) for place in places if place))
        for path in (place.iterdir() if place.is_dir() else ())
        if (number := number_of(path)) is not None and path.resolve() != target
    }
    number = number_of(output)
    if number is not None and number in taken:
        free = next(n for n in range(1, len(taken) + 2) if n not in taken)
        raise InputError(
            f"{taken[number]} has the number {number} already, under which nnU-Net keeps what it prepared; give "
            f"{output.name} another, such as {free:03d}."
        )


def check_doubtful(audit: Audit, doubtful: Doubtful) -> None:
    """Raises InputError where the data set's format cannot hold what is asked for."""
    ending = audit.about.file_ending
    if doubtful == "ignore" and audit.about.dims == 2 and len(audit.dataset.channel_names) == 3 and ending in PICTURES:
        raise InputError(
            f"{audit.dataset.root} holds colour pictures, with which nnU-Net cannot use an ignore label (its issue "
            "2567); take --doubtful keep."
        )
    if doubtful == "weights" and ending in PICTURES:
        raise InputError(
            f"{audit.dataset.root} holds {ending}, which cannot hold weights from 0 to 1; convert the data set to "
            ".nii.gz, or take --doubtful keep."
        )
    if doubtful == "weights" and not any((audit.folder / "doubt" / f"{row.case}.npz").exists() for row in audit.rows):
        raise InputError(f"{audit.folder}: no network judged its cases, so there are no weights; audit with --cross 2.")


def check_accept(audit: Audit, accept: Accept) -> None:
    """Raises InputError where there is no judge whose masks could be taken, or a given label is not the audited one."""
    if accept == "automatic" and not audit.about.judges:
        raise InputError(f"{audit.folder}: no network judged its masks, so none can be redrawn; audit with --cross 2.")
    for name, case in audit.cases.items():
        if not audit.about.files[name][0]:
            raise InputError(f"{case.label} could not be read; correct it or take it out, and audit again.")
        audit.check_unchanged(name)
