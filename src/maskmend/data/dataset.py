"""nnU-Net raw data sets: what is in one, whether it is sound, and the arrays of a case.

Layout (nnU-Net v2, ``documentation/dataset_format.md``): ``dataset.json``, ``imagesTr/CASE_0000.ending``,
``labelsTr/CASE.ending``, and if there is a test set ``imagesTs`` and ``labelsTs``. Beside it ``supervision.csv`` with
the columns case and supervision (clean, noisy, unlabeled) says how far each label may be believed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..texts import LONGEST, shown
from ..types import IGNORE, Region, Trust
from .align import aligned
from .clutter import is_clutter
from .formats import ENDINGS, Array, Picture, read_image, read_label, write_json
from .headers import DATA
from .layout import Header, ends, find_images, nearest, read_header, read_supervision, spelt


@dataclass(frozen=True)
class Case:
    """One scan. ``label`` is what was given, None if nothing was; ``reference`` is a test case's true label, for
    evaluation only. ``raters``: what each rater drew, where ``labelsTr_raters/RATER`` holds it."""

    name: str
    images: tuple[Path, ...]
    label: Path | None
    trust: Trust
    reference: Path | None = None
    raters: tuple[Path, ...] = ()

    @property
    def opinions(self) -> tuple[Path, ...]:
        """The raters' labels that may stand for the given one: none of a clean case, whose given label is believed, and
        none of an unlabeled one, which has no label to learn from."""
        return self.raters if self.label is not None and self.trust is not Trust.CLEAN else ()


@dataclass(frozen=True)
class Dataset:
    """An opened data set. ``labels``: name -> value, background first, without the ignore label; values are 0..K-1.
    ``regions``: what nnU-Net is to find instead of the classes, if it says so (``layout.Labels``)."""

    root: Path
    channel_names: tuple[str, ...]
    labels: dict[str, int]
    ignore: int | None
    file_ending: str
    train: tuple[Case, ...]
    test: tuple[Case, ...]
    regions: dict[str, Region] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """K, background included."""
        return len(self.labels)

    @property
    def name(self) -> str:
        return self.root.resolve().name


def open_dataset(root: Path, *, images: bool = True) -> Dataset:
    """The cases of an nnU-Net raw data set and what is said about them; no image is read.

    images: whether there must be any; else labels alone are cases too, of no images.

    Raises InputError where dataset.json is missing or wrong, a file is missing or misnamed, or their number is not
    ``numTraining``.
    """
    root = Path(root)
    header = read_header(root)
    explicit = header.explicit is not None
    train = _explicit_cases(root, header) if explicit else _listed_cases(root, "Tr", header, images)
    if header.num_training is not None and header.num_training != len(train):
        raise InputError(
            f"{root / 'dataset.json'} says numTraining {header.num_training}, but there are {len(train)} training "
            "cases; correct the number, or complete the images."
        )
    test = [
        replace(case, label=None, reference=case.label, trust=Trust.UNLABELED)
        for case in _listed_cases(root, "Ts", header)
    ]
    return Dataset(
        root=root,
        channel_names=header.channel_names,
        labels=header.labels.values,
        ignore=header.labels.ignore,
        file_ending=header.file_ending,
        train=_rated(root, _trusted(root, train)),
        test=tuple(test),
        regions=header.labels.regions,
    )


def case_arrays(case: Case, dataset: Dataset) -> tuple[Picture, Picture]:
    """The image (C, *S) and the given label (*S), with IGNORE where nobody annotated: everywhere if it has no label.

    Raises InputError where a file is missing or damaged, holds NaN, has another shape, spacing or number of channels
    than it should, or a value that dataset.json does not declare.
    """
    image = case_image(case, dataset)
    if case.label is None:
        return image, Picture(np.full(image.array.shape[1:], IGNORE, np.int16), image.geometry)
    return image, declared_label(case.label, image, case, dataset)


def case_image(case: Case, dataset: Dataset) -> Picture:
    """The image (C, *S). Raises InputError as ``case_arrays``."""
    image = read_image(case.images)
    channels = len(image.array)
    if channels != len(dataset.channel_names):
        raise InputError(
            f"{case.images[0]} holds {channels} channel{'s' * (channels > 1)}, but {dataset.root / 'dataset.json'} "
            f"names {len(dataset.channel_names)} ({', '.join(dataset.channel_names)}); convert the image, or correct "
            "channel_names."
        )
    _check_finite(image.array, case)
    return image


def declared_label(path: Path, image: Picture | None, case: Case, dataset: Dataset) -> Picture:
    """The label at ``path`` with IGNORE for the data set's ignore value, checked against its image, if it has one.

    Raises InputError as ``case_arrays``.
    """
    return declared(read_label(path), path, image, case, dataset)


def declared(label: Picture, path: Path, image: Picture | None, case: Case, dataset: Dataset) -> Picture:
    """``declared_label`` of one that was read."""
    if image is not None:
        label = aligned(label, image, str(path), f"its image {case.images[0].name}")
    known = {*dataset.labels.values()} | ({dataset.ignore} if dataset.ignore is not None else set())
    values = {int(value) for value in np.unique(label.array)}
    if strange := sorted(values - known):
        raise InputError(f"{path} holds the value {strange[0]}, which dataset.json does not declare; {_cure(values)}.")
    array = label.array.astype(np.int16 if max(values) < 2**15 else np.int32)
    if dataset.ignore is not None:
        array[array == dataset.ignore] = IGNORE
    return Picture(array, label.geometry)


def write_dataset(
    root: Path,
    channel_names: Sequence[str],
    labels: Mapping[str, int],
    file_ending: str,
    num_training: int,
    **extra: Any,
) -> None:
    """Write ``dataset.json`` with the keys of nnU-Net v2, whole or not at all; ``extra`` keys are added as they are."""
    content = {
        "channel_names": {str(place): name for place, name in enumerate(channel_names)},
        "labels": dict(labels),
        "numTraining": num_training,
        "file_ending": file_ending,
    }
    write_json(Path(root) / "dataset.json", content | extra)


# --- finding cases ----------------------------------------------------------------------------------------------------


def _listed_cases(root: Path, part: str, header: Header, needed: bool = False) -> list[Case]:
    """The cases of imagesTr + labelsTr, or imagesTs + labelsTs."""
    folder, labels = root / f"images{part}", root / f"labels{part}"
    images = find_images(folder, header)
    files = labels.iterdir() if labels.is_dir() else ()
    there = {spelt(path): path for path in files if ends(path, header.file_ending)}
    if part == "Tr" and not images:
        if needed or not there:
            raise InputError(
                f"{folder} holds no image CASE_0000{header.file_ending}; add them, or correct file_ending in "
                "dataset.json."
            )
        images = {name[: -len(header.file_ending)]: () for name in sorted(there)}
    cases = [
        Case(name, paths, there.pop(name + header.file_ending, None), Trust.NOISY) for name, paths in images.items()
    ]
    if there:
        raise InputError(f"{min(there.values())} has no image in {folder}; add the image, or remove the label.")
    return cases


def _explicit_cases(root: Path, header: Header) -> list[Case]:
    """The cases of the key ``dataset``: {case: {"images": [...], "label": ...}}, relative to ``root``."""
    cases, seen = [], dict[Path, str]()

    def place(name: str, text: object) -> Path:
        path = root / os.path.expandvars(str(text))
        with suppress(OSError):  # a name that no file system takes
            if path.is_file():
                return path
        where = str(path) if len(str(text)) < LONGEST else shown(text)
        raise InputError(f"{where}, named by case {name} in dataset.json, is missing; add it, or correct the path.")

    for name, entry in sorted((header.explicit or {}).items()):
        if not isinstance(entry, dict) or not isinstance(entry.get("images"), list) or not entry["images"]:
            raise InputError(f'{root}/dataset.json: case {name} needs {{"images": [...], "label": ...}}; add them.')
        images = tuple(place(name, text) for text in entry["images"])
        for path in images:
            if path in seen:
                raise InputError(f"{path} is an image of both {seen[path]} and {name} in dataset.json; remove one.")
            seen[path] = name
        label = place(name, entry["label"]) if entry.get("label") else None
        cases.append(Case(name, images, label, Trust.NOISY))
    return cases


def _trusted(root: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases with the trust that supervision.csv gives them; noisy if it is silent."""
    said = read_supervision(root)
    names = [case.name for case in cases]
    if strange := sorted(set(said) - set(names)):
        raise InputError(
            f"{root / 'supervision.csv'} names the case {strange[0]}, which is not in imagesTr"
            f"{nearest(strange[0], names)}; correct or remove the line."
        )
    trusted = []
    for case in cases:
        trust = said.get(case.name, Trust.NOISY)
        if case.label is None and trust is not Trust.UNLABELED:
            raise InputError(
                f"{case.images[0]} has no label in labelsTr; add it, or the line '{case.name},unlabeled' to "
                f"{root / 'supervision.csv'}."
            )
        trusted.append(replace(case, trust=trust, label=None if trust is Trust.UNLABELED else case.label))
    return tuple(trusted)


