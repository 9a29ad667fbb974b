"""Where a label and a judge's mask disagree, as findings with a kind, a size and a confidence.

Voxels of given != suggested are explained in turn, each once: by swapped parts, by whole parts that are missing or
spurious, and the rest at the given boundary, split by (given, suggested) and into parts that touch by faces. Long parts
at the boundary are cut where they are no deeper than the tolerance. What is left at or below it is no finding: careful
raters differ by as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import IGNORE
from . import store
from .parts import Floats, Ints, around, components, distances, groups, inscribed, mask_of, neighbours, sizes
from .shift import with_shifts
from .store import Doubted, Kind

WHOLE = 0.1
"""Share of a part found in the other mask, below which all of it is missing or spurious."""
SWAPPED = 0.5
"""Share of a given part predicted as another class, above which it was given the wrong name."""
SMALL = 0.005
"""Share of its class that a finding at a boundary has at least: any two careful masks differ in many smaller places.
Without it a made-up judge of Dice .97 had 15 findings on a right chest X-ray, with it 0.2, and its recall rose."""
ROUNDING = 1e-4
"""By how much of it a distance may exceed another and count as equal: distances are float32."""


def by_model(
    given: NDArray[Any],
    prob: NDArray[Any],
    labels: Mapping[str, int],
    spacing_mm: Sequence[float],
    tolerance_mm: float | None = None,
    known: bool = True,
) -> list[Doubted]:
    """The findings of a judge, the surest and largest first, at most ``store.MOST``; no two share a voxel.

    Args:
        given: (*S) whole numbers, IGNORE where nobody annotated: nothing is found there.
        prob: (K, *S) the judge's probabilities of the values 0 to K - 1.
        labels: name -> value.
        spacing_mm: one step along each axis of *S; of steps that are no mm (``known`` False) texts speak of px.
        tolerance_mm: depth up to which nothing is found; by default one voxel, along whatever axis.

    Confidence is the mean over the voxels of the probability of what is suggested less that of what is given.
    """
    predicted = mask_of(prob)
    found = []
    for each in differences(given, predicted, labels, spacing_mm, tolerance_mm, known):
        place = np.unravel_index(each.voxels, given.shape)
        assert each.value is not None
        gain = prob[(each.value, *place)].astype(np.float64) - prob[(given[place], *place)]
        found.append(replace(each, confidence=float(gain.mean().clip(0, 1))))
    first = sorted(found, key=lambda each: -each.confidence * each.voxels.size)[: store.MOST]
    return with_shifts(first, given, predicted, spacing_mm, known)


def differences(
    given: NDArray[Any],
    suggested: NDArray[Any],
    labels: Mapping[str, int],
    spacing_mm: Sequence[float],
    tolerance_mm: float | None = None,
    known: bool = True,
) -> list[Doubted]:
    """What must be done to ``given`` to make it ``suggested``, both (*S), but for what the tolerance forgives.

    All confidences are 1; else as ``by_model``.
    """
    differ = (given != suggested) & (given != IGNORE)
    if not differ.any():
        return []
    box = around((given > 0) | (suggested > 0))
    pair = _Pair.of(given[box], suggested[box], np.asarray(spacing_mm, float), tolerance_mm)
    words = Words(store.class_names(labels), tuple(spacing_mm), known)
    found = []
    for part in (*_swapped(pair), *_whole(pair), *_at_boundary(pair)):
        place = np.unravel_index(part.voxels, pair.given.shape)
        flat = np.ravel_multi_index([p - 1 + axis.start for p, axis in zip(place, box, strict=True)], given.shape)
        text = words.of(part.kind, part.class_, part.other, part.depth_mm, flat.size)
        found.append(Doubted(part.kind, part.class_, flat, 1.0, text, part.value, part.other, part.depth_mm))
    return found


# --- the two masks, while what is explained is taken out --------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A finding in the padded box. voxels: flat, sorted."""

    kind: Kind
    class_: int
    voxels: Ints
    value: int
    depth_mm: float
    other: int | None = None


