"""The small files and the names of an nnU-Net raw data set: dataset.json, supervision.csv, CASE_0000.ending."""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..types import Trust
from .formats import ENDINGS, LOSSY


@dataclass(frozen=True)
class Header:
    """dataset.json, understood. ``explicit`` is its ``dataset`` key, the paths of each case, if it has one."""

    channel_names: tuple[str, ...]
    labels: dict[str, int]
    ignore: int | None
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
    names = content.get("channel_names", content.get("modality"))
    if not isinstance(names, dict) or not names:
        raise InputError(f'{path} lacks channel_names; add for example "channel_names": {{"0": "MRI"}}.')
    try:
        channel_names = tuple(str(names[key]) for key in sorted(names, key=int))
    except ValueError as error:
        raise InputError(f'{path} numbers its channels {", ".join(names)}; use "0", "1", ….') from error
    labels, ignore = parse_labels(content.get("labels"), path)
    number, explicit = content.get("numTraining"), content.get("dataset")
    if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
        raise InputError(f"{path} says numTraining {number!r}; give the number of training cases.")
    if explicit is not None and not isinstance(explicit, dict):
        raise InputError(f'{path}: the key dataset must be {{case: {{"images": [...], "label": ...}}}}; correct it.')
    return Header(channel_names, labels, ignore, _ending(content, path), number, explicit)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError where it is missing, broken, or names a key twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                raise InputError(f"{path} names {key!r} twice; remove one.")
            content[key] = value
        return content

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{path} is missing; give the folder of an nnU-Net data set, or make one with `maskmend prepare`."
        ) from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); correct it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a JSON object; write it as nnU-Net's dataset format says.")
    return content


def is_decathlon(root: Path, content: dict[str, Any]) -> bool:
    """Whether ``training`` lists images that lie there under those very names (nnU-Net v1 lists them less _0000)."""
    training = content.get("training")
    if not isinstance(training, list) or not training or "channel_names" in content:
        return False
    first = training[0]
    return isinstance(first, dict) and (root / str(first.get("image", "?"))).is_file()


def parse_labels(labels: object, path: Path) -> tuple[dict[str, int], int | None]:
    """{name: value}, or the older {"value": name} -> names by value from background 0, and the value to ignore.

    Raises InputError where values are not 0, 1, 2, …, the ignore label is not the highest, or a label is a region.
    """
    if not isinstance(labels, dict) or not labels:
        raise InputError(f'{path} lacks labels; add for example "labels": {{"background": 0, "lesion": 1}}.')
    if all(isinstance(name, str) for name in labels.values()):
        if not all(key.isdigit() for key in labels):
            raise InputError(f"{path} gives labels a name for a value; give each name a whole number.")
        labels = {name: int(key) for key, name in labels.items()}
    values: dict[str, int] = {}
    for name, value in labels.items():
        if isinstance(value, list) and len(value) != 1:
            raise InputError(
                f"{path}: the label {name} is a region {value}, which is not supported; give plain labels."
            )
        value = value[0] if isinstance(value, list) else value
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{path} gives the label {name} the value {value!r}; give a whole number.")
        values[name] = value
    ignore = values.pop("ignore", None)
    values = dict(sorted(values.items(), key=lambda item: item[1]))
    if list(values.values()) != list(range(len(values))) or values.get("background", 0) != 0 or not values:
        raise InputError(
            f"{path} declares the label values {list(values.values())}; number them 0 (background), 1, 2, … in one run."
        )
    if ignore is not None and ignore != len(values):
        raise InputError(
            f"{path} gives ignore the value {ignore}; it must be the highest label plus one, {len(values)}."
        )
    return values, ignore


def _ending(content: dict[str, Any], path: Path) -> str:
    ending = str(content.get("file_ending", ".nii.gz"))
    ending = ending if ending.startswith(".") else f".{ending}"
    if ending in LOSSY:
        raise InputError(f"{path} says file_ending {ending}, which loses detail; convert with `maskmend prepare`.")
    if ending not in ENDINGS:
        raise InputError(f"{path} says file_ending {ending}, which is not known; use one of {', '.join(ENDINGS)}.")
    return ending


def find_images(folder: Path, header: Header) -> dict[str, tuple[Path, ...]]:
    """Case -> its files, one per channel or one for all, sorted by case; empty where there is no folder.

    Raises InputError where a name has no channel number or a channel is missing.
    """
    ending = header.file_ending
    found: dict[str, dict[int, Path]] = {}
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if not path.name.endswith(ending) or path.name.startswith("."):
            continue
        stem = path.name[: -len(ending)]
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        if match is None:
            raise InputError(f"{path} has no channel number; name it {stem}_0000{ending}.")
        found.setdefault(match[1], {})[int(match[2])] = path
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
    if not path.exists():
        return {}
    said: dict[str, Trust] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream, skipinitialspace=True)
        if not {"case", "supervision"} <= set(rows.fieldnames or ()):
            raise InputError(
                f"{path} lacks the columns case and supervision; begin it with the line 'case,supervision'."
            )
        for row in rows:
            case, word = (row["case"] or "").strip(), (row["supervision"] or "").strip()
            if word.upper() not in Trust.__members__:
                raise InputError(f"{path}, line {rows.line_num}: supervision {word!r}; use clean, noisy or unlabeled.")
            if case in said:
                raise InputError(f"{path}, line {rows.line_num}: case {case} stands there twice; remove one.")
            said[case] = Trust[word.upper()]
    return said


def nearest(word: str, words: Iterable[str]) -> str:
    """What was perhaps meant, to stand in a message; nothing if no word is close."""
    close = difflib.get_close_matches(word, list(words), 1)
    return f" (did you mean {close[0]}?)" if close else ""
