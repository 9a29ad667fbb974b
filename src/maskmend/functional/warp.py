"""Smooth warps of images in 2D and 3D: flip, turn, zoom, bend. Draw them, then look through their grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Warp:
    """One warp for each of B images with D axes.

    flip (B, D) bool; turn_deg (B,) in the plane of the last two axes, as ``rot90`` turns; zoom (B,), above 1 enlarges;
    bend (B, D, 3, ...): how far to look aside along each axis, in sides of the image, at its corners, edges and middle
    (3 places an axis).
    """

    flip: Tensor
    turn_deg: Tensor
    zoom: Tensor
    bend: Tensor


@dataclass(frozen=True)
class Strength:
    """How far a warp may go: chance of a flip along each axis, largest turn, largest zoom, largest sd of the bend."""

    flip: float = 0.5
    turn_deg: float = 0.0
    zoom: float = 1.0
    bend: float = 0.0


def draw_warp(count: int, dims: int, strength: Strength, device: torch.device | str = "cpu") -> Warp:
    """Warps of ``count`` images: turns uniform up to the largest, zooms from 1 on; bends normal, their sd uniform."""
    flip, uniform = torch.rand(count, dims, device=device), torch.rand(3, count, device=device)
    sd = strength.bend * uniform[2].view(-1, 1, *[1] * dims)
    return Warp(
        flip=flip < strength.flip,
        turn_deg=strength.turn_deg * uniform[0],
        zoom=1 + (strength.zoom - 1) * uniform[1],
        bend=sd * torch.randn(count, dims, *[3] * dims, device=device),
    )


def sampling_grid(warp: Warp, shape: Sequence[int]) -> Tensor:
    """Where each pixel of the result looks in the source, (B, *S, D), as ``grid_sample`` takes it: -1 to 1, last axis
    first. It is bent, then turned and zoomed about the middle, then flipped."""
    device = warp.zoom.device
    axes = [(2 * torch.arange(n, device=device) + 1) / n - 1 for n in shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) + _bent(warp.bend, axes)
    looked = torch.einsum("bij,b...j->b...i", _matrix(warp, shape), place)
    return looked.flip(-1)


def apply(x: Tensor, grid: Tensor) -> Tensor:
    """``x`` (B, C, *S) seen through the grid, float32: linear between pixels, beyond the edge the edge's value."""
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def inside(valid: Tensor, grid: Tensor) -> Tensor:
    """Where the grid looks at a pixel of the source for which ``valid`` (B, *S) holds, (B, *S) bool."""
    seen = F.grid_sample(valid.unsqueeze(1).float(), grid, mode="nearest", align_corners=False)
    return seen.squeeze(1) > 0.5


def _bent(bend: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """The bend at every pixel, (B, *S, D): along each axis the parabola through three places, -1, 0 and 1."""
    for axis, t in enumerate(axes):
        parabolas = torch.stack((t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2), -1)
        bend = (bend.movedim(2 + axis, -1) @ parabolas.T).movedim(-1, 2 + axis)
    return 2 * bend.movedim(1, -1)  # a side is from -1 to 1


def _matrix(warp: Warp, shape: Sequence[int]) -> Tensor:
    """From places in the result to places in the source, both in half sides, (B, D, D)."""
    dims, (height, width) = len(shape), shape[-2:]
    angle = torch.deg2rad(warp.turn_deg)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, -2, -2] = matrix[:, -1, -1] = cos
    matrix[:, -2, -1], matrix[:, -1, -2] = sin * (width / height), -sin * (height / width)
    sign = torch.where(warp.flip, -1.0, 1.0)
    return matrix * (sign / warp.zoom.unsqueeze(1)).unsqueeze(2)
