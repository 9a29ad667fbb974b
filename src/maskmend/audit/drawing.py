"""A plane as a small PNG, with outlines over it.

One voxel is one rectangle, in the shape that its spacing gives it; nothing is smoothed. Where there are more voxels
than pixels, a pixel is the mean of its voxels, and no outline is lost however small its object.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

GIVEN, OTHER, UNKNOWN, FRAME = (230, 159, 0), (86, 180, 233), (150, 150, 150), (255, 255, 255)
"""What was given, what would stand there, what nobody annotated, and what is shown larger: orange, sky blue (Okabe and
Ito: colour-blind eyes tell them apart), grey and white."""
SIDE = 320
"""Pixels of the longer side of a picture."""
SMALL = 160
"""The same of a thumbnail."""
SMALLEST = 96
"""The same of what only shows where a picture lies."""
DASH = 5
"""Pixels of a dash, and of the gap after it."""
SHADES = (64, 32, 16)
"""Of an image, the most with which its file is no larger than ``BYTES``; else the fewest."""
BYTES = 25_000
GREYS = ((0, 0, 0), (85, 85, 85), (170, 170, 170), (255, 255, 255))
"""Of texts."""
EDGE = 10
"""Pixels between a text's middle and the edge, at least."""
ASIDE = ((13, -13), (-13, -13), (13, 13), (-13, 13))
"""Pixels across and down, from the middle of a small thing to that of a text beside it."""

Array = NDArray[Any]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Outline:
    """The boundaries between the values of a label (rows, columns), in one colour."""

    label: Array
    colour: Colour
    dashed: bool = False


@dataclass(frozen=True)
class Mark:
    """A short text at the voxel (row, column): in its middle unless another stands there or ``beside`` is asked for;
    beyond the plane: at its edge."""

    text: str
    row: float
    column: float
    beside: bool = False


def picture(
    plane: Array, outlines: Sequence[Outline], steps: tuple[float, float], side: int = SIDE, marks: Sequence[Mark] = ()
) -> bytes:
    """A PNG of a plane (rows, columns, 1 or 3) uint8, its longer side ``side`` pixels.

    outlines: labels (rows, columns), the last on top. steps: spacing of rows and columns, in any one unit.
    """
    lengths = [n * step for n, step in zip(plane.shape[:2], steps, strict=True)]
    high, wide = (max(1, round(side * length / max(lengths))) for length in lengths)
    whole = Image.fromarray(plane[..., 0] if plane.shape[2] == 1 else plane)
    bare = whole.resize((wide, high), Image.Resampling.BOX)  # of an enlarged picture: the voxel at the pixel's middle
    image, line = np.array(bare), np.zeros((high, wide), np.uint8)
    for number, outline in enumerate(outlines, 1):
        lines = _lines(outline.label, (high, wide), 2 if side > SMALL else 1)
        image[_near(lines)] //= 2
        line[lines & ~_gaps(outline.label, (high, wide)) if outline.dashed else lines] = number
    drawn = Image.fromarray(image)
    _write(ImageDraw.Draw(drawn), [(mark.text, _places(mark, plane, (high, wide))) for mark in marks])
    words = (np.array(drawn) != image).reshape(high, wide, -1).any(2)
    line[words] = len(outlines) + 1 + np.array(drawn.convert("L"))[words] // (256 // len(GREYS))
    for shades in SHADES:
        found = _coloured(drawn, line, [*(outline.colour for outline in outlines), *GREYS], shades)
        if len(found) <= BYTES:
            break
    return found


def _coloured(image: Image.Image, line: Array, colours: Sequence[Colour], shades: int) -> bytes:
    """A file of an image in few shades; pixels of ``line`` (rows, columns) have the colour of that number, from 1."""
    few = image.quantize(shades, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = (few.getpalette() or [])[: 3 * shades]
    own = len(palette) // 3
    found = Image.fromarray(np.where(line > 0, own - 1 + line, np.array(few)).astype(np.uint8), "P")
    found.putpalette([*palette, *(part for colour in colours for part in colour)])
    return png(found)


def _places(mark: Mark, plane: Array, shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Where the middle of the text may be, x and y in pixels, the best first."""
    (high, wide), (rows, columns) = shape, plane.shape[:2]
    x, y = (mark.column + 0.5) * wide / columns, (mark.row + 0.5) * high / rows

    def within(step: tuple[int, int]) -> tuple[float, float]:
        return min(max(x + step[0], EDGE), wide - EDGE), min(max(y + step[1], EDGE), high - EDGE)

    aside = sorted(map(within, ASIDE), key=lambda place: -math.dist(place, (x, y)))
    return aside if mark.beside else [within((0, 0)), *aside]


def _write(pen: ImageDraw.ImageDraw, words: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
    """Texts, each at the first of its places where it lies on no other; none where there is no such place."""
    taken: list[tuple[float, float]] = []
    for word, places in words:
        free = ((x, y) for x, y in places if all(abs(x - a) >= EDGE or abs(y - b) >= EDGE * 1.5 for a, b in taken))
        for place in islice(free, 1):
            taken.append(place)
            pen.text(place, word, "white", anchor="mm", stroke_width=2, stroke_fill="black", font_size=15)


def png(image: Image.Image) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _starts(voxels: int, pixels: int) -> NDArray[np.int64]:
    """Of each pixel, its first voxel: the one at its middle."""
    starts: NDArray[np.int64] = (2 * np.arange(pixels) + 1) * voxels // (2 * pixels)
    starts[0] = 0
    return starts


def _lines(label: Array, shape: tuple[int, int], thick: int) -> NDArray[np.bool_]:
    """Pixels (*shape) beside another value, on one side of the boundary or on both."""
    lines = np.zeros(shape, bool)
    starts = [_starts(n, pixels) for n, pixels in zip(label.shape, shape, strict=True)]
    for axis, (along, across) in enumerate((starts, starts[::-1])):
        change = np.diff(label if axis == 0 else label.T, axis=0) != 0
        before, at = np.nonzero(np.logical_or.reduceat(change, across, axis=1))
        first = np.minimum(np.searchsorted(along, before + 1), len(along) - 1)
        here = lines if axis == 0 else lines.T
        for step in range(thick):
            here[np.maximum(first - step, 0), at] = True
    return lines


def _gaps(label: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (*shape) at the boundaries that dashes leave free: every other ``DASH`` pixels along each of them."""
    from skimage.measure import find_contours

    rows, columns = (_starts(n, pixels) for n, pixels in zip(label.shape, shape, strict=True))
    pixels = label[np.ix_(rows, columns)]
    line, gap = np.zeros(shape, bool), np.zeros(shape, bool)
    if min(shape) < 2:
        return gap
    for value in np.unique(pixels)[1:]:  # a boundary between two classes is walked once
        here, free = np.zeros(shape, bool), np.zeros(shape, bool)
        for contour in find_contours((pixels == value).astype(np.float32), 0.5):  # type: ignore[no-untyped-call]
            steps = np.hypot(*np.diff(contour, axis=0).T)
            odd = np.concatenate([[0], steps.cumsum()]) // DASH % 2 > 0
            for rounded in (np.floor, np.ceil):
                place = rounded(contour).astype(int)
                here[tuple(place[~odd].T)] = True
                free[tuple(place[odd].T)] = True
        gap |= free & ~here & ~line
        line |= here | free
    return gap


def _near(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a line or beside it: they are darkened, so that it is seen on any image."""
    near = lines.copy()
    near[1:] |= lines[:-1]
    near[:-1] |= lines[1:]
    near[:, 1:] |= lines[:, :-1]
    near[:, :-1] |= lines[:, 1:]
    return near
