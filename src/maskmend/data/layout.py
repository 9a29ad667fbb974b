"""The small files and the names of an nnU-Net raw data set: dataset.json, supervision.csv, CASE_0000.ending."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..texts import case_name, read_object, read_rows, shown
from ..types import Region, Trust, members
from .formats import ENDINGS, LOSSY

NUMBER = re.compile("[0-9]{1,9}")
T = TypeVar("T")


@dataclass(frozen=True)
class Labels:
    """What dataset.json says of labels.

    values: name -> value of each class, from background 0. ignore: the value of what nobody annotated, if there is one.
    regions: name -> value or values, of all that nnU-Net is to find, in its order; empty where no label is a region.
    """

    values: dict[str, int]
    ignore: int | None = None
    regions: dict[str, Region] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """dataset.json, understood. ``explicit`` is its ``dataset`` key, the paths of each case, if it has one."""

    channel_names: tuple[str, ...]
    labels: Labels
    file_ending: str
    num_training: int | None
    explicit: dict[str, Any] | None


def read_header(root: Path) -> Header:
    """Understand ``dataset.json`` of nnU-Net v2, or v1 (``modality``, labels by number, no ending).

    Raises InputError where it is missing, not JSON, or says what cannot be.
    """
    path = root / "dataset.json"
    content = read_json_object(path)
    if is_decathlon(root, content):
        raise InputError(
            f"{root} has the layout of the Medical Segmentation Decathlon; convert it with `maskmend prepare`."
        )
    channel_names = parse_channels(content.get("channel_names", content.get("modality")), path)
    labels = parse_labels(content, path)
    number, explicit = content.get("numTraining"), content.get("dataset")
    if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
        raise InputError(f"{path} says numTraining {shown(number)}; give the number of training cases.")
    if explicit is not None and not isinstance(explicit, dict):
        raise InputError(f'{path}: the key dataset must be {{case: {{"images": [...], "label": ...}}}}; correct it.')
    if explicit is not None:
        explicit = by_case(explicit.items(), path)
    return Header(channel_names, labels, _ending(content, path), number, explicit)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in ``dataset.json``. Raises InputError where it is missing, broken, or names a key twice."""
    if not os.path.lexists(path):
        folder = f" {shlex.quote(str(path.parent))} -o DATASET" if path.parent.is_dir() else ""
        cure = f"give the folder of an nnU-Net data set, or make one with `maskmend prepare{folder}`"
        raise InputError(f"{path} is missing; {cure}.")
    return read_object(path, "write it as nnU-Net's dataset format says")


def by_case(named: Iterable[tuple[Any, T]], path: Path) -> dict[str, T]:
    """What ``path`` says of each case, by its name. Raises InputError for what is no name, or is there twice."""
    found: dict[str, T] = {}
    for word, said in named:
        name = case_name(word, path)
        if name in found:
            raise InputError(f"{path} names the case {name} twice; remove one.")
        found[name] = said
    return found


def is_decathlon(root: Path, content: dict[str, Any]) -> bool:
    """Whether ``training`` lists images that lie there under those very names (nnU-Net v1 lists them less _0000)."""
    training = content.get("training")
    if not isinstance(training, list) or not training or "channel_names" in content:
        return False
    first = training[0]
    return isinstance(first, dict) and (root / str(first.get("image", "?"))).is_file()


def parse_channels(names: object, path: Path) -> tuple[str, ...]:
    """{"0": "T1", "1": "T2"} -> names in that order. Raises InputError where numbers or names are none."""
    if not isinstance(names, dict) or not names:
        raise InputError(f'{path} lacks channel_names (or modality); add for example "channel_names": {{"0": "MRI"}}.')
    if not all(NUMBER.fullmatch(key) for key in names) or len(set(map(int, names))) < len(names):
        raise InputError(f'{path} numbers its channels {shown([*names])}; use "0", "1", ….')
    for name in names.values():
        if not isinstance(name, str) or not name:
            raise InputError(f"{path} calls a channel {shown(name)}; give it a name, such as MRI.")
    return tuple(names[key] for key in sorted(names, key=int))


