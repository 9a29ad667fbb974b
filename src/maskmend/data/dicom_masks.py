"""Masks of DICOM: the segments of a DICOM-SEG, and the contours of an RTSTRUCT, each on its scan's grid."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .align import TOLERANCE
from .dicom import Drawing, Found, Series, library, pydicom, quiet
from .dicom_frames import GROUPS, Frame, frames_of
from .geometry import Array, Picture

HALF = 0.5
"""Of a fractional segment: from here on a voxel belongs to it."""
NEAR = 1e-3
"""By how much a step to the next pixel of a mask may differ from its scan's, in pixels."""
Mask = tuple[str, Array]
"""Name of a structure, and (D, H, W) bool."""


def series_of(drawing: Drawing, found: Found) -> Series:
    """The scan that a file with masks is drawn on: the series it names, or where it names none, the only one in its
    space.

    Raises InputError where that is not in the folder, or lacks an image that the file names.
    """
    told = found.told(drawing.path)
    named = [series for series in found.series if series.uid in drawing.of]
    if not drawing.of and drawing.space:
        named = [series for series in found.series if series.space == drawing.space]
    if not named:
        raise InputError(
            f"{told} is drawn on a series that is not in {found.place}, or is no scan; put that series there, or take "
            "the file out."
        )
    if len(named) > 1:
        raise InputError(f"{told} is drawn on {len(named)} series of {found.place}; leave the one that it fits.")
    missing = drawing.images - {frame.uid for frame in named[0].frames}
    if missing:
        raise InputError(
            f"{told} names {len(missing)} slices that its series does not have; put the missing slices back."
        )
    return named[0]


def masks_of(drawing: Drawing, scan: Picture, found: Found, wanted: Collection[str] = ()) -> Iterator[Mask]:
    """The structures of a file, in its own order, on the grid of its scan (D, H, W), one in memory at a time.

    ``wanted``: names in small letters; then the others are not looked at.
    Raises InputError where it is damaged, lies elsewhere, or a structure has no name.
    """
    masks: Iterator[Mask] | None = None
    header: Any = None
    while True:
        try:
            with quiet():  # never while the caller works
                if masks is None:
                    header = pydicom().dcmread(drawing.path, force=True)
                    masks = (_contours if drawing.contours else _segments)(header, scan, found, drawing.path, wanted)
                mask = next(masks, None)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # a damaged file may raise anything
            syntax = header and header.file_meta.get("TransferSyntaxUID")
            raise found.refusal(drawing.path, error, syntax) from None
        if mask is None:
            return
        yield mask


def _named(text: Any, number: int, told: str, wanted: Collection[str]) -> str:
    """Its name; "" where it is not wanted."""
    name = " ".join(str(text or "").split())
    if wanted and name.casefold() not in wanted:
        return ""
    if not name:
        raise InputError(f"{told}: its structure no. {number} has no name; name it, or choose structures.")
    return name


# --- DICOM-SEG --------------------------------------------------------------------------------------------------------


def _segments(header: Any, scan: Picture, found: Found, path: Path, wanted: Collection[str]) -> Iterator[Mask]:
    """Segments from frames. Of a label map (Supplement 243) a frame holds the numbers of segments."""
    told = found.told(path)
    try:
        frames = frames_of(path, header)
    except (AttributeError, ValueError):
        raise InputError(f"{told} does not say where its frames lie; get it anew.") from None
    shared = [*header.get(GROUPS[0], [])]
    owners = [_owner(group, *shared) for group in header.PerFrameFunctionalGroupsSequence]
    places = [_lies_at(frame, scan, told) for frame in frames]
    fractional = str(header.get("SegmentationType")) == "FRACTIONAL"
    least = HALF * int(header.get("MaximumFractionalValue", 255)) if fractional else HALF
    image: Any = library("highdicom").Image.from_dataset(header, copy=False)
    for segment in header.SegmentSequence:
        number = int(segment.SegmentNumber)
        name = number and _named(segment.get("SegmentLabel"), number, told, wanted)
        if not name:  # not wanted, or 0: the background of a label map
            continue
        mask = np.zeros(scan.array.shape, bool)
        own = [place for place, owner in enumerate(owners) if owner in (number, None)]
        for place in own:
            index, row, column = places[place]
            values = image.get_stored_frame(place + 1)
            height, width = values.shape
            inside = values == number if owners[place] is None else values >= least
            mask[index, row : row + height, column : column + width] |= inside
        yield name, mask


