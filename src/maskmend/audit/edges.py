"""Where masks end beside the edges of their images: what is kept of each case, and what all together tell of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..functional.edges import Offset, lost, offsets, profile, thickness, verdict, window
from .parts import Floats


@dataclass(frozen=True)
class Profile:
    """How an image changes across the boundary of a class, from shell to shell (C, D); each is ``step_mm`` thick. As
    much as ``volume`` belongs to the class, in mm or pixels to the power of the image's axes."""

    changes: Floats
    step_mm: float
    volume: float


def profiles(
    image: NDArray[Any], label: NDArray[Any], values: Sequence[int], spacing_mm: Sequence[float]
) -> dict[int, Profile]:
    """By class. image: (C, *S), label: (*S) with IGNORE where nobody annotated."""
    from scipy.ndimage import find_objects

    found, places = {}, dict(enumerate(find_objects(label, max(values, default=1)), 1))
    for k in values:
        if place := places[k]:
            volume = int((label[place] == k).sum()) * float(np.prod(spacing_mm))
            step = thickness(volume, label.ndim, min(spacing_mm))
            box = window(place, spacing_mm, step)
            found[k] = Profile(profile(image[:, *box], label[box], k, spacing_mm, step), step, volume)
    return found


def shared(cases: Sequence[Mapping[int, Profile]], labels: Mapping[str, int]) -> dict[str, Offset]:
    """By how much masks are off, of the classes all of whose masks disagree with the images' edges."""
    found = {}
    for name, k in labels.items():
        having = [case[k] for case in cases if k in case]
        step = float(np.median([each.step_mm for each in having])) if having else 1.0
        if offset := verdict([each.changes for each in having], step):
            found[name] = offset
    return found


def doubt(case: Mapping[int, Profile], offsets: Mapping[int, float], dims: int) -> float:
    """The Dice that a case's mask loses by ending off its image's edge, of several classes the mean, as regret is."""
    each = [lost(offsets.get(k, 0.0), profile.volume, dims) for k, profile in case.items()]
    return sum(each) / max(len(each), 1)


def off(cases: Mapping[str, Mapping[int, Profile]], labels: Mapping[str, int]) -> dict[str, dict[int, float]]:
    """The masks that end clearly off the edge in their own image where most others do not: of each such case, by how
    much its classes reach beyond, in mm or pixels; below 0 they end before it."""
    said, found = shared(list(cases.values()), labels), dict[str, dict[int, float]]()
    for name, k in labels.items():
        having = {case: each[k] for case, each in cases.items() if k in each and name not in said}
        shells = offsets([each.changes for each in having.values()])
        for (case, each), shell in zip(having.items(), shells, strict=True):
            if shell:
                found.setdefault(case, {})[k] = float(shell * each.step_mm)
    return found
