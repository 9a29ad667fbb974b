"""Invertible views of images: zoomed in, zoomed out, flipped (MLB-Seg Sec. 3.2). Draw them, then apply and invert.

A centred zoom with flips works on each axis by itself, so a view is one small matrix an axis, and all views of all
images are one batched product: flips are exact, interpolation is linear, gradients do not depend on the order of
additions. Rows come view by view: all originals first, then the first view of every image, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..types import IGNORE
from .losses import masked_mean, most_likely, one_hot
from .teacher import perturbed

Kind = Literal["in", "out", "flip"]
ZOOM = (8 / 144, 60 / 144)
"""How much a zoom changes the side, least and most: 2 × 4 to 2 × 30 pixels of 144, as MLB-Seg's released code."""


@dataclass(frozen=True)
class Views:
    """V views of each of B images: ``zoom`` (V, B), above 1 enlarges; ``flip`` (V, B, D) bool, the axes reversed."""

    zoom: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.zoom)

    def pick(self, which: Tensor) -> Views:
        """The views numbered ``which`` (W,)."""
        return Views(self.zoom[which], self.flip[which])

    def group(self, rows: Tensor) -> Tensor:
        """Rows (V B, ...) -> (V, B, ...)."""
        grouped: Tensor = rows.unflatten(0, self.zoom.shape)
        return grouped


def draw_views(kinds: Sequence[Kind], count: int, dims: int, device: torch.device | str = "cpu") -> Views:
    """The original and one view of each of ``kinds`` for ``count`` images with ``dims`` axes: V = 1 + len(kinds).

    "in" and "out" change the side by a share uniform in ``ZOOM``, all axes alike; "flip" reverses any axes but none.
    """
    shape = (1 + len(kinds), count)
    sign = torch.tensor([0, *({"in": 1, "out": -1, "flip": 0}[kind] for kind in kinds)], device=device)
    turned = torch.tensor([False, *(kind == "flip" for kind in kinds)], device=device)
    amount = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * torch.rand(shape, device=device)
    axes = torch.randint(1, 2**dims, shape, device=device).unsqueeze(2) >> torch.arange(dims, device=device)
    return Views(1 + sign.unsqueeze(1) * amount, (axes % 2 == 1) & turned.view(-1, 1, 1))


@dataclass(frozen=True)
class Variants:
    """V views of B images, (V B, C, *S), and the same with noise on them; the views, and the labels (B, *S)."""

    image: Tensor
    noisy: Tensor
    views: Views
    label: Tensor


def look(image: Tensor, label: Tensor, kinds: Sequence[Kind], noise: float) -> Variants:
    """The original and one view of each of ``kinds``, drawn for each image (B, C, *S). MLB-Seg Eqs. 10 and 12."""
    views = draw_views(kinds, len(image), image.ndim - 2, image.device)
    seen = apply(image.repeat(len(views), *[1] * (image.ndim - 1)), views)
    if image.ndim == 4 and image.is_contiguous(memory_format=torch.channels_last):
        seen = seen.contiguous(memory_format=torch.channels_last)
    return Variants(seen, perturbed(seen, noise), views, label)


def apply(x: Tensor, views: Views, outside: int = IGNORE) -> Tensor:
    """Rows (V B, C, *S) seen through their views. What lies outside the image is 0.

    Where ``x`` holds class probabilities and ``outside`` is a class, it is that class instead.
    """
    zoom = views.zoom.flatten()
    return _fill(_resample(x, zoom, views.flip.flatten(0, 1), torch.ones_like(zoom)), outside)


def invert(x: Tensor, views: Views, outside: int = IGNORE) -> Tensor:
    """Rows (V B, C, *S) in the frames of their views, put back into the frame of the image; ``outside`` as above."""
    zoom = views.zoom.flatten()
    return _fill(_resample(x, 1 / zoom, views.flip.flatten(0, 1), zoom), outside)


def classes_in(prob: Tensor, views: Views, outside: int = IGNORE) -> Tensor:
    """The class that is most likely in each view, (V B, *S): probabilities (B, K, *S); ``outside`` beyond the image."""
    prob = prob.repeat(len(views), *[1] * (prob.ndim - 1))
    inside = apply(torch.ones_like(prob[:, :1]), views).squeeze(1) > 0
    return torch.where(inside, most_likely(apply(prob, views)), outside)


