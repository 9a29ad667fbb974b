"""The findings of a case numbered and laid on its grid, and the label that would stand there instead.

Each finding has voxels of its own: where several claim one, a judge's goes before a check's, then one that suggests
something before one that does not, then the surer and larger. Taking all suggestions gives the suggested label; taking
one changes its voxels and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.geometry import Geometry
from ..types import IGNORE
from . import store
from .parts import Floats, Ints, inscribed
from .store import Doubted, Finding

LEFT = 0.5
"""Share of its voxels that a finding needs to have left by those before it; else it is dropped."""


def joined(
    case: str, given: NDArray[Any], doubted: Sequence[Doubted], labels: Mapping[str, int], place: Geometry
) -> tuple[tuple[Finding, ...], NDArray[np.uint8], NDArray[Any]]:
    """The findings of a case, by confidence times volume; (*S) the number of the finding at each voxel, 0 in none; and
    (*S) the given label with every suggestion taken.

    given: (*S), IGNORE where nobody annotated: no finding has voxels there. Findings without voxels, of the whole case,
    come last, and their number is 0. At most ``store.MOST`` are kept.
    """
    numbers, suggested = np.zeros(given.shape, np.uint8), given.copy()
    names, found = store.class_names(labels), []
    for position, each in enumerate(_most(_apart(doubted, given != IGNORE)), 1):
        number = position if each.voxels.size else 0
        numbers.flat[each.voxels] = number
        if each.value is not None:
            suggested.flat[each.voxels] = each.value
        found.append(
            Finding(
                id=f"{case}:{position}",
                number=number,
                kind=each.kind,
                class_=names.get(each.class_, str(each.class_)) if each.class_ else "",
                other=None if each.other is None else names.get(each.other, str(each.other)),
                source=each.source,
                voxels=each.voxels.size,
                volume_ml=_volume_ml(each.voxels.size, place),
                depth_mm=each.depth_mm,
                confidence=each.confidence,
                suggested=bool(each.voxels.size) and each.value is not None,
                text=each.text,
                **_where(each, given.shape, np.asarray(place.spacing_mm, float)),
            )
        )
    return tuple(found), numbers, suggested


def taken(given: NDArray[Any], suggested: NDArray[Any], numbers: NDArray[Any], accepted: Iterable[int]) -> NDArray[Any]:
    """The given label with the suggestions of these findings alone, all (*S); ``numbers`` as ``joined`` gives them."""
    which = np.isin(numbers, [number for number in accepted if number])
    return np.where(which, suggested, given)


def _weight(each: Doubted) -> float:
    return each.confidence * each.voxels.size


def _apart(doubted: Sequence[Doubted], free: NDArray[np.bool_]) -> list[Doubted]:
    """Findings that share no voxel: each keeps what is ``free`` (*S) and those before it left, or goes."""
    free, kept = free.flatten(), []
    for each in sorted(doubted, key=lambda d: (d.source != "model", d.value is None, -_weight(d))):
        left = each.voxels[free[each.voxels]]
        if left.size < LEFT * each.voxels.size:
            continue
        free[left] = False
        whole = left.size == each.voxels.size
        kept.append(each if whole else replace(each, voxels=left, at=each.at if each.at in left else None))
    return kept


def _most(doubted: Sequence[Doubted]) -> list[Doubted]:
    """The surest and largest, then those of the whole case; no more than ``store.MOST``."""
    of_case = [each for each in doubted if not each.voxels.size][: store.MOST]
    placed = sorted((each for each in doubted if each.voxels.size), key=_weight, reverse=True)
    return [*placed[: store.MOST - len(of_case)], *of_case]


def _volume_ml(voxels: int, place: Geometry) -> float | None:
    """Of voxels that have a volume in mm³."""
    steps = [*place.spacing_mm, *([place.singleton[1]] if place.singleton else [])]
    return voxels * float(np.prod(steps)) / 1000 if voxels and place.known and len(steps) == 3 else None


def _where(each: Doubted, shape: tuple[int, ...], spacing_mm: Floats) -> dict[str, Any]:
    """The box of the voxels, and the one to look at."""
    at = _deepest(each.voxels, shape, spacing_mm) if each.at is None and each.voxels.size else each.at
    place = np.unravel_index(each.voxels, shape)
    return {
        "box": tuple((int(a.min()), int(a.max()) + 1) for a in place) if each.voxels.size else None,
        "slice": None if at is None else tuple(map(int, np.unravel_index(at, shape))),
    }


def _deepest(voxels: Ints, shape: tuple[int, ...], spacing_mm: Floats) -> int:
    """The innermost voxel of the finding on the slice where it is largest; of a picture, the innermost."""
    plane, within = np.divmod(voxels, shape[-2] * shape[-1])
    here = np.flatnonzero(plane == np.bincount(plane).argmax())
    return int(voxels[here[inscribed(within[here], shape[-2:], spacing_mm[-2:]).argmax()]])
