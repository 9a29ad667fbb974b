"""From a medical image to what the model takes, and from the model's answer back to the image's own grid.

`maskmend export` copies this file into a bundle, where it needs torch and MONAI alone. All numbers of it are in
``configs/inference.json``. MONAI loads an image as (C, X, Y, Z); the model takes (C, Z, Y, X), pictures (C, Y, X).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.data.meta_tensor import MetaTensor
from torch import Tensor


class ToModel:
    """The loaded "image" of a case, resampled and normalised as in training.

    Args:
        dims: axes of the model, 2 or 3. A volume of one slice is a picture.
        spacing_mm: what images are resampled to, in the order of the model's axes. None: they stay as they are.
        size: what images are resized to instead, in pixels, in the same order.
        channels: how each channel is normalised: {"scheme": "zscore" (by its own mean and standard deviation), "ct"
            (clipped to low .. high, then by ``mean`` and ``sd``), "rgb_to_0_1" (divided by 255), or "none"}.
    """

    def __init__(
        self,
        dims: int,
        channels: Sequence[Mapping[str, Any]],
        spacing_mm: Sequence[float] | None = None,
        size: Sequence[int] | None = None,
    ) -> None:
        self.dims, self.channels, self.spacing_mm, self.size = dims, channels, spacing_mm, size

    def __call__(self, case: Mapping[str, Any]) -> dict[str, Any]:
        loaded: MetaTensor = case["image"]
        if len(loaded) != len(self.channels):
            raise ValueError(
                f"{len(loaded)} channels in {loaded.meta.get('filename_or_obj')}, not {len(self.channels)}"
            )
        spacing = [float(step) for step in loaded.pixdim][::-1]
        array = loaded.as_tensor().permute(0, *range(loaded.ndim - 1, 0, -1)).float()
        shape = tuple(array.shape[1:])
        if len(shape) == 3 and 1 in shape:
            spacing.pop(shape.index(1))
            array = array.squeeze(1 + shape.index(1))
        if array.ndim - 1 != self.dims:
            raise ValueError(f"{array.ndim - 1} axes in {loaded.meta.get('filename_or_obj')}, not {self.dims}")
        array = resample(array, self.grid(array.shape[1:], spacing)).contiguous()
        image = torch.stack([normalise(x, **rule) for x, rule in zip(array, self.channels, strict=True)])
        return {**case, "image": image, "shape": shape, "meta": loaded.meta}

    def grid(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """The shape that an image of this shape and spacing is brought to."""
        if self.size is not None:
            return tuple(self.size)
        if self.spacing_mm is None or all(
            abs(a - b) <= 1e-3 * b for a, b in zip(spacing_mm, self.spacing_mm, strict=True)
        ):
            return tuple(shape)
        steps = zip(shape, spacing_mm, self.spacing_mm, strict=True)
        return tuple(max(1, round(n * a / b)) for n, a, b in steps)


class FromModel:
    """The probabilities "pred" (K, *S) of a case as a label map (1, X, Y, Z) on the grid of its image."""

    def __call__(self, case: Mapping[str, Any]) -> dict[str, Any]:
        prob, shape = case["pred"].float().cpu(), case["shape"]
        one = shape.index(1) if prob.ndim - 1 < len(shape) else len(shape)
        label = resample(prob, shape[:one] + shape[one + 1 :]).argmax(0).reshape(shape)
        meta = dict(case["meta"])
        meta["filename_or_obj"] = re.sub(r"_0000(?=\.)", "", str(meta["filename_or_obj"]))
        kind = torch.uint8 if len(prob) <= 256 else torch.int16
        return {**case, "pred": MetaTensor(label.permute(*range(label.ndim - 1, -1, -1))[None].to(kind), meta=meta)}


def resample(values: Tensor, shape: Sequence[int]) -> Tensor:
    """(C, *S) -> (C, *shape): linear, in 2D averaged over the area of each new pixel where it shrinks."""
    if tuple(values.shape[1:]) == tuple(shape):
        return values
    two = len(shape) == 2
    mode = "bilinear" if two else "trilinear"
    return F.interpolate(values[None], size=tuple(shape), mode=mode, align_corners=False, antialias=two)[0]


def normalise(
    channel: Tensor, scheme: str, low: float = 0.0, high: float = 0.0, mean: float = 0.0, sd: float = 1.0
) -> Tensor:
    """One channel (*S)."""
    if scheme == "ct":
        return (channel.clamp(low, high) - mean) / sd
    if scheme == "zscore":
        channel = channel - channel.double().mean().float()
        return channel / max(float(channel.double().std(correction=0)), 1e-8)
    return channel / 255 if scheme == "rgb_to_0_1" else channel
