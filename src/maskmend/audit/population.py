"""What a label shows beside the others of its data set: classes, sizes, places and parts that stand out.

What is common is anatomy, or how these masks are drawn, and is no finding.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ..data.align import unplaced
from ..data.dataset import Dataset
from ..types import IGNORE
from .anatomy import SMALL, Part, leftward, pairs
from .checks import NOWHERE, Look, slip, words
from .findings import Words
from .store import Doubted, length, spoken

Found = dict[str, list[Doubted]]

COMMON = 0.95
"""Share of the labels that hold a class, from which its absence is told; of one less this, its presence."""
MANY = 20
"""Labels from which the population is known."""
SPREADS = 3.5
"""Robust standard deviations beyond which a value stands out (Iglewicz and Hoaglin, 1993)."""
CAREFUL = {"volume": 0.05, "place": 0.02}
"""Standard deviations by which careful raters differ at least: of the log of a volume, and of a centre as a share of
the image's length."""
USUAL = 0.9
"""Share of the labels that have no more parts of a class than what is usual."""
FEW = 2
"""Parts up to which a class counts as one thing or a pair, of which a further part is stray."""
SELDOM = 0.05
"""Share of the labels that touch a face of the volume, up to which touching it is told."""
EDGES = 0.8
"""How sure a mask is wrong that ends off the edge in its image."""
SIDEWAYS = 0.5
"""Share of their distance that left and right lie apart sideways, from which their order is told."""


def compare(looks: Sequence[Look], dataset: Dataset, ends: Mapping[str, Mapping[int, float]]) -> Found:
    """The findings of each case: its own, unless most labels have the like, and those that only the others show.

    ends: what ``edges.off`` tells of these looks.
    """
    found: Found = defaultdict(list)
    sound = [look for look in looks if not look.broken]
    names = {value: name for name, value in dataset.labels.items() if value}
    by_case = (_own(sound), _twice(looks), _presence(sound, names), _sides(sound, dataset), _ends(sound, dataset, ends))
    for case, doubted in chain.from_iterable(by_case):
        found[case].append(doubted)
    for k in names:
        having = [(look, words(dataset, look.geometry)) for look in sound if k in look.shapes]
        for case, doubted in (*_stray(having, k), *_outlying(having, k), *_border(having, k)):
            found[case].append(doubted)
    return dict(found)


Each = Iterator[tuple[str, Doubted]]
Having = Sequence[tuple[Look, Words]]


def _own(sound: Sequence[Look]) -> Each:
    """What labels show by themselves; but a class of which most labels have a large hole is a ring or a tube."""
    having = Counter(k for look in sound for k in look.shapes)
    pierced = Counter(k for look in sound for k in {each.class_ for each in look.doubted if _large(each, look)})
    for look in sound:
        for each in look.doubted:
            if not (
                _large(each, look) and having[each.class_] >= MANY and 2 * pierced[each.class_] > having[each.class_]
            ):
                yield look.case, each


def _large(each: Doubted, look: Look) -> bool:
    return each.kind == "hole" and each.voxels.size > SMALL * look.shapes[each.class_].voxels


def _twice(looks: Sequence[Look]) -> Each:
    """The same image under two names, by its voxels."""
    same: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        if look.content:
            same[look.content].append(look)
    for group in (group for group in same.values() if len(group) > 1):
        for look in group:
            others = ", ".join(other.case for other in group if other is not look)
            apart = any(other.files[0] != look.files[0] for other in group)
            text = f"The same image is also there as {others}, with {'another' if apart else 'the same'} mask."
            yield look.case, Doubted("file", 0, NOWHERE, 0.95 if apart else 0.7, text)


def _presence(sound: Sequence[Look], names: Mapping[int, str]) -> Each:
    """Classes that nearly all others hold, or hardly any; a label that is empty is told once."""
    if len(sound) < MANY:
        return
    counts = Counter(k for look in sound for k in look.shapes)
    filled, others = sum(bool(look.shapes) for look in sound), len(sound) - 1
    for look in sound:
        if not look.shapes and filled >= COMMON * others:
            text = f"The mask is empty; {filled} of {len(sound)} are not."
            yield look.case, Doubted("file", 0, NOWHERE, 0.9, text)
            continue
        for k, name in names.items():
            text = f"{counts[k]} of {len(sound)} masks hold {spoken(name)}"
            if k not in look.shapes and counts[k] >= COMMON * others:
                yield look.case, Doubted("absent", k, NOWHERE, 0.8, f"{text}, this one does not.")
            if k in look.shapes and counts[k] <= (1 - COMMON) * len(sound):
                yield look.case, Doubted("unexpected", k, NOWHERE, 0.4, f"Only {text}; this one does.")


