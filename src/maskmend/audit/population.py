"""What a label shows beside the others of its data set: classes, sizes, places and parts that stand out.

What is common is anatomy, or how these masks are drawn, and is no finding.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from .anatomy import SMALL, Part
from .checks import NOWHERE, Look, size
from .store import Doubted

Found = dict[str, list[Doubted]]

COMMON = 0.95
"""Share of the labels that hold a class, from which its absence is told; of one less this, its presence."""
MANY = 20
"""Labels from which the population is known."""
SPREADS = 3.5
"""Robust standard deviations beyond which a value stands out (Iglewicz and Hoaglin, 1993)."""
USUAL = 0.9
"""Share of the labels that have no more parts of a class than what is usual."""
FEW = 2
"""Parts up to which a class counts as one thing or a pair, of which a further part is stray."""
SELDOM = 0.05
"""Share of the labels that touch a face of the volume, up to which touching it is told."""


def compare(looks: Sequence[Look], dataset: Dataset) -> Found:
    """The findings of each case that only the others show."""
    found: Found = defaultdict(list)
    sound = [look for look in looks if not look.broken]
    names = {value: name for name, value in dataset.labels.items() if value}
    for case, doubted in (*_twice(looks), *_presence(sound, names)):
        found[case].append(doubted)
    for k, name in names.items():
        having = [look for look in sound if k in look.shapes]
        for case, doubted in (*_stray(having, k, name), *_outlying(having, k, name), *_border(having, k, name)):
            found[case].append(doubted)
    return dict(found)


Each = Iterator[tuple[str, Doubted]]


def _twice(looks: Sequence[Look]) -> Each:
    """The same image under two names."""
    same: dict[tuple[str, ...], list[Look]] = defaultdict(list)
    for look in looks:
        if len(look.files) > 1 and all(look.files[1:]):
            same[look.files[1:]].append(look)
    for group in (group for group in same.values() if len(group) > 1):
        for look in group:
            others = ", ".join(other.case for other in group if other is not look)
            apart = any(other.files[0] != look.files[0] for other in group)
            text = f"The same image is also there as {others}, with {'another' if apart else 'the same'} label."
            yield look.case, Doubted("file", 0, NOWHERE, 0.95 if apart else 0.7, text)


def _presence(sound: Sequence[Look], names: Mapping[int, str]) -> Each:
    """Classes that nearly all others hold, or hardly any; a label that is empty is told once."""
    if len(sound) < MANY:
        return
    counts = Counter(k for look in sound for k in look.shapes)
    filled, others = sum(bool(look.shapes) for look in sound), len(sound) - 1
    for look in sound:
        if not look.shapes and filled >= COMMON * others:
            text = f"The label is empty; {filled} of {len(sound)} are not."
            yield look.case, Doubted("file", 0, NOWHERE, 0.9, text)
            continue
        for k, name in names.items():
            text = f"{counts[k]} of {len(sound)} labels hold {name}"
            if k not in look.shapes and counts[k] >= COMMON * others:
                yield look.case, Doubted("absent", k, NOWHERE, 0.8, f"{text}, this one does not.")
            if k in look.shapes and counts[k] <= (1 - COMMON) * len(sound):
                yield look.case, Doubted("unexpected", k, NOWHERE, 0.4, f"Only {text}; this one does.")


def _stray(having: Sequence[Look], k: int, name: str) -> Each:
    """Parts beyond those that are usual of a class that is one thing or a pair."""
    if not having:
        return
    usual = int(np.quantile([look.shapes[k].parts for look in having], USUAL)) if len(having) >= MANY else 1
    if usual > FEW:
        return
    for look in having:
        cut = any(each.kind == "slice_gap" and each.class_ == k for each in look.doubted)  # in parts that are one
        for number, part in enumerate(look.shapes[k].stray, start=2):
            if part.share < SMALL or (number > usual and not cut):
                yield look.case, _island(look, k, name, part)


def _island(look: Look, k: int, name: str, part: Part) -> Doubted:
    assert look.geometry is not None
    sure = 0.9 / (1 + part.share / (4 * SMALL))
    text = f"A stray part of {name}, {size(part.voxels.size, look.geometry)}, away from the rest."
    return Doubted("island", k, part.voxels, float(sure), text, value=0)


def _outlying(having: Sequence[Look], k: int, name: str) -> Each:
    """Volume, place and number of parts that stand out by median and MAD."""
    if len(having) < MANY:
        return
    volume = np.log([_amount(look, k) for look in having])
    places = np.array([look.shapes[k].centre for look in having])
    parts = np.array([look.shapes[k].parts for look in having], float)
    for look, larger in zip(having, _apart(volume), strict=True):
        if abs(larger) > SPREADS:
            assert look.geometry is not None
            how = f"{'large' if larger > 0 else 'small'} ({size(look.shapes[k].voxels, look.geometry)})"
            yield look.case, _outlier(k, f"{name} is unusually {how} for this data set.", larger)
    for look, far in zip(having, np.abs(np.stack([_apart(axis) for axis in places.T], 1)).max(1), strict=True):
        if far > SPREADS:
            yield look.case, _outlier(k, f"{name} lies at an unusual place in the image.", far)
    for look, more in zip(having, _apart(parts), strict=True):
        if more > SPREADS:
            count = look.shapes[k].parts
            yield look.case, _outlier(k, f"{name} is in {count} parts, which is unusual for this data set.", more)


def _outlier(k: int, text: str, spreads: float) -> Doubted:
    """Surer the farther off: 0.3 just beyond the limit, 0.6 at twice as far, at most 0.9."""
    sure = min(0.9, 0.3 * abs(spreads) / SPREADS)
    return Doubted("outlier", k, NOWHERE, float(sure), text)


def _amount(look: Look, k: int) -> float:
    """Volume in mm³; as a share of the image where the file knows no mm."""
    assert look.geometry is not None
    unit = float(np.prod(look.geometry.spacing_mm)) if look.geometry.known else 1 / float(np.prod(look.shape))
    return look.shapes[k].voxels * unit


def _apart(values: NDArray[Any]) -> NDArray[np.float64]:
    """Robust standard deviations from the median; 0 where more than half of the values are equal."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    found: NDArray[np.float64] = (values - middle) / spread if spread > 0 else np.zeros(len(values))
    return found


def _border(having: Sequence[Look], k: int, name: str) -> Each:
    """A class that touches a face of the volume, which it seldom does elsewhere."""
    if len(having) < MANY:
        return
    counts = Counter(face for look in having for face in look.shapes[k].faces)
    for look in having:
        rare = [face for face in look.shapes[k].faces if counts[face] <= SELDOM * len(having)]
        if rare:
            text = f"{name} touches the edge of the image, which few of these labels do."
            yield look.case, Doubted("border", k, NOWHERE, 0.3, text)
