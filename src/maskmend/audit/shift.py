"""Masks that lie beside where they should: each has two rims, too wide on one side and too tight on the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parts import around
from .store import Doubted

LEFT = 0.5
"""Share of what differs that moving a mask may leave, to be said to be shifted."""
ALONG = 0.4
"""Share of the longest step from which a direction is named."""
AWAY = (("down", "up"), ("to the right", "to the left"))
"""Along the rows and columns of a picture, forwards and backwards."""


def with_shifts(
    found: Sequence[Doubted], given: NDArray[Any], suggested: NDArray[Any], spacing_mm: Sequence[float], known: bool
) -> list[Doubted]:
    """The same, but where a class of ``given`` (*S) is too wide and too tight, and moving it would leave no more than
    ``LEFT`` of what differs from ``suggested`` (*S), its first finding says by how much it looks shifted."""
    told = list(found)
    for class_, first in _rims(found):
        step = shift(given == class_, suggested == class_)
        if step is not None:
            text = f"{told[first].text} As a whole it looks shifted by about {_words(step, spacing_mm, known)}."
            told[first] = replace(told[first], text=text)
    return told


def _rims(found: Sequence[Doubted]) -> Iterator[tuple[int, int]]:
    """Classes that are too wide and too tight, and the place of the first finding that says so."""
    kinds: dict[int, list[tuple[str, int]]] = {}
    for place, each in enumerate(found):
        if each.kind in ("too_wide", "too_tight"):
            kinds.setdefault(each.class_, []).append((each.kind, place))
    yield from ((class_, said[0][1]) for class_, said in kinds.items() if len({kind for kind, _ in said}) == 2)


def shift(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """How far ``mask`` (*S) lies from where ``other`` is, in voxels along each axis, by their centroids; None where
    moving it by whole voxels leaves more than ``LEFT`` of what differs."""
    box = around(mask | other)
    mask, other = mask[box], other[box]
    step = _centroid(mask) - _centroid(other)
    back, forth = [], []
    for away, length in zip(np.rint(step).astype(int).tolist(), mask.shape, strict=True):
        back.append(slice(max(away, 0), length + min(away, 0)))
        forth.append(slice(max(-away, 0), length + min(-away, 0)))
    total = int(mask.sum()) + int(other.sum())
    apart = total - 2 * int((mask & other).sum())
    moved = total - 2 * int((mask[tuple(back)] & other[tuple(forth)]).sum())
    return step if moved <= LEFT * apart else None


def _centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    axes = range(mask.ndim)
    lines = [mask.sum(tuple(a for a in axes if a != axis)) for axis in axes]
    return np.array([np.average(np.arange(len(line)), weights=line) for line in lines])


def _words(step: NDArray[np.float64], spacing_mm: Sequence[float], known: bool) -> str:
    """ "3.2 mm, down and to the left"; in 3D the length alone, for a file's axes are not a person's directions."""
    moved = step * np.asarray(spacing_mm)
    far = f"{np.linalg.norm(moved):.1f} {'mm' if known else 'px'}"
    if len(step) != 2:
        return far
    most = np.abs(moved).max()
    ways = [AWAY[axis][int(way < 0)] for axis, way in enumerate(moved) if abs(way) >= ALONG * most]
    return f"{far} {' and '.join(ways)}"
