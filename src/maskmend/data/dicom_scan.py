"""One series of DICOM slices to one volume, with its place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .align import TOLERANCE
from .dicom import Found, Series, compressed, library, pydicom, quiet
from .dicom_frames import GROUPS, Frame, placed_at
from .formats import write_image
from .geometry import Array, Geometry, Picture
from .volumes import simple_itk

SERIES = "dicom_series"
"""Key of dataset.json: name of a case -> what stands for its series (``Series.key``)."""


def numbered(series: Sequence[Series]) -> dict[str, Series]:
    """case_001, case_002, …: names that tell of no patient, in the order given, which is that of paths."""
    digits = max(3, len(str(len(series))))
    return {f"case_{place:0{digits}d}": each for place, each in enumerate(series, 1)}


def in_order(series: Series, found: Found) -> Series:
    """The series with its frames along the direction of columns × rows, if they make one upright stack.

    Raises InputError for slices that differ in direction, size or spacing, lie at one place, are missing, or are
    shifted against each other, as a tilted gantry does.
    """
    first = series.frames[0]
    for frame in series.frames[1:]:
        for what, other, own, near in (
            ("size", frame.shape, first.shape, 0.0),
            ("direction", frame.axes, first.axes, 1e-3),
            ("pixel spacing", frame.spacing_mm, first.spacing_mm, 1e-3),
        ):
            if not np.allclose(other, own, rtol=0, atol=near):
                raise InputError(
                    f"{found.told(frame.path)} has the {what} {_numbers(other)}, but {found.told(first.path)} of the "
                    f"same series has {_numbers(own)}; put the slices of each {what} into a series of their own."
                )
    corners, normal = placed_at(series.frames)
    heights = corners @ normal
    order = np.argsort(heights, kind="stable")
    frames = [series.frames[place] for place in order]
    _check_steps(heights[order], frames, found)
    _check_upright(corners[order], normal, frames, found)
    return replace(series, frames=tuple(frames))


def _check_steps(heights: Array, frames: Sequence[Frame], found: Found) -> None:
    """Raises InputError where slices do not follow each other at one distance."""
    if len(frames) < 2:
        return
    steps = np.diff(heights)
    usual = float(np.median(steps))
    said = found.told(frames[0].path.parent)
    same = int(np.argmin(steps))
    if steps[same] < max(TOLERANCE * usual, 1e-3):
        raise InputError(
            f"{found.told(frames[same].path)} and {found.told(frames[same + 1].path)} lie at the same place; keep one "
            "of each slice, and each time or echo in a series of its own."
        )
    wide = int(np.argmax(steps))
    if steps[wide] > (2 - 2 * TOLERANCE) * usual:
        raise InputError(
            f"{said}: between {found.told(frames[wide].path)} and {found.told(frames[wide + 1].path)} are "
            f"{steps[wide]:.6g} mm where slices are {usual:.6g} mm apart; put the missing slices back."
        )
    mean = (heights[-1] - heights[0]) / len(steps)
    off = np.abs(heights - heights[0] - mean * np.arange(len(heights)))
    if off.max() > TOLERANCE * mean:
        raise InputError(
            f"{said}: slices are from {steps.min():.6g} to {steps.max():.6g} mm apart; resample them to one distance."
        )


def _check_upright(corners: Array, normal: Array, frames: Sequence[Frame], found: Found) -> None:
    """Raises InputError where slices are shifted within their own plane."""
    aside = corners - corners[0] - np.outer((corners - corners[0]) @ normal, normal)
    shift = float(np.linalg.norm(aside, axis=1).max())
    if shift > TOLERANCE * min(frames[0].spacing_mm):
        raise InputError(
            f"{found.told(frames[0].path.parent)}: the slices are shifted by {shift:.6g} mm in all against each other, "
            "as a tilted gantry leaves them; resample the series to an upright one."
        )


def geometry_of(series: Series) -> Geometry:
    """Of a series in order: (D, H, W)."""
    corners, normal = placed_at(series.frames)
    first = series.frames[0]
    count = len(series.frames)
    step = float((corners[-1] - corners[0]) @ normal) / (count - 1) if count > 1 else first.thickness_mm
    direction = np.stack([first.axes[:3], first.axes[3:], normal], axis=1)
    return Geometry(
        spacing_mm=(step, *first.spacing_mm),
        origin=tuple(float(value) for value in corners[0]),
        direction=tuple(float(value) for value in direction.ravel()),
    )


def read_scan(series: Series, found: Found) -> Picture:
    """The values of a series in order, (D, H, W), rescaled as its headers say (CT: HU): int16 where they are whole
    numbers that fit, else int32 or float32.

    Raises InputError where a file is damaged, or compressed in a way that nobody here can undo.
    """
    held: dict[Path, list[Frame]] = {}
    for frame in series.frames:
        held.setdefault(frame.path, []).append(frame)
    slices = {
        (path, frame.frame): values
        for path, frames in held.items()
        for frame, values in zip(frames, _values(path, frames, found), strict=True)
    }
    array = np.stack([slices[frame.path, frame.frame] for frame in series.frames])
    return Picture(array.astype(np.float32) if array.dtype.kind == "f" else array, geometry_of(series))


def _values(path: Path, frames: Sequence[Frame], found: Found) -> list[Array]:
    """(H, W) of each of the frames of one file."""
    syntax: Any = None
    try:
        with quiet():
            header = pydicom().dcmread(path, force=True)
            syntax = header.file_meta.get("TransferSyntaxUID")
            if GROUPS[1] in header:
                image: Any = library("highdicom").Image.from_dataset(header, copy=False)
                how = {"apply_real_world_transform": False, "apply_presentation_lut": False}
                read = [image.get_frame(frame.frame + 1, **how) for frame in frames]
            else:
                read = [_rescaled(header, path)]
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged file may raise anything
        raise found.refusal(path, error, syntax) from None
    return [_narrow(np.asarray(values)) for values in read]


def _rescaled(header: Any, path: Path) -> Array:
    """(H, W). What pydicom cannot decompress, GDCM within SimpleITK mostly can; it rescales by itself."""
    try:
        array: Array = library("pydicom.pixels").apply_modality_lut(header.pixel_array, header)
    except (RuntimeError, AttributeError):
        if not compressed(header.file_meta.TransferSyntaxUID):
            raise
        sitk = simple_itk()
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return array.reshape(array.shape[-2:])


def _narrow(values: Array) -> Array:
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        return values.astype(np.float32)
    return values.astype(np.int16 if low >= -(2**15) and high < 2**15 else np.int32)


def store_scan(series: Series, found: Found, path: Path) -> Picture:
    """Read a series, check and write it; it is returned, with its frames' geometry."""
    scan = read_scan(series, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, scan.array, scan.geometry)
    return scan


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
