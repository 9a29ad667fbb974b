"""What is shown of a case: the plane at its worst finding, turned as a radiologist sees it, with outlines and numbers.

Views are radiological where the file knows its place: what is turned is the picture, never the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment

from ..data.geometry import Geometry
from ..errors import InputError
from ..types import IGNORE
from .drawing import FRAME, GIVEN, OTHER, SIDE, SMALL, SMALLEST, UNKNOWN, Mark, Outline, picture, png
from .store import FAINT, Audit, Finding

__all__ = [
    "GIVEN", "OTHER", "Mark", "Outline", "Shown", "Sliced", "drawn", "is_ct", "letters_of", "of_case", "outlined",
    "overview", "picture", "sample", "shown_image", "sides", "sliced", "thumbnail", "told", "window",
]  # fmt: skip

MARGIN = 0.35
"""Of the box of what is shown, around it."""
LEAST = 24
"""Voxels that are shown along an axis at least."""
CONTEXT = 0.4
"""Of the objects on the slice, along an axis, what is shown at least, however small a finding is."""
PART = 0.4
"""Of a slice, what is shown at most where the whole of it is shown beside, small."""
TINY = 0.005
"""Of what is shown, the largest finding that a number would hide: it stands beside."""
BLANK = 40
"""The grey of a case without its image."""
PLANES = {"IS": "axial", "AP": "coronal", "LR": "sagittal"}
"""Of the letters at the ends of the axis that a plane lies across: its name; axes come in this order from top and left
to right."""
SHOWN = (0.5, 99.5)
"""Percentiles of a channel that become black and white: an organ that is 1 % of the image may be its brightest."""
SAMPLE = 100_000
"""Voxels that a window is chosen by."""
TOLD = 6
"""Findings that are numbered in a picture, and spelt out beside it."""

Array = NDArray[Any]
Box = tuple[slice, slice]


def sides(place: Geometry) -> tuple[list[list[str]], list[bool]]:
    """Of each axis (D, H, W) the letters at its first and last end, and whether a radiological view runs backwards.

    Each axis is named by another direction, the nearest ones together, however oblique they lie.
    """
    if not place.placed or len(place.spacing_mm) != 3:
        return [["", ""]] * 3, [False] * 3
    letters, flip = [], []
    columns = place.affine[:3, 2::-1] / np.linalg.norm(place.affine[:3, 2::-1], axis=0)
    for axis, main in zip(*linear_sum_assignment(-np.abs(columns.T)), strict=True):
        column = columns[:, axis]
        ends = (("R", "L"), ("A", "P"), ("I", "S"))[main]  # LPS: x grows to the left, y backwards, z upwards
        first, last = ends if column[main] > 0 else ends[::-1]
        letters.append([first, last])
        flip.append(first not in "RAS")
    return letters, flip


@dataclass(frozen=True)
class Sliced:
    """How a plane is cut out of a volume and turned: across ``axis`` at ``index``, a box, flipped, then transposed.

    steps: of rows and columns. letters: at the top, bottom, left and right. name: of the slice, for a
    person; "" of a picture.
    """

    axis: int
    index: int
    box: Box
    flips: tuple[bool, bool]
    turned: bool
    steps: tuple[float, float]
    letters: tuple[str, str, str, str]
    name: str = ""

    def of(self, volume: Array) -> Array:
        """The plane of (D, H, W) or of a picture (H, W)."""
        plane = volume if volume.ndim == 2 else np.take(volume, self.index, self.axis)
        plane = plane[self.box]
        plane = plane[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]
        turned: Array = plane.T if self.turned else plane
        return turned

    def where(self, place: Sequence[int]) -> tuple[float, float]:
        """Row and column of a voxel, in the plane."""
        inside = [n for a, n in enumerate(place) if len(place) == 2 or a != self.axis]
        moved = [n - part.start for n, part in zip(inside, self.box, strict=True)]
        lengths = [part.stop - part.start for part in self.box]
        row, column = (n - 1 - m if flip else m for m, n, flip in zip(moved, lengths, self.flips, strict=True))
        return (column, row) if self.turned else (row, column)


def sliced(label: Array, place: Geometry, at: Sequence[int] | None, shown: Array, axis: int | None = None) -> Sliced:
    """The plane through the voxel ``at`` (else where most of ``shown`` is), cut to what is shown, and some around it.

    label: (*S), for what lies around. shown: (*S) bool, what the picture is of. axis: of 3D, else the one across which
    ``shown`` is largest.
    """
    if label.ndim == 2:
        steps = (place.spacing_mm[0], place.spacing_mm[1])
        return Sliced(0, 0, _around(shown, label > 0), (False, False), False, steps, ("", "", "", ""))
    if axis is None:
        axis = _widest(shown, place.spacing_mm, at)
    counts = shown.sum(tuple(a for a in range(3) if a != axis))
    index = int(at[axis]) if at is not None else int(counts.argmax())
    letters, flip = sides(place)
    rest = [a for a in range(3) if a != axis]
    order = [list(PLANES).index(kind) if (kind := "".join(sorted(letters[a]))) in PLANES else a for a in rest]
    down, right = rest if order[0] < order[1] else rest[::-1]
    return Sliced(
        axis=axis,
        index=index,
        box=_around(np.take(shown, index, axis), np.take(label, index, axis) > 0),
        flips=(flip[rest[0]], flip[rest[1]]),
        turned=down > right,
        steps=(place.spacing_mm[down], place.spacing_mm[right]),
        letters=(*_ends(letters[down], flip[down]), *_ends(letters[right], flip[right])),
        name=f"{PLANES.get(''.join(sorted(letters[axis])), '')} slice {index + 1} of {label.shape[axis]}".strip(),
    )


def _ends(letters: Sequence[str], flip: bool) -> tuple[str, str]:
    first, last = letters[::-1] if flip else letters
    return first, last


def _widest(shown: Array, spacing_mm: Sequence[float], at: Sequence[int] | None) -> int:
    """The axis across which the slice with most of ``shown`` is largest in mm²; of anisotropic scans the thick one."""
    if max(spacing_mm) > 1.5 * min(spacing_mm):
        return int(np.argmax(spacing_mm))
    areas = []
    for axis in range(3):
        count = shown.sum(tuple(a for a in range(3) if a != axis))
        most = count[at[axis]] if at is not None else count.max(initial=0)
        areas.append(float(most) * float(np.prod([s for a, s in enumerate(spacing_mm) if a != axis])))
    return int(np.argmax(areas))


def _around(shown: Array, objects: Array) -> Box:
    """The box of what is shown, or of the objects if nothing is, with a margin; everything where nothing is at all."""
    marked, every = shown if shown.any() else objects, shown | objects
    if not marked.any():
        return slice(0, marked.shape[0]), slice(0, marked.shape[1])
    found = []
    for axis in (0, 1):
        first, last = _extent(marked, axis)
        start, end = _extent(every, axis)
        least = max(LEAST, round(CONTEXT * (end - start)))
        more = max(round(MARGIN * (last - first)), (least - (last - first) + 1) // 2, 2)
        found.append(slice(max(0, first - more), min(marked.shape[axis], last + more)))
    return found[0], found[1]


def _extent(marked: Array, axis: int) -> tuple[int, int]:
    places = np.flatnonzero(marked.any(1 - axis))
    return int(places[0]), int(places[-1]) + 1


def window(image: Array) -> tuple[float, float]:
    """The least and the largest value that are shown of a channel: percentiles; of CT, soft tissue."""
    part = sample(image)
    if is_ct(part):
        return -160.0, 240.0
    if not part.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(part, SHOWN))
    return low, max(high, low + 1e-6)


def sample(image: Array) -> Array:
    """Values of an image, drawn at random: of voxels in regular steps, all may lie in one column."""
    some = np.random.default_rng(0).integers(0, image.size, SAMPLE) if image.size > SAMPLE else slice(None)
    part = image.flat[some].astype(np.float32)
    finite: Array = part[np.isfinite(part)]
    return finite


def is_ct(values: Array) -> bool:
    """Whether values look like Hounsfield units: air and bone among them."""
    return bool(values.dtype.kind in "if" and values.min(initial=0) <= -900 and values.max(initial=0) >= 200)


def shown_image(image: Array, cut: Sliced) -> Array:
    """The plane of an image (C, *S) as (rows, columns, 1 or 3) uint8."""
    if len(image) == 3 and image.dtype == np.uint8:
        return np.stack([cut.of(band) for band in image], -1)
    low, high = window(image[0])
    plane = (cut.of(image[0]).astype(np.float32) - low) * (255 / (high - low))
    shown: Array = np.nan_to_num(plane).clip(0, 255).astype(np.uint8)[..., None]
    return shown


def overview(image: Array, cut: Sliced) -> bytes:
    """The whole plane of an image (C, *S), small, dark but for a frame where ``cut`` lies; empty where that is most of
    it."""
    lengths = [n for axis, n in enumerate(image.shape[1:]) if image.ndim == 3 or axis != cut.axis]
    frame = np.zeros(lengths, bool)
    frame[cut.box] = True
    if frame.mean() > PART:
        return b""
    whole = replace(cut, box=(slice(0, lengths[0]), slice(0, lengths[1])))
    plane, inside = shown_image(image, whole), whole.of(frame)
    return picture(np.where(inside[..., None], plane, plane // 2), [Outline(inside, FRAME)], cut.steps, SMALLEST)


@dataclass(frozen=True)
class Shown:
    """A PNG, what it is cut from, and the whole of that, small; empty where there is little more."""

    png: bytes
    cut: Sliced
    whole: bytes = b""


def drawn(
    audit: Audit, case: str, cut: Sliced, outlines: Sequence[Outline], marks: Sequence[Mark] = (), side: int = SIDE
) -> Shown:
    """The image of a case in the plane of ``cut``, with outlines and marks over it; grey where it cannot be read."""
    try:
        image = audit.image(case).array
    except InputError:
        plane = np.full((*outlines[0].label.shape, 1), BLANK, np.uint8)
        return Shown(picture(plane, outlines, cut.steps, side, marks), cut)
    return Shown(picture(shown_image(image, cut), outlines, cut.steps, side, marks), cut, overview(image, cut))


def of_case(audit: Audit, case: str, side: int = SIDE, numbered: bool = True, suggesting: bool = True) -> Shown:
    """A case at its worst finding: the given label, what is suggested, and the numbers of findings on that slice; where
    not ``suggesting``, the given label as of a case without findings.

    Raises:
        InputError: the label cannot be read, or is no longer the one that was audited.
    """
    label = audit.given(case)
    findings = [f for f in audit.findings(case) if f.number and f.slice and suggesting]
    numbers, suggested = audit.map("findings", case), audit.map("suggestions", case) if suggesting else None
    shown = numbers > 0 if findings and numbers is not None else label.array > 0
    cut = sliced(label.array, label.geometry, findings[0].slice if findings else None, shown)
    given = cut.of(label.array)
    marks = []
    if numbered:
        places = _numbers(findings, cut, cut.of(numbers)) if numbers is not None else []
        marks = [*places, *letters_of(cut, given.shape)]
    return drawn(audit, case, cut, outlined(given, None if suggested is None else cut.of(suggested)), marks, side)


def outlined(given: Array, other: Array | None) -> list[Outline]:
    """The outlines of a given label (rows, columns), and below it of what would stand there, only where it departs;
    in grey what nobody annotated."""
    unknown = given == IGNORE
    lines = [] if other is None else [Outline(np.where(unknown, 0, other), OTHER, dashed=True)]
    lines += [Outline(unknown, UNKNOWN)] if unknown.any() else []
    return [*lines, Outline(np.where(unknown, 0, given), GIVEN)]


def told(findings: Sequence[Finding]) -> list[tuple[int, Finding]]:
    """Those that a person is told of a case, with their places from 1; not what is hardly believed."""
    return [(n, each) for n, each in enumerate(findings, 1) if each.confidence >= FAINT][:TOLD]


def _numbers(findings: Sequence[Finding], cut: Sliced, plane: Array) -> list[Mark]:
    """Of the findings that have voxels in the plane of numbers (rows, columns): at the voxel to look at, if it is on
    this slice, else in their middle here."""
    marks = []
    for _, each in told(findings):
        assert each.slice is not None
        here = np.argwhere(plane == each.number)
        if len(each.slice) == 2 or each.slice[cut.axis] == cut.index:
            row, column = cut.where(each.slice)
        elif here.size:
            row, column = here[((here - here.mean(0)) ** 2).sum(1).argmin()].tolist()
        else:
            continue
        marks.append(Mark(str(each.number), row, column, beside=len(here) < TINY * plane.size))
    return marks


def letters_of(cut: Sliced, shape: Sequence[int]) -> list[Mark]:
    """Which side of the patient lies at each edge."""
    down, right = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    places = ((-1, right), (shape[0], right), (down, -1), (down, shape[1]))
    return [Mark(letter, *place) for letter, place in zip(cut.letters, places, strict=True) if letter]


def thumbnail(audit: Audit, case: str, suggesting: bool = True) -> bytes:
    """A small picture of a case at its worst finding; grey where its label cannot be read."""
    try:
        return of_case(audit, case, SMALL, numbered=False, suggesting=suggesting).png
    except InputError:
        return png(Image.new("L", (SMALL, SMALL), BLANK))