@dataclass
class _Pair:
    """given, suggested: (*B), all objects and one voxel around; ``given`` becomes ``suggested`` as it is explained.

    parts, sizes: of both masks, the number of the part at each voxel (*B), 0 in none, and its known voxels by number.
    at: (N,) flat, sorted: the voxels that are still to be explained.
    """

    given: NDArray[Any]
    suggested: NDArray[Any]
    parts: tuple[NDArray[Any], ...]
    sizes: tuple[Ints, ...]
    at: Ints
    spacing_mm: Floats
    tolerance_mm: float | None

    @classmethod
    def of(cls, given: NDArray[Any], suggested: NDArray[Any], spacing_mm: Floats, tolerance_mm: float | None) -> _Pair:
        unknown = np.flatnonzero(np.pad(given == IGNORE, 1))
        a, b = (np.pad(mask, 1).astype(np.int16, copy=False) for mask in (given, suggested))
        a.flat[unknown] = b.flat[unknown] = np.maximum(b.flat[unknown], 0)
        parts = tuple(map(components, (a, b)))
        for numbers in parts:
            numbers.flat[unknown] = 0
        return cls(a, b, parts, tuple(map(sizes, parts)), np.flatnonzero(a != b), spacing_mm, tolerance_mm)

    @property
    def was(self) -> Ints:
        """(N,) what is given there."""
        return self.given.flat[self.at].astype(np.int64)

    @property
    def now(self) -> Ints:
        """(N,) what is suggested there."""
        return self.suggested.flat[self.at].astype(np.int64)

    def part(self, mask: int) -> Ints:
        """(N,) numbers of the parts of given (0) or suggested (1) that they are of."""
        return self.parts[mask].flat[self.at].astype(np.int64)

    def lost(self, mask: int) -> NDArray[np.bool_]:
        """Whether hardly anything of a part is in the other mask; by number, False for 0."""
        wrong = np.bincount(self.part(mask), minlength=len(self.sizes[mask]))
        return (wrong > (1 - WHOLE) * self.sizes[mask]) & (self.sizes[mask] > 0)

    def become(self, which: NDArray[np.bool_], value: Ints | int) -> None:
        """From here on ``value`` is given at those of ``at``; what agrees then needs no explanation any more."""
        self.given.flat[self.at[which]] = value
        self.at = self.at[self.was != self.now]

    def whole(self, kind: Kind, class_: int, voxels: Ints, value: int, other: int | None = None) -> Iterator[_Part]:
        """The finding, if the innermost of its voxels lies deeper in it than the tolerance."""
        depth_mm = float(inscribed(voxels, self.given.shape, self.spacing_mm).max())
        least = self.spacing_mm.min() if self.tolerance_mm is None else self.tolerance_mm
        if depth_mm > least * (1 + ROUNDING):
            yield _Part(kind, class_, voxels, value, depth_mm, other)


def _swapped(pair: _Pair) -> Iterator[_Part]:
    """Given parts most of which are another class. What else is wrong in them is wrong of that class from here on."""
    part, was, now = pair.part(0), pair.was, pair.now
    both = (part > 0) & (now > 0)
    pairs, count = np.unique(np.stack([part[both], now[both]]), axis=1, return_counts=True)
    number, value = pairs[:, count > SWAPPED * pair.sizes[0][pairs[0]]]
    named = np.zeros(len(pair.sizes[0]), np.int64)  # by number of the part: its right name
    named[number] = value
    for here in groups(part, now == np.where(named[part], named[part], IGNORE)):
        yield from pair.whole("swap", int(was[here[0]]), pair.at[here], int(now[here[0]]), int(now[here[0]]))
    renamed = named[part] > 0
    pair.become(renamed, named[part[renamed]])


def _whole(pair: _Pair) -> Iterator[_Part]:
    """Parts of one mask that are hardly in the other."""
    lost, unseen = pair.lost(0), pair.lost(1)
    part, now = pair.part(1), pair.now
    for here in groups(part, unseen[part]):
        yield from pair.whole("missing", int(now[here[0]]), pair.at[here], int(now[here[0]]))
    pair.become(unseen[part], now[unseen[part]])
    part, was, now = pair.part(0), pair.was, pair.now
    for here in groups(part, lost[part] & (now == 0)):
        yield from pair.whole("spurious", int(was[here[0]]), pair.at[here], 0)
    pair.become(lost[part], 0)


def _at_boundary(pair: _Pair) -> Iterator[_Part]:
    """The rest, where it is deeper than the tolerance: voxels deeper, and those within twice it from one of them.

    Its depth is that which 95 % of its line do not exceed. A patch of it three voxels wide is deep, and it is no less
    than ``SMALL`` of its class.
    """
    was, now = pair.was, pair.now
    class_, wide = np.where(was > 0, was, now), was > 0
    depth_mm, deep = _depths(pair, class_, wide)
    line = _line(pair, class_, wide)
    _, pairs = np.unique(was * (len(was) and int(now.max()) + 1) + now, return_inverse=True)
    number = _cut(pair, deep, pairs + 1) if deep.any() else np.zeros_like(was)
    patch = np.bincount(number[deep], minlength=int(number.max(initial=0)) + 1)[number]
    large = np.bincount(number)[number] >= SMALL * sizes(pair.suggested)[class_] if len(number) else number > 0
    for here in groups(number, (number > 0) & (patch >= 3 ** (pair.given.ndim - 1)) & large):
        first = here[0]
        kind: Kind = "too_wide" if wide[first] else "too_tight"
        other = int(now[first]) if wide[first] and now[first] > 0 else None
        most = float(np.percentile(depth_mm[here[line[here]] if line[here].any() else here], 95))
        yield _Part(kind, int(class_[first]), pair.at[here], int(now[first]), most, other)


