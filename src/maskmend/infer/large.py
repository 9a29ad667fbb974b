"""Probabilities that memory may not hold: they are summed up, averaged and written in files, part by part."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.backed import Room, planes
from ..data.formats import Array, Picture, replacing
from ..data.memory import floats
from ..data.plan import Plan
from ..data.preprocess import resample, stacked, unstacked
from ..errors import InputError
from ..progress import track

Model = Callable[[Tensor], Tensor]
Place = tuple[Any, ...]
LARGE = 2**26
"""Probabilities of the largest answer that is kept in memory."""


def is_large(classes: int, shape: Sequence[int]) -> bool:
    """Whether the answer (K, *S) goes into files."""
    return floats(classes, shape) > floats(LARGE)


def predict_large(
    model: Model,
    image: Tensor,
    window: Sequence[int],
    overlap: float,
    views: Sequence[tuple[int, ...]],
    room: Room,
) -> Array:
    """(1, C, *S) image -> (K, *S) probabilities in a file of ``room``, the mean over mirrored ``views``.

    ``model`` takes (1, C, *window) and gives probabilities; they are averaged with the weights, and at the places, of
    MONAI's ``sliding_window_inference``.
    """
    total: Array | None = None
    for axes in views:
        answer = _view(model, image.flip(axes) if axes else image, window, overlap, room)
        if total is None:
            total = room.zeros(answer.shape) if len(views) > 1 else answer
        for k, values in enumerate(answer if len(views) > 1 else ()):
            total[k] += np.flip(values, tuple(axis - 2 for axis in axes)) / len(views)
            room.visit(2 * values.nbytes)
    assert total is not None
    return total


def _view(model: Callable[[Tensor], Tensor], image: Tensor, window: Sequence[int], overlap: float, room: Room) -> Array:
    """The answer to one view, (K, *S)."""
    short = [max(0, k - n) for n, k in zip(image.shape[2:], window, strict=True)]
    image = F.pad(image, [pad for n in reversed(short) for pad in (n // 2, n - n // 2)]) if any(short) else image
    places, weight = _places(image.shape[2:], window, overlap)
    summed: Array | None = None
    counted = room.zeros(image.shape[2:])
    for place in track(places, "predicting windows"):
        prob = model(image[place])[0].cpu()
        if not prob.isfinite().all():
            raise InputError("the model's answer is no numbers (NaN); lower optim.lr, or set predict.precision=fp32.")
        summed = room.zeros((len(prob), *image.shape[2:])) if summed is None else summed
        summed[place[1:]] += (prob * weight).numpy()
        counted[place[2:]] += weight.numpy()
        room.visit((len(prob) + 1) * floats(window))
    assert summed is not None
    for values in summed:
        for part in planes(values.shape):
            values[part] /= counted[part]
            room.visit(2 * values[part].nbytes)
    inside = tuple(slice(n // 2, n // 2 + size - n) for n, size in zip(short, image.shape[2:], strict=True))
    return summed[(slice(None), *inside)]


def _places(shape: Sequence[int], window: Sequence[int], overlap: float) -> tuple[list[Place], Tensor]:
    """MONAI's windows of an image (1, C, *S), and the weight of each voxel of one."""
    from monai.data.utils import compute_importance_map, dense_patch_slices

    steps = [n if n == k else max(1, int(k * (1 - overlap))) for n, k in zip(shape, window, strict=True)]
    weight = compute_importance_map(tuple(window), mode="gaussian", sigma_scale=0.125, device="cpu")
    weight = weight.clamp_min(max(float(weight.min()), 1e-3))
    return [(slice(None), slice(None), *place) for place in dense_patch_slices(shape, window, steps)], weight


def restored(probabilities: Array, original: Picture, plan: Plan, room: Room) -> Array:
    """``restore`` in a file of ``room``."""
    shape = stacked(original, plan).shape
    if probabilities.shape[1:] == shape:
        return unstacked(probabilities, original, plan)
    out = room.zeros((len(probabilities), *shape))
    for into, values in zip(out, probabilities, strict=True):
        into[...] = resample(torch.from_numpy(np.ascontiguousarray(values))[None], shape, plan.dims)[0].numpy()
        room.visit(into.nbytes + values.nbytes)
    return unstacked(out, original, plan)


def labels(probabilities: Array, room: Room) -> Array:
    """The most probable class of each voxel, the first of equals: (K, *S) -> (*S) int16."""
    out = np.zeros(probabilities.shape[1:], np.int16)
    for part in planes(out.shape):
        best = np.full(out[part].shape, -1.0, np.float32)
        for k, values in enumerate(probabilities):
            stronger = values[part] > best
            out[part][stronger] = k
            best = np.where(stronger, values[part], best)
            room.visit(best.nbytes)
    return out


def write_probabilities(path: Path, probabilities: Array, room: Room | None = None) -> None:
    """NAME.npz with (K, *S) float16 "probabilities", as ``numpy.savez_compressed`` writes it."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("probabilities.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": probabilities.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for values in _halves(probabilities):
                file.write(values.data)
                if room is not None:
                    room.visit(2 * values.nbytes)


def _halves(probabilities: Array) -> Iterator[Array]:
    """Part by part in float16."""
    for values in probabilities:
        for part in planes(values.shape):
            yield np.ascontiguousarray(values[part], "<f2")
