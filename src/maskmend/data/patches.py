"""Where a patch lies in its case, drawn from the patch's own seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

POINTS = 1024
"""Voxels of each class kept as centres of patches."""


@dataclass(frozen=True)
class Window:
    """Which part of a case, ``source``, goes where in a patch, ``target``; ``full`` if it fills it.

    ``source``: a slice of each axis; of a volume whose slices are seen, first the number of one.
    """

    source: tuple[Any, ...]
    target: tuple[slice, ...]
    full: bool


def window(shape: Sequence[int], patch: Sequence[int], corner: Sequence[int]) -> Window:
    """The patch at ``corner`` of a case; an axis shorter than the patch comes whole, in the middle."""
    size = [min(n, p) for n, p in zip(shape, patch, strict=True)]
    before = [(p - k) // 2 for p, k in zip(patch, size, strict=True)]
    return Window(
        source=tuple(slice(c, c + k) for c, k in zip(corner, size, strict=True)),
        target=tuple(slice(b, b + k) for b, k in zip(before, size, strict=True)),
        full=all(k == p for k, p in zip(size, patch, strict=True)),
    )


def whole_window(shape: Sequence[int], patch: Sequence[int]) -> Window:
    """All of a case, in the middle of a patch that is no smaller."""
    return window(shape, patch, (0,) * len(shape))


def part_window(shape: Sequence[int], patch: Sequence[int], shown: Sequence[slice]) -> Window:
    """What lies in these slices of a patch that shows all of a case, in its middle."""
    whole, source, target = whole_window(shape, patch), [], []
    for part, inside in zip(shown, whole.target, strict=True):
        start = min(max(part.start, inside.start), part.stop)
        stop = max(min(part.stop, inside.stop), start)
        source.append(slice(start - inside.start, stop - inside.start))
        target.append(slice(start - part.start, stop - part.start))
    return Window(
        tuple(source),
        tuple(target),
        all(t.stop - t.start == s.stop - s.start for t, s in zip(target, shown, strict=True)),
    )


def draw_window(
    shape: Sequence[int],
    patch: Sequence[int],
    points: Callable[[], np.ndarray],
    foreground: float,
    seed: int,
) -> Window:
    """A random patch of a case; with chance ``foreground`` its middle is a voxel of a random class, edges permitting.

    ``points()`` gives ``foreground_points``; it is asked only when needed.
    """
    room = [max(0, n - p) for n, p in zip(shape, patch, strict=True)]
    if not any(room):
        return whole_window(shape, patch)
    rng = np.random.default_rng(seed)
    centred = rng.random() < foreground
    corner = rng.integers(0, room, endpoint=True)
    if centred and len(choices := points()):
        middle = choices[rng.integers(len(choices)), rng.integers(POINTS)]
        corner = np.clip(middle - np.asarray(patch) // 2, 0, room)
    return window(shape, patch, corner.tolist())


def foreground_points(label: np.ndarray, seed: int) -> np.ndarray:
    """Voxels of each foreground class in a label (*S), drawn with replacement: (F, 1024, dims) int32, F classes."""
    rng = np.random.default_rng(seed)
    points = [
        np.stack(np.unravel_index(rng.choice(np.flatnonzero(label == value), POINTS), label.shape), -1)
        for value in np.unique(label[label > 0])
    ]
    return np.asarray(points, np.int32).reshape(-1, POINTS, label.ndim)
