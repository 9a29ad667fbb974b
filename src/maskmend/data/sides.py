"""Classes of the left and of the right, known by their names: in a mirror image they change places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

OTHER = {"left": "right", "right": "left", "l": "r", "r": "l", "lh": "rh", "rh": "lh"}
UNEQUAL = {"heart", "cardiac", "ventricle", "ventricular", "atrium", "atrial", "coronary", "myocardium"}
"""The left of these is no mirror image of the right, but another structure."""
BRAIN = {"lateral", "temporal", "inferior", "cerebral", "brain"}
"""Whose ventricles are mirror images."""


@dataclass(frozen=True)
class Sides:
    """What a mirror image does to classes: along the axes ``exchange`` each class is called as ``order`` says, and the
    axes ``spared`` are not mirrored."""

    exchange: tuple[int, ...] = ()
    spared: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


def counterparts(labels: Mapping[str, int]) -> dict[str, str | None]:
    """The class of the other side for each class whose name tells a side; None where there is none.

    >>> counterparts({"background": 0, "left lung": 1, "right lung": 2, "trachea": 3})
    {'left lung': 'right lung', 'right lung': 'left lung'}
    >>> counterparts({"background": 0, "Hippocampus_L": 1, "Hippocampus_R": 2, "lung_middle_lobe_right": 3})
    {'Hippocampus_L': 'Hippocampus_R', 'Hippocampus_R': 'Hippocampus_L', 'lung_middle_lobe_right': None}
    """
    words = {name: _words(name) for name in labels}
    named = {spelt: name for name, spelt in words.items()}
    found: dict[str, str | None] = {}
    for name, spelt in words.items():
        there = set(spelt)
        other = named.get(tuple(OTHER.get(word, word) for word in spelt))
        if there.isdisjoint(OTHER) or (there & UNEQUAL and not there & BRAIN):
            continue
        if other or there & {"left", "right"}:  # a letter alone may mean anything
            found[name] = other
    return found


def _words(name: str) -> tuple[str, ...]:
    """ "LeftLung", "left lung" and "left_lung" are one."""
    return tuple(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def sides_of(labels: Mapping[str, int], left_right: int | str, dims: int, turns: bool) -> Sides:
    """What flips may do to images with these classes.

    left_right: the axis that runs from the patient's right to left; "across" where none of an image's does, as in
        sagittal slices; "unknown".
    turns: whether images are turned in the plane of the last two axes; then a flip along the one is a flip along the
        other, and half a turn.
    """
    found = counterparts(labels)
    if not found or left_right == "across":
        return Sides()
    if not isinstance(left_right, int):
        return Sides(spared=tuple(range(dims)))
    plane = (dims - 2, dims - 1)
    axes = plane if turns and left_right in plane else (left_right,)
    if None in found.values():
        return Sides(spared=axes)
    return Sides(
        exchange=axes, order=tuple(labels[found.get(name) or name] for name in sorted(labels, key=labels.__getitem__))
    )


def told(labels: Mapping[str, int], left_right: int | str) -> list[str]:
    """A sentence where images are not mirrored, because of what classes are called."""
    found = counterparts(labels)
    if not found or left_right == "across":
        return []
    if not isinstance(left_right, int):
        return [
            f"The class {next(iter(found))!r} is of one side, and the files do not tell one axis that runs from left "
            "to right in all of them: no image is mirrored."
        ]
    lonely = [name for name, other in found.items() if other is None]
    return [f"The class {name!r} has no counterpart: no image is mirrored from left to right." for name in lonely[:1]]
