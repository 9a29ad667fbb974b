"""Pictures of labels on their images: outlines on a native slice, as PNG.

One voxel is one rectangle of whole pixels, in the shape that its spacing gives it; nothing is smoothed. Views are
radiological where the file knows its place: what is turned is the picture, never the data.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..data.geometry import Geometry
from ..errors import InputError
from .store import Audit, Finding

GIVEN, OTHER = (230, 159, 0), (86, 180, 233)
"""What was given, and what would stand there: orange and sky blue, which colour-blind eyes tell apart."""
SIDE = 300
"""Pixels of the longer side of a picture, about."""
SMALL = 160
"""The same of a thumbnail."""
MARGIN = 0.35
"""Of the box of what is shown, around it."""
LEAST = 24
"""Voxels that are shown along an axis at least."""
DASH = 4
"""Pixels of a dash, and of the gap after it."""

Array = NDArray[Any]
Colour = tuple[int, int, int]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Outline:
    """The boundaries between the values of a label (rows, columns), in one colour."""

    label: Array
    colour: Colour
    dashed: bool = False


@dataclass(frozen=True)
class Mark:
    """A short text at (row, column)."""

    text: str
    row: float
    column: float


def picture(
    plane: Array, outlines: Sequence[Outline], steps: tuple[float, float], side: int = SIDE, marks: Sequence[Mark] = ()
) -> bytes:
    """A PNG of a plane (rows, columns, 1 or 3) uint8, with outlines over it; ``steps``: spacing of rows and columns."""
    rows, columns = plane.shape[0], plane.shape[1]
    scale = side / max(rows * steps[0], columns * steps[1])
    high, wide = max(1, round(scale * steps[0])), max(1, round(scale * steps[1]))
    image = np.repeat(np.repeat(plane if plane.shape[2] == 3 else np.repeat(plane, 3, 2), high, 0), wide, 1)
    thick = 2 if side > SMALL else 1
    for outline in outlines:
        lines = _boundary(np.repeat(np.repeat(outline.label, high, 0), wide, 1), thick)
        if outline.dashed:
            diagonal = np.add.outer(np.arange(lines.shape[0]), np.arange(lines.shape[1]))
            lines &= diagonal // DASH % 2 == 0
        image[lines] = outline.colour
    drawn = Image.fromarray(image)
    pen = ImageDraw.Draw(drawn)
    for mark in marks:
        place = ((mark.column + 0.5) * wide, (mark.row + 0.5) * high)
        pen.text(place, mark.text, (255, 255, 255), anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0), font_size=14)
    return _png(drawn)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG", optimize=False)
    return file.getvalue()


def _boundary(label: Array, thick: int) -> NDArray[np.bool_]:
    """Pixels beside another value, on both sides."""
    found = np.zeros(label.shape, bool)
    for axis in (0, 1):
        change = np.diff(label, axis=axis) != 0
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        found[tuple(behind)] |= change
        if thick > 1:
            found[tuple(ahead)] |= change
    return found


# --- what is shown of a case ------------------------------------------------------------------------------------------


def sides(place: Geometry) -> tuple[list[list[str]], list[bool]]:
    """Of each axis (D, H, W) the letters at its first and last end, and whether a radiological view runs backwards."""
    if not place.placed or len(place.spacing_mm) != 3:
        return [["", ""]] * 3, [False] * 3
    letters, flip = [], []
    for axis in range(3):
        column = np.asarray(place.affine)[:3, 2 - axis]
        main = int(np.abs(column).argmax())
        ends = (("R", "L"), ("A", "P"), ("I", "S"))[main]  # LPS: x grows to the left, y backwards, z upwards
        first, last = ends if column[main] > 0 else ends[::-1]
        letters.append([first, last])
        flip.append(first not in "RAS")
    return letters, flip


@dataclass(frozen=True)
class Sliced:
    """How a plane is cut out of a volume and turned: across ``axis`` at ``index``, a box, flipped, then transposed."""

    axis: int
    index: int
    box: Box
    flips: tuple[bool, bool]
    turned: bool
    steps: tuple[float, float]
    letters: tuple[str, str]

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
    """The plane through the voxel ``at`` (else where most of ``shown`` is), cut to what is marked, and some around it.

    label: (*S). shown: (*S) bool, what the picture is of. axis: of 3D, else the one across which ``shown`` is largest.
    """
    if label.ndim == 2:
        box = _around(shown | (label > 0))
        return Sliced(0, 0, box, (False, False), False, (place.spacing_mm[0], place.spacing_mm[1]), ("", ""))
    if axis is None:
        axis = _widest(shown, place.spacing_mm, at)
    counts = shown.sum(tuple(a for a in range(3) if a != axis))
    index = int(at[axis]) if at is not None else int(counts.argmax())
    rest = [a for a in range(3) if a != axis]
    letters, flip = sides(place)
    plane = np.take(shown, index, axis) | (np.take(label, index, axis) > 0)
    kinds = ["".join(sorted(letters[a])) for a in rest]
    turned = {"IS": 0, "AP": 1, "LR": 2, "": 1}[kinds[0]] > {"IS": 0, "AP": 1, "LR": 2, "": 1}[kinds[1]]
    flips = (flip[rest[0]], flip[rest[1]])
    steps = (place.spacing_mm[rest[0]], place.spacing_mm[rest[1]])
    across = rest[0] if turned else rest[1]
    ends = letters[across][::-1] if flip[across] else letters[across]
    return Sliced(axis, index, _around(plane), flips, turned, steps[::-1] if turned else steps, (ends[0], ends[1]))


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


def _around(marked: Array) -> Box:
    """The box of what is marked with a margin; everything where nothing is."""
    if not marked.any():
        return slice(0, marked.shape[0]), slice(0, marked.shape[1])
    found = []
    for axis in (0, 1):
        there = np.flatnonzero(marked.any(1 - axis))
        first, last, length = int(there[0]), int(there[-1]) + 1, marked.shape[axis]
        more = max(round(MARGIN * (last - first)), (LEAST - (last - first) + 1) // 2, 2)
        found.append(slice(max(0, first - more), min(length, last + more)))
    return found[0], found[1]


def window(image: Array) -> tuple[float, float]:
    """The least and the largest value that are shown of a channel: its 1st and 99th percentile; of CT, soft tissue."""
    part = image.ravel()[:: max(1, image.size // 100_000)].astype(np.float32)
    if is_ct(part):
        return -160.0, 240.0
    low, high = (float(v) for v in np.percentile(part, [1, 99]))
    return low, max(high, low + 1e-6)


def is_ct(values: Array) -> bool:
    """Whether values look like Hounsfield units: air and bone among them."""
    return bool(values.dtype.kind in "if" and values.min() <= -900 and values.max() >= 200)


def shown_image(image: Array, cut: Sliced) -> Array:
    """The plane of an image (C, *S) as (rows, columns, 1 or 3) uint8."""
    if len(image) == 3 and image.dtype == np.uint8:
        return np.stack([cut.of(band) for band in image], -1)
    low, high = window(image[0])
    plane = (cut.of(image[0]).astype(np.float32) - low) * (255 / (high - low))
    shown: Array = np.clip(plane, 0, 255).astype(np.uint8)[..., None]
    return shown


def of_case(audit: Audit, case: str, side: int = SIDE, numbered: bool = True) -> bytes | None:
    """A case at its worst finding: the given label, what is suggested, and the numbers of findings on that slice.

    None where the label cannot be read.
    """
    try:
        label = audit.given(case)
    except InputError:
        return None
    findings = [f for f in audit.findings(case) if f.number and f.slice]
    numbers, suggested = audit.map("findings", case), audit.map("suggestions", case)
    worst = findings[0] if findings else None
    shown = (numbers == worst.number) if worst is not None and numbers is not None else label.array > 0
    cut = sliced(label.array, label.geometry, worst.slice if worst else None, shown)
    outlines = [Outline(cut.of(label.array), GIVEN)]
    if suggested is not None:
        outlines.insert(0, Outline(cut.of(suggested), OTHER, dashed=True))
    try:
        image = audit.image(case).array
    except InputError:
        image = None
    plane = shown_image(image, cut) if image is not None else np.full((*outlines[0].label.shape, 1), 40, np.uint8)
    marks = [*_numbers(findings, cut), *_letters(cut, outlines[0].label.shape)] if numbered else []
    return picture(plane, outlines, cut.steps, side, marks)


def _numbers(findings: Sequence[Finding], cut: Sliced) -> list[Mark]:
    """Of the findings whose voxel to look at lies on this slice, and within the box."""
    marks = []
    for each in findings:
        assert each.slice is not None
        if len(each.slice) == 3 and each.slice[cut.axis] != cut.index:
            continue
        row, column = cut.where(each.slice)
        marks.append(Mark(str(each.number), row, column))
    return marks[:9]


def _letters(cut: Sliced, shape: Sequence[int]) -> list[Mark]:
    """What lies left and right in the picture."""
    middle = shape[0] / 2
    ends = zip(cut.letters, (1.0, shape[1] - 2.0), strict=True)
    return [Mark(letter, middle, column) for letter, column in ends if letter]


def thumbnail(audit: Audit, case: str) -> bytes:
    """A small picture of a case at its worst finding; grey where its label cannot be read."""
    found = of_case(audit, case, SMALL, numbered=False)
    return found if found is not None else _png(Image.new("RGB", (SMALL, SMALL), (60, 60, 60)))