def _sides(sound: Sequence[Look], dataset: Dataset) -> Each:
    """Left and right exchanged: in the patient; where files tell no place, against nearly all of the others.

    Less sure where others are alike: then it may be the names or the headers of them all that are wrong.
    """
    for left, right in pairs(dataset.labels):
        both = [look for look in sound if left in look.shapes and right in look.shapes]
        for placed in (True, False):
            looks = [look for look in both if _placed(look) == placed]
            order = np.array([leftward(look.shapes[left], look.shapes[right], look.lengths) for look in looks])
            wrong = order * (1 if placed or not looks else np.sign(np.median(order))) <= -SIDEWAYS
            if not placed and (len(looks) < MANY or wrong.mean() > 1 - COMMON):
                continue
            sure = 0.95 - 0.45 * (wrong.sum() - 1) / max(len(looks) - 1, 1)
            for look in (looks[n] for n in np.flatnonzero(wrong)):
                name = words(dataset, look.geometry).name
                text = f"{name(left)} lies to the right of {name(right)}: the two seem exchanged."
                for k, other in ((left, right), (right, left)):
                    yield look.case, Doubted("left_right", k, NOWHERE, float(sure), text, value=other, other=other)


def _placed(look: Look) -> bool:
    return len(look.shape) == 3 and not unplaced(look.geometry)


def _stray(having: Having, k: int) -> Each:
    """Parts beyond those that are usual of a class that is one thing or a pair."""
    usual = int(np.quantile([look.shapes[k].parts for look, _ in having], USUAL)) if having else 0
    if usual > FEW:
        return
    for look, said in having:
        cut = any(each.kind == "slice_gap" and each.class_ == k for each in look.doubted)  # in parts that are one
        for number, part in enumerate(look.shapes[k].stray, start=2):
            if IGNORE in part.around:  # may go on where nobody annotated
                continue
            if part.share < SMALL or (number > usual and not cut):
                yield look.case, _island(k, part, said)


def _island(k: int, part: Part, said: Words) -> Doubted:
    """It becomes what surrounds it."""
    voxels = part.voxels
    text = f"A stray part of {said.name(k)}, {said.size(voxels.size)}, away from the rest."
    return Doubted("island", k, voxels, 0.9 * slip(part.share), text, value=part.around[0])


def _outlying(having: Having, k: int) -> Each:
    """Volume, place and number of parts that stand out by median and MAD."""
    if len(having) < MANY:
        return
    shapes = [look.shapes[k] for look, _ in having]
    larger = _apart(np.log(_amounts(having, k)), CAREFUL["volume"])
    place = np.stack(
        [_apart(np.array(axis), CAREFUL["place"]) for axis in zip(*(s.centre for s in shapes), strict=True)]
    )
    more = _apart(np.array([shape.parts for shape in shapes], float), 0)
    for n, (look, said) in enumerate(having):
        name, how = said.name(k), "large" if larger[n] > 0 else "small"
        size, far = said.size(shapes[n].voxels), float(np.abs(place[:, n]).max())
        for spreads, text in (
            (abs(larger[n]), f"{name} is unusually {how} ({size}) for this data set."),
            (far, f"{name} lies at an unusual place in the image."),
            (more[n], f"{name} is in {shapes[n].parts} parts, which is unusual for this data set."),
        ):
            if spreads > SPREADS:
                yield look.case, Doubted("outlier", k, NOWHERE, float(min(0.9, 0.3 * spreads / SPREADS)), text)


def _amounts(having: Having, k: int) -> list[float]:
    """Volumes in mm³, or areas in mm²; as shares of the image where a file knows no mm."""
    voxels = [look.shapes[k].voxels for look, _ in having]
    if all(look.geometry.known for look, _ in having):
        return [n * math.prod(look.geometry.spacing_mm) for n, (look, _) in zip(voxels, having, strict=True)]
    return [n / math.prod(look.shape) for n, (look, _) in zip(voxels, having, strict=True)]


def _apart(values: NDArray[np.float64], careful: float) -> NDArray[np.float64]:
    """Robust standard deviations, each ``careful`` at least, from the median; 0 where most of the values are equal."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    return (values - middle) / max(spread, careful) if spread > 0 else np.zeros(len(values))


def _border(having: Having, k: int) -> Each:
    """A class that touches a face of the volume, which it seldom does elsewhere."""
    if len(having) < MANY:
        return
    counts = Counter(face for look, _ in having for face in look.shapes[k].faces)
    for look, said in having:
        if any(counts[face] <= SELDOM * len(having) for face in look.shapes[k].faces):
            text = f"{said.name(k)} touches the edge of the image, which few of these masks do."
            yield look.case, Doubted("border", k, NOWHERE, 0.3, text)


def _ends(sound: Sequence[Look], dataset: Dataset, ends: Mapping[str, Mapping[int, float]]) -> Each:
    """Masks that do not end at the edge in their image, as most of the others do."""
    for look in sound:
        for k, offset in ends.get(look.case, {}).items():
            said, side = words(dataset, look.geometry), "beyond" if offset > 0 else "before"
            text = f"{said.name(k)} ends about {length(abs(offset), said.known)} {side} the edge in the image."
            yield look.case, Doubted("edge", k, NOWHERE, EDGES, text, depth_mm=abs(offset))
