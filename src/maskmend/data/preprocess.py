"""From a picture as it lies on disk to the array a network sees, and from its answer back to the picture's grid.

Only the grid and the intensities change here, as a ``Plan`` says: cropping to a patch is the training set's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..types import IGNORE
from .formats import Picture
from .normalisation import Normalisation
from .plan import MULTIPLE, DataConfig, Plan, check_channels, make_plan
from .slices import slice_axis

__all__ = [
    "MULTIPLE",
    "DataConfig",
    "Plan",
    "make_plan",
    "preprocess_image",
    "preprocess_label",
    "resample",
    "restore",
    "stacked",
    "unstacked",
]


def preprocess_image(image: Picture, plan: Plan, source: str = "the image", more: int = 0) -> np.ndarray:
    """(C, *S) picture -> (C, *S') float32 on the plan's grid, normalised. ``source`` names it in an error.

    ``more``: arrays (*S') float32 that memory must hold besides.

    Raises:
        InputError: another number of channels or axes than the plan's, a value that is not finite, or a grid that does
            not fit into memory.
    """
    check_channels(image, plan.channels, source)
    if image.array.ndim - 1 != plan.axes:
        raise InputError(
            f"{source} has {image.array.ndim - 1} axes, the model was made for {plan.axes}; give {plan.axes}D images."
        )
    image = stacked(image, plan)
    plan.check_grid(image.array.shape[1:], image.geometry.spacing_mm, plan.channels + more, source)
    array = image.array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{source} holds NaN or infinite values; replace them, e.g. by the image's minimum.")
    grid = plan.grid(array.shape[1:], image.geometry.spacing_mm)
    out: np.ndarray = resample(torch.from_numpy(array), grid, plan.dims).numpy()
    for channel, rule in zip(out, plan.normalisation, strict=True):
        _normalise(channel, rule)
    return out


def _normalise(channel: np.ndarray, rule: Normalisation) -> None:
    """One channel (*S), in place."""
    if rule.scheme == "ct":
        np.clip(channel, rule.low, rule.high, out=channel)
        channel -= rule.mean
        channel /= rule.sd
    elif rule.scheme == "zscore":
        channel -= channel.mean(dtype=np.float64)
        channel /= max(float(channel.std(dtype=np.float64)), 1e-8)
    elif rule.scheme == "rgb_to_0_1":
        channel /= 255


def preprocess_label(label: Picture, plan: Plan) -> np.ndarray:
    """(*S) label -> (*S') int8 (int16 from 128 classes on) on the plan's grid.

    Each class is resampled by itself and the strongest wins, so that edges stay smooth and no new class comes up;
    ``IGNORE`` counts as a class.
    """
    dtype = np.int8 if plan.classes <= np.iinfo(np.int8).max else np.int16
    label = stacked(label, plan)
    array = label.array.astype(dtype)
    grid = plan.grid(array.shape, label.geometry.spacing_mm)
    if grid == array.shape:
        return array
    best = torch.full(grid, 0.0)
    out = np.zeros(grid, dtype)
    for value in sorted(np.unique(array).tolist(), key=lambda value: (value == IGNORE, value)):
        share = resample(torch.from_numpy(array == value).float()[None], grid, plan.dims)[0]
        stronger = share > best
        out[stronger.numpy()] = value
        best = torch.where(stronger, share, best)
    return out


def restore(probabilities: np.ndarray, original: Picture, plan: Plan) -> np.ndarray:
    """(K, *S') on the plan's grid -> (K, *S) float32 on the grid of ``original``, an image (C, *S)."""
    shape = stacked(original, plan).shape
    if probabilities.shape[1:] == shape:
        return unstacked(probabilities.astype(np.float32, copy=False), original, plan)
    out = np.empty((len(probabilities), *shape), np.float32)
    for into, values in zip(out, probabilities, strict=True):
        given = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        into[...] = resample(given[None], shape, plan.dims)[0].numpy()
    return unstacked(out, original, plan)


def stacked(picture: Picture, plan: Plan) -> Picture:
    """A picture (..., *S) with the axis from slice to slice as the first of *S; without slices, as it is."""
    axis, steps = slice_axis(plan.slices, picture.geometry.patient_axes), [*picture.geometry.spacing_mm]
    steps.insert(0, steps.pop(axis))
    array = np.moveaxis(picture.array, axis - len(steps), -len(steps))
    return Picture(array, replace(picture.geometry, spacing_mm=tuple(steps)))


def unstacked(array: np.ndarray, original: Picture, plan: Plan) -> np.ndarray:
    """(..., *S) with the axes of ``stacked`` -> with those of ``original``."""
    dims = len(original.geometry.spacing_mm)
    return np.moveaxis(array, -dims, slice_axis(plan.slices, original.geometry.patient_axes) - dims)


def resample(values: Tensor, shape: Sequence[int], dims: int | None = None) -> Tensor:
    """(C, *S) float -> (C, *shape): linear, in 2D averaged over the area of each new pixel where it shrinks.

    dims: 2 where *S are slices, each an image of its own.
    """
    if tuple(values.shape[1:]) == tuple(shape):
        return values
    if len(shape) > (dims or len(shape)):
        return F.interpolate(values, size=tuple(shape[1:]), mode="bilinear", align_corners=False, antialias=True)
    two = len(shape) == 2
    mode = "bilinear" if two else "trilinear"
    return F.interpolate(values[None], size=tuple(shape), mode=mode, align_corners=False, antialias=two)[0]