def _line(pair: _Pair, class_: Ints, wide: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each voxel of ``at`` is at the outer line: the given one if it is too wide, else the suggested."""
    at_line = np.zeros(len(class_), bool)
    for step in neighbours(pair.given, faces=True):
        at_line |= np.where(wide, pair.given.flat[pair.at + step], pair.suggested.flat[pair.at + step]) != class_
    return at_line


def _depths(pair: _Pair, class_: Ints, wide: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """How far the line must move to leave each voxel of ``at``, in mm, and whether that is beyond the tolerance.

    That is the way to what both masks have of the class: to the suggested mask where the given one is too wide, to the
    given one where it is too tight. Beyond one voxel is what has no neighbour there, by faces, edges or corners.
    """
    depth_mm = np.zeros(len(class_))
    for side, mask in ((wide, pair.suggested), (~wide, pair.given)):
        for here in groups(class_, side):
            depth_mm[here] = distances(pair.at[here], mask, int(class_[here[0]]), pair.spacing_mm)
    if pair.tolerance_mm is not None:
        return depth_mm, depth_mm > pair.tolerance_mm * (1 + ROUNDING)
    near = np.zeros(len(class_), bool)
    for step in neighbours(pair.given):
        near |= np.where(wide, pair.suggested.flat[pair.at + step], pair.given.flat[pair.at + step]) == class_
    return depth_mm, ~near


def _cut(pair: _Pair, deep: NDArray[np.bool_], code: Ints) -> Ints:
    """The number of the part that each voxel of ``at`` is of, (N,); 0 where it is too far from a deep one."""
    from scipy.ndimage import maximum_filter

    place = np.unravel_index(pair.at, pair.given.shape)
    low = [int(axis.min()) for axis in place]
    inner = tuple(axis - start for axis, start in zip(place, low, strict=True))
    near = np.zeros([int(axis.max()) + 1 for axis in inner], np.uint8)
    near[inner] = deep
    steps = np.ones(near.ndim) if pair.tolerance_mm is None else pair.tolerance_mm / pair.spacing_mm
    near = maximum_filter(near, size=[2 * int(2 * step + ROUNDING) + 1 for step in steps], mode="constant")
    codes = np.zeros(near.shape, np.uint32)
    codes[inner] = np.where(near[inner] > 0, code, 0)
    return components(codes)[inner].astype(np.int64)


# --- in words ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    """What a person is told of a finding. names: by value. known: whether the spacing is in mm, else in px."""

    names: Mapping[int, str]
    spacing_mm: tuple[float, ...]
    known: bool = True

    def of(self, kind: Kind, class_: int, other: int | None, depth_mm: float, voxels: int) -> str:
        """One short sentence."""
        name, beside, size = self.name(class_), self.name(other or 0), self.size(voxels)
        by = f"by up to {depth_mm:.1f} {'mm' if self.known else 'px'} ({size})"
        return {
            "missing": f"{name} seems to be missing here ({size}).",
            "spurious": f"{name} is drawn where there seems to be none ({size}).",
            "too_wide": f"{name} is drawn too wide here{f' at the cost of {beside}' if other else ''}, {by}.",
            "too_tight": f"{name} is drawn too tight here, {by}.",
            "swap": f"{name} is drawn where there seems to be {beside} ({size}).",
        }[kind]

    def name(self, value: int) -> str:
        """Of a class, as in a sentence."""
        return store.spoken(self.names.get(value, str(value)))

    def size(self, voxels: int) -> str:
        """ "0.8 ml", or "12 mm²" in 2D, or the number of voxels where steps are no mm."""
        solid = len(self.spacing_mm) == 3
        if not self.known:
            return f"{voxels} {'voxel' if solid else 'pixel'}{'' if voxels == 1 else 's'}"
        size = voxels * float(np.prod(self.spacing_mm)) / (1000 if solid else 1)
        return f"{size:{'.2g' if size < 10 else '.0f'}} {'ml' if solid else 'mm²'}"
