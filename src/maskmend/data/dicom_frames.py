"""Slices of DICOM, and where their headers say that they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Array

PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices", "SliceThickness")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Frame:
    """One slice: of a file, or the ``frame`` (from 0) of a file that holds many. ``corner``: mm of the first pixel's
    centre; ``axes``: x, y, z of the step to the next column, then to the next row; all LPS. ``shape``: rows, columns;
    ``spacing_mm``: between rows, between columns. ``thickness_mm``: what the header says of the distance of slices."""

    path: Path
    frame: int
    uid: str
    corner: tuple[float, ...]
    axes: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, int]
    thickness_mm: float = 1.0


def frames_of(path: Path, header: Any) -> list[Frame]:
    """The slices of one file, by its header. Raises AttributeError and others where it lacks something, and ValueError
    for what is no place: an endless number, no step, directions that are not upright and of length 1."""
    uid, shape = str(header.SOPInstanceUID), (int(header.Rows), int(header.Columns))
    if GROUPS[1] not in header:
        return [_frame(path, 0, uid, shape, (header,))]
    shared = [*header.get(GROUPS[0], [])]
    return [_frame(path, place, uid, shape, (own, *shared)) for place, own in enumerate(header[GROUPS[1]].value)]


def _frame(path: Path, place: int, uid: str, shape: tuple[int, int], groups: Sequence[Any]) -> Frame:
    """By the first of the groups that tells each; in enhanced files it stands in a sequence of one item."""

    def told(word: str, count: int, sequence: str) -> tuple[float, ...]:
        for group in groups:
            holder = group[sequence].value[0] if sequence in group else group
            if holder.get(word) is not None:
                value = holder.get(word)
                values = tuple(float(each) for each in (value if count > 1 else [value]))
                if len(values) == count:
                    return values
        raise AttributeError(word)

    apart: tuple[float, ...] = (1.0,)
    for word in ("SpacingBetweenSlices", "SliceThickness"):
        try:
            apart = told(word, 1, "PixelMeasuresSequence")
            break
        except AttributeError:
            continue
    corner = told("ImagePositionPatient", 3, "PlanePositionSequence")
    axes = told("ImageOrientationPatient", 6, "PlaneOrientationSequence")
    spacing = told("PixelSpacing", 2, "PixelMeasuresSequence")
    turns = np.reshape(axes, (2, 3))
    if not (
        np.isfinite([*corner, *apart]).all() and min(spacing) > 0 and np.allclose(turns @ turns.T, np.eye(2), atol=0.01)
    ):
        raise ValueError("it does not say where it lies")
    return Frame(path, place, uid, corner, axes, spacing, shape, abs(apart[0]) or 1.0)


def placed_at(frames: Sequence[Frame]) -> tuple[Array, Array]:
    """(N, 3) corners in mm, and the direction (3,) in which slices follow each other."""
    axes = np.array(frames[0].axes)
    return np.array([frame.corner for frame in frames]), np.cross(axes[:3], axes[3:])