def _rated(root: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases with every rater's label of them: labelsTr_raters/RATER/CASE.ending, raters in order of name."""
    folder = root / "labelsTr_raters"
    if not folder.is_dir():
        return tuple(cases)
    drawn = {case.name: list[Path]() for case in cases}
    for path in sorted(path for path in folder.glob("*/*") if _is_label(path)):
        name = next((n for n in (spelt(path)[: -len(e)] for e in ENDINGS if path.name.endswith(e)) if n in drawn), None)
        if name is None:
            raise InputError(f"{path} is a label of no training case{nearest(path.name, list(drawn))}; remove it.")
        drawn[name].append(path)
    return tuple(replace(case, raters=tuple(drawn[case.name])) for case in cases)


def _is_label(path: Path) -> bool:
    """Not the spacing of a TIFF, nor the data of a header, nor what nobody meant."""
    hidden = any(part.startswith(".") or is_clutter(Path(part)) for part in path.parts[-2:])
    return not hidden and not path.name.lower().endswith((".json", *DATA))


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_finite(array: Array, case: Case) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    channel, *place = (int(axis) for axis in np.argwhere(~np.isfinite(array))[0])
    path = case.images[channel] if len(case.images) == len(array) else case.images[0]
    value = array[(channel, *place)]
    raise InputError(f"{path} holds {value} at {tuple(place)}; replace such values, or take the case out.")


def _cure(values: set[int]) -> str:
    if values <= {0, 255}:
        return "it is a 0/255 mask: convert the data set with `maskmend prepare`"
    return "convert the data set with `maskmend prepare`, or declare the label"