def label_in(label: Tensor, views: Views, classes: int, outside: int = IGNORE) -> Tensor:
    """Labels (B, *S) in each view, (V B, *S): each class interpolated, the largest taken; ``IGNORE`` is one of them."""
    return classes_in(one_hot(label + 1, classes + 1), views, outside + 1) - 1


def ensemble(prob: Tensor, views: Views, outside: int = IGNORE) -> Tensor:
    """Mean over views of the probabilities (V B, K, *S), in the frame of the image, (B, K, *S). MLB-Seg Eq. 10.

    A view that zooms in has nothing to say about the margin: it is not counted there, or, where ``outside`` is a class,
    votes for it, as in the released code.
    """
    aligned, seen = _align(prob, views, outside)
    return aligned.sum(0) / seen.sum(0)


def disagreement(prob: Tensor, views: Views, outside: int = IGNORE, one_way: bool = False) -> Tensor:
    """Mean squared difference of each two views, in the frame of the earlier one. MLB-Seg Eq. 11.

    prob (V B, K, *S). Over the pixels that both see, or over all, those unseen being of the class ``outside``. With
    ``one_way`` only the earlier view learns, as in the released code.
    """
    first, second = torch.triu_indices(len(views), len(views), 1, device=prob.device)
    aligned, seen = _align(prob.detach() if one_way else prob, views, outside)
    frames = views.pick(first)
    target = apply(aligned[second].flatten(0, 1), frames, outside)
    both = apply(seen[second].flatten(0, 1), frames).squeeze(1) if outside == IGNORE else torch.ones_like(target[:, 0])
    here = views.group(prob.to(target))[first].flatten(0, 1)
    return masked_mean((here - target).square().mean(1), both)


def _align(prob: Tensor, views: Views, outside: int) -> tuple[Tensor, Tensor]:
    """Probabilities (V, B, K, *S) in the frame of the image, and how far each view sees each pixel, (V, B, 1, *S)."""
    ones = torch.ones_like(prob[:, :1])
    seen = invert(ones, views) if outside == IGNORE else ones
    return views.group(invert(prob, views, outside)), views.group(seen)


def _fill(prob: Tensor, outside: int) -> Tensor:
    """Give what is missing of probability 1 to the class ``outside``."""
    if outside == IGNORE:
        return prob
    missing = 1 - prob.sum(1, keepdim=True)
    return torch.cat((prob[:, :outside], prob[:, outside : outside + 1] + missing, prob[:, outside + 1 :]), 1)


def _resample(x: Tensor, zoom: Tensor, flip: Tensor, content: Tensor) -> Tensor:
    """Enlarge ``x`` (N, C, *S) about its centre by ``zoom`` (N,), then flip (N, D)."""
    x = x if x.dtype == torch.float64 else x.float()
    with torch.autocast(x.device.type, enabled=False):
        for axis, size in enumerate(x.shape[2:]):
            matrix = _matrix(size, zoom.to(x), flip[:, axis], content.to(x))
            x = torch.einsum("noi,n...i->n...o", matrix, x.movedim(2 + axis, -1)).movedim(-1, 2 + axis)
    return x


def _matrix(size: int, zoom: Tensor, flip: Tensor, content: Tensor) -> Tensor:
    """Linear interpolation along one axis, (N, size, size): rows are pixels of the result, columns of the source.

    The source fills the middle share ``content`` (N,) of the axis. Beyond its edge there is nothing; within, nothing is
    mixed with what lies beyond, as if it were cut out first. A source that fills more than the axis fades at its end.
    """
    pixels = torch.arange(size, device=zoom.device, dtype=zoom.dtype) - (size - 1) / 2  # from the centre
    place = pixels * torch.where(flip, -1, 1).unsqueeze(1) / zoom.unsqueeze(1)
    edge = content.unsqueeze(1) * size / 2
    last = (edge + (size - 1) / 2).ceil() - (size + 1) / 2  # the outermost pixel within
    held = torch.maximum(torch.minimum(place, last), -last).unsqueeze(2)
    return (1 - (held - pixels).abs()).clamp_min(0) * (place.abs() < edge).unsqueeze(2)