def parse_labels(content: Mapping[str, Any], path: Path) -> Labels:
    """What the keys labels, {name: value}, with regions {name: [value, …]}, or the older {"value": name}, and
    regions_class_order say.

    Masks hold classes, each value one. Regions unite them, and may overlap. A class that no label has for itself is
    called by the smallest region that holds it, and its value, such as "tumour 2".

    Raises InputError where values are not 0, 1, 2, …, the ignore label is not the highest, or a region holds it or the
    background, or is not drawn as one of its values.
    """
    named = _named(content.get("labels"), path)
    ignore = named.pop("ignore", None)
    for name, region in named.items():
        wrong = {0, *(() if ignore is None else members(ignore))} & {*members(region)}
        if wrong and len(members(region)) > 1:
            what = "background" if 0 in wrong else "ignore label"
            raise InputError(f"{path}: the region {name} holds {min(wrong)}, the {what}; take it out.")
    values = _classes(named)
    every = {value for region in named.values() for value in members(region)}
    if list(values.values()) != list(range(len(every))) or values.get("background", 0) != 0 or not values:
        raise InputError(
            f"{path} declares the label values {shown([*values.values()])}; number them 0 (background), 1, 2, … "
            "in one run."
        )
    if ignore is not None and members(ignore) != (len(values),):
        raise InputError(
            f"{path} gives ignore the value {shown(ignore)}; it must be the highest label plus one, {len(values)}."
        )
    known = Labels(values, None if ignore is None else len(values))
    if all(len(members(region)) == 1 for region in named.values()):
        return known
    regions = {name: region for name, region in named.items() if members(region) != (0,)}
    _check_order(content.get("regions_class_order"), regions, path)
    return replace(known, regions=regions)


def _named(labels: object, path: Path) -> dict[str, Region]:
    """The value or values of each name. Raises InputError where there are none, or they are no whole numbers."""
    if not isinstance(labels, dict) or not labels:
        raise InputError(f'{path} lacks labels; add for example "labels": {{"background": 0, "lesion": 1}}.')
    if all(isinstance(name, str) for name in labels.values()):
        if not all(NUMBER.fullmatch(key) for key in labels):
            raise InputError(f"{path} gives labels a name for a value; give each name a whole number.")
        if len(set(labels.values())) < len(labels):
            raise InputError(f"{path} gives two labels one name ({shown([*labels.values()])}); rename one.")
        labels = {name: int(key) for key, name in labels.items()}
    named: dict[str, Region] = {}
    for name, value in labels.items():
        values = value if isinstance(value, list) else [value]
        if not values or any(type(each) is not int for each in values):
            raise InputError(
                f"{path} gives the label {name} the value {shown(value)}; give a whole number, or a list of them."
            )
        if len(set(values)) < len(values):
            raise InputError(f"{path}: the region {name} holds a value twice, {shown(value)}; remove one.")
        named[name] = tuple(value) if isinstance(value, list) else value
    return named


def _classes(named: Mapping[str, Region]) -> dict[str, int]:
    """Name -> value of each class, sorted by value."""
    classes = {name: members(region)[0] for name, region in named.items() if len(members(region)) == 1}
    for name, region in sorted(named.items(), key=lambda item: len(members(item[1]))):
        for value in {*members(region)} - {*classes.values()}:
            classes[f"{name} {value}"] = value
    return dict(sorted(classes.items(), key=lambda item: item[1]))


def _check_order(order: object, regions: Mapping[str, Region], path: Path) -> None:
    """Raises InputError where regions_class_order does not name one value of each region, in their order."""
    if not isinstance(order, list) or len(order) != len(regions):
        count = f"{len(regions)} region{'s' * (len(regions) > 1)}"
        raise InputError(
            f"{path} has {count} and the regions_class_order {shown(order)}; give the value that each is drawn as, "
            f"in the order {', '.join(regions):.200}."
        )
    for (name, region), value in zip(regions.items(), order, strict=True):
        if type(value) is not int or value not in members(region):
            raise InputError(
                f"{path}: regions_class_order draws the region {name} as {shown(value)}; "
                f"take one of its values {shown([*members(region)])}."
            )


