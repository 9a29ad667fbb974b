"""Slices that are cases, put together to the volumes they are of: papers of 2D networks score whole volumes.

``volumes.csv`` beside ``dataset.json`` says so, a line for each slice: ``case,volume,slice``, and if it is known
``spacing_mm``, the step from slice to slice. Without it, the data sets of ``maskmend prepare``'s recipes are known by
the names they give slices, VOLUME_s000, VOLUME_s001, ….
"""

from __future__ import annotations

import csv
import math
import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..texts import case_name, read_rows, shown
from ..types import IGNORE
from .geometry import Array
from .layout import NUMBER, read_json_object

FILE = "volumes.csv"
COLUMNS = ("case", "volume", "slice")
SLICE = re.compile(r"(.+)_s([0-9]{3,9})")
DEEPEST = 10_000
"""Slices from the first to the last of a volume."""


@dataclass(frozen=True)
class Volume:
    """``places``: which slice each case is, from 0. ``spacing_mm``: the step from slice to slice, None if not known."""

    name: str
    places: Mapping[str, int]
    spacing_mm: float | None = None

    @property
    def depth(self) -> int:
        """D, slices that are no case included."""
        return max(self.places.values()) + 1


def read_volumes(root: Path, cases: Collection[str]) -> tuple[Volume, ...]:
    """The volumes that ``cases`` of the data set at ``root`` are slices of; none where nothing says so.

    Warns where volumes.csv speaks of none of them.
    Raises InputError where it is wrong, speaks of some of the cases only, or of a volume some of whose slices
    are not among them.
    """
    path = Path(root) / FILE
    if not os.path.lexists(path):
        return _by_name(Path(root), cases)
    every = _listed(path)
    asked = set(cases)
    volumes = tuple(volume for volume in every if not asked.isdisjoint(volume.places))
    known = {case for volume in volumes for case in volume.places}
    if every and not volumes:
        warnings.warn(f"{path} speaks of none of the {len(asked)} cases; each is taken by itself.", stacklevel=2)
    if not volumes:
        return ()
    if unknown := sorted(asked - known):
        raise InputError(f"{path} says of {len(known)} cases what they are slices of, but not of {unknown[0]}; add it.")
    if missing := sorted(known - asked):
        whole = next(volume.name for volume in volumes if missing[0] in volume.places)
        raise InputError(f"{path} counts {missing[0]} to the volume {whole}, but it is not there; add it.")
    return volumes


def write_volumes(path: Path, slices: Iterable[tuple[str, str, int]]) -> Path:
    """volumes.csv of (case, volume, slice); returns ``path``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(slices)
    return path


def stacked(
    cases: Iterable[tuple[str, Array, Array]], volumes: Sequence[Volume], ignore: int = IGNORE
) -> Iterator[tuple[str, Array, Array]]:
    """(case, prediction (H, W), reference (H, W)) in any order -> (volume, prediction (D, H, W), reference (D, H, W)),
    each as soon as its last slice has come. Without ``volumes`` the cases pass as they are.

    Slices between the first and the last that are no case are unknown: the reference is ``ignore`` there.

    Raises InputError where slices of a volume differ in shape, or are not 2D.
    """
    of = {case: volume for volume in volumes for case in volume.places}
    waiting: dict[str, dict[str, tuple[Array, Array]]] = {}
    for case, prediction, reference in cases:
        if not volumes:
            yield case, prediction, reference
            continue
        volume = of[case]
        slices = waiting.setdefault(volume.name, {})
        slices[case] = prediction, reference
        if len(slices) == len(volume.places):
            yield (volume.name, *_volume(volume, waiting.pop(volume.name), ignore))


def _volume(volume: Volume, slices: Mapping[str, tuple[Array, Array]], ignore: int) -> tuple[Array, Array]:
    shapes = {array.shape: case for case, pair in slices.items() for array in pair}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        told = ", ".join(f"{case} {shape}" for shape, case in shapes.items())
        raise InputError(f"the volume {volume.name} has slices of the shape {told}; slices are 2D and of one shape.")
    whole = (volume.depth, *next(iter(shapes)))
    first, second = next(iter(slices.values()))
    prediction = np.zeros(whole, first.dtype)
    reference = np.full(whole, ignore, np.result_type(second.dtype, np.min_scalar_type(ignore)))
    for case, pair in slices.items():
        prediction[volume.places[case]], reference[volume.places[case]] = pair
    return prediction, reference


def _by_name(root: Path, cases: Collection[str]) -> tuple[Volume, ...]:
    """Of a data set that a recipe made, all of whose ``cases`` are called VOLUME_s000, …."""
    found = {case: match for case in cases if (match := SLICE.fullmatch(case))}
    if len(found) < len(cases) or not found or not (root / "dataset.json").is_file():
        return ()
    if "recipe" not in read_json_object(root / "dataset.json"):
        return ()
    places: dict[str, dict[str, int]] = {}
    for case, match in found.items():
        places.setdefault(match[1], {})[case] = int(match[2])
    return tuple(_from_zero(name, of, None, root) for name, of in sorted(places.items()))


def _listed(path: Path) -> tuple[Volume, ...]:
    places: dict[str, dict[str, int]] = {}
    taken: dict[tuple[str, int], str] = {}
    steps: dict[str, float | None] = {}
    seen = set[str]()
    for place, row in read_rows(path, COLUMNS, f"begin it with the line '{','.join(COLUMNS)}'"):
        case, name = case_name(row["case"], place), case_name(row["volume"], place)
        if not NUMBER.fullmatch(row["slice"]):
            raise InputError(f"{place}: slice {shown(row['slice'])}; give a whole number, 0 or more.")
        number, step = int(row["slice"]), _step(row.get("spacing_mm", ""), place)
        if case in seen:
            raise InputError(f"{place}: case {case} stands there twice; remove one.")
        seen.add(case)
        if (other := taken.setdefault((name, number), case)) != case:
            raise InputError(f"{place}: {other} and {case} are both slice {number} of {name}; correct one.")
        if steps.setdefault(name, step) != step:
            raise InputError(f"{place}: spacing_mm {step} and {steps[name]} for one volume, {name}; give one.")
        places.setdefault(name, {})[case] = number
    return tuple(_from_zero(name, of, steps[name], path) for name, of in places.items())


def _step(word: str, place: str) -> float | None:
    if not word:
        return None
    try:
        step = float(word)
    except ValueError:
        step = math.nan
    if not 0 < step < math.inf:
        raise InputError(f"{place}: spacing_mm {shown(word)}; give the step from slice to slice, in mm, or nothing.")
    return step


def _from_zero(name: str, places: Mapping[str, int], spacing_mm: float | None, source: Path) -> Volume:
    first = min(places.values())
    volume = Volume(name, {case: place - first for case, place in places.items()}, spacing_mm)
    if volume.depth > DEEPEST:
        raise InputError(
            f"{source}: the volume {name} has slices from {first} to {first + volume.depth - 1}, more than {DEEPEST}; "
            "number them in one run."
        )
    return volume