def _owner(*groups: Any) -> int | None:
    """Number of the segment that a frame is of; None of a label map, whose frames hold them all."""
    told = (group.SegmentIdentificationSequence for group in groups if "SegmentIdentificationSequence" in group)
    return next((int(items[0].ReferencedSegmentNumber) for items in told), None)


def _lies_at(frame: Frame, scan: Picture, told: str) -> tuple[int, int, int]:
    """Slice, row and column of its first pixel in the scan. Raises InputError where its pixels are not the scan's."""
    to_index = np.linalg.inv(scan.geometry.affine)
    x, y, z = to_index[:3, :3] @ frame.corner + to_index[:3, 3]
    rows, columns = frame.spacing_mm
    steps = to_index[:3, :3] @ np.stack([np.array(frame.axes[:3]) * columns, np.array(frame.axes[3:]) * rows], 1)
    first = tuple(round(value) for value in (z, y, x))
    off = max(abs(value - whole) for value, whole in zip((z, y, x), first, strict=True))
    last = np.add(first, (1, *frame.shape))
    turned = np.abs(steps - np.eye(3, 2)).max()
    if turned * max(frame.shape) > max(NEAR * max(frame.shape), TOLERANCE) or off > TOLERANCE:
        how = "turned or of another pixel size" if off <= TOLERANCE else f"{off:.2g} pixels or slices off"
        raise InputError(f"{told} does not lie on the grid of its scan, but is {how}; resample it to the scan.")
    if min(first) < 0 or (last > scan.array.shape).any():
        raise InputError(f"{told} reaches beyond its scan; put the missing slices back, or cut it.")
    return first[0], first[1], first[2]


# --- RTSTRUCT ---------------------------------------------------------------------------------------------------------


def _contours(header: Any, scan: Picture, found: Found, path: Path, wanted: Collection[str]) -> Iterator[Mask]:
    """Structures from closed planar contours; one with points or open lines alone marks no region, and is left out."""
    told = found.told(path)
    names = {int(roi.ROINumber): roi.get("ROIName") for roi in header.StructureSetROISequence}
    for drawn in header.get("ROIContourSequence", []):
        closed = [
            np.reshape([float(value) for value in item.ContourData], (-1, 3))
            for item in drawn.get("ContourSequence", [])
            if str(item.ContourGeometricType).startswith("CLOSED")
        ]
        number = int(drawn.ReferencedROINumber)
        if closed and (name := _named(names.get(number), number, told, wanted)):
            which = f"structure no. {number}" if found.secret(name) else name
            yield name, filled(closed, scan, f"{told}, {which}")


def filled(contours: Sequence[Array], scan: Picture, told: str) -> Array:
    """(D, H, W) bool: the voxels whose centre lies within an odd number of contours, each (N, 3) mm on one slice.

    So a contour within another is a hole, as is what a contour leaves out that runs in and back again (a keyhole). One
    that is there twice counts once.
    Raises InputError for a contour that does not lie on a slice, or lies beyond the scan.
    """
    from skimage.draw import polygon

    to_index = np.linalg.inv(scan.geometry.affine)
    mask = np.zeros(scan.array.shape, bool)
    for points in {each.tobytes(): each for each in contours}.values():
        columns, rows, slices = (points @ to_index[:3, :3].T + to_index[:3, 3]).T
        place = round(float(slices.mean()))
        off = float(np.abs(slices - place).max())
        if off > TOLERANCE:
            step = scan.geometry.spacing_mm[0]
            raise InputError(
                f"{told}: a contour lies {off * step:.3g} mm off the nearest slice, and slices are {step:.3g} mm "
                "apart; draw it on the slices, or export it as DICOM-SEG."
            )
        apart = [
            max(each.min() - length + 1, -each.max())
            for each, length in zip((rows, columns), mask[0].shape, strict=True)
        ]
        if not 0 <= place < len(mask) or max(apart) > HALF:
            raise InputError(f"{told}: a contour lies beyond the scan; put the missing slices back.")
        inside = polygon(rows, columns, mask.shape[1:])  # type: ignore[no-untyped-call]
        mask[place][inside] ^= True
    return mask