def _ending(content: dict[str, Any], path: Path) -> str:
    ending = content.get("file_ending", ".nii.gz")
    if not isinstance(ending, str):
        raise InputError(f"{path} says file_ending {shown(ending)}; use one of {', '.join(ENDINGS)}.")
    ending = ending if ending.startswith(".") else f".{ending}"
    if ending in LOSSY:
        raise InputError(f"{path} says file_ending {ending}, which loses detail; convert with `maskmend prepare`.")
    if ending not in ENDINGS:
        raise InputError(f"{path} says file_ending {ending:.40}, which is not known; use one of {', '.join(ENDINGS)}.")
    return ending


def ends(path: Path, ending: str) -> bool:
    """Whether a file is not hidden and ends in ``ending``. Raises InputError where it does in other letters, for other
    programs would pass it over."""
    if path.name.startswith(".") or not path.name.lower().endswith(ending):
        return False
    if not path.name.endswith(ending):
        raise InputError(f"{path} has its ending in capitals, dataset.json says {ending}; rename the file.")
    return True


def find_images(folder: Path, header: Header) -> dict[str, tuple[Path, ...]]:
    """Case -> its files, one per channel or one for all, sorted by case; empty where there is no folder.

    Raises InputError where a name has no channel number or a channel is missing.
    """
    ending = header.file_ending
    found: dict[str, dict[int, Path]] = {}
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if not ends(path, ending):
            continue
        stem = path.name[: -len(ending)]
        match = re.fullmatch(r"(.+)_([0-9]{4})", stem, re.DOTALL)
        if match is None:
            raise InputError(f"{path} has no channel number; name it {stem}_0000{ending}.")
        files = found.setdefault(case_name(match[1], path), {})
        if (other := files.setdefault(int(match[2]), path)) is not path:
            raise InputError(f"{other} and {path} are spelt alike to a reader; keep one of them.")
    channels = len(header.channel_names)
    one_file = all(len(files) == 1 for files in found.values())  # may hold all channels of a case
    for name, files in found.items():
        if sorted(files) != list(range(channels)) and not (one_file and [*files] == [0]):
            missing = [n for n in range(channels) if n not in files]
            said = f"dataset.json names {channels} channel{'s' * (channels > 1)}"
            if missing:
                raise InputError(f"{folder / f'{name}_{missing[0]:04d}{ending}'} is missing, but {said}; add the file.")
            raise InputError(
                f"{files[max(files)]} is one channel too many, for {said}; remove it, or name the channel."
            )
    return {name: tuple(files[n] for n in sorted(files)) for name, files in sorted(found.items())}


def read_supervision(root: Path) -> dict[str, Trust]:
    """Case -> trust, of ``supervision.csv``; empty where there is none. Raises InputError for a bad line."""
    path = root / "supervision.csv"
    if not os.path.lexists(path):
        return {}
    said: dict[str, Trust] = {}
    for place, row in read_rows(path, ("case", "supervision"), "begin it with the line 'case,supervision'"):
        case, word = case_name(row["case"], place), row["supervision"]
        if word.upper() not in Trust.__members__:
            raise InputError(f"{place}: supervision {shown(word)}; use clean, noisy or unlabeled.")
        if case in said:
            raise InputError(f"{place}: case {case} stands there twice; remove one.")
        said[case] = Trust[word.upper()]
    return said


def spelt(path: Path) -> str:
    """The file's name in one spelling of its accents (NFC): some systems keep names as they were typed, some do not."""
    return unicodedata.normalize("NFC", path.name)


def nearest(word: str, words: Iterable[str]) -> str:
    """What was perhaps meant, to stand in a message; nothing if no word is close."""
    close = difflib.get_close_matches(word, list(words), 1)
    return f" (did you mean {close[0]}?)" if close else ""
