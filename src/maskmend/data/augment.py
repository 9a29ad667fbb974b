"""Augmentation in two halves: ``draw`` the numbers, then ``apply`` them to an image, its label and every map alike.

Whole batches at once, in 2D and 3D, on any device. A row's numbers come from that row's seed alone, so they do not
change with the batch it sits in, the rank or the number of workers. Flips and quarter turns are exact; a free turn or
zoom samples the image linearly and labels by the nearest pixel. Intensities change in the image only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from ..errors import InputError
from ..types import IGNORE, Batch, Config
from .fusion import soft_part
from .intensity import bend, blur, brighten, coarsen, parts, stretch, unbend
from .refined import REFINED, target_part
from .sides import Sides

LENGTHS = ("distance", "rings")
"""Maps that hold lengths in pixels: a zoom changes their values too."""
SEGMENTS = ("superpixel",)
"""Maps that hold ids: beyond the image's edge the id at the edge goes on, so that every id is one of the image's."""


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the range {limits} runs backwards; give (lowest, highest)")
    return limits


def _below_one(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[1] > 1:
        raise ValueError(f"the range {limits} ends above 1; give parts of the image's resolution")
    return limits


Share = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], float], AfterValidator(_ordered)]
Amount = Annotated[tuple[Annotated[float, Field(ge=0)], float], AfterValidator(_ordered)]


class AugmentConfig(Config):
    """What may happen to an image, and how often. The defaults are GSD-Net's: flips and quarter turns, nothing else."""

    flip: Share | tuple[Share, ...] = 0.5
    """Chance of a mirror image, for each axis by itself; or one of each axis, in array order. Where classes are called
    left and right, such as "left lung" and "right lung", a mirror image from left to right exchanges them."""
    rotate90: Share | None = None
    """Chance of 0 to 3 quarter turns in the plane of the last two axes (half turns where they differ in length);
    left out: 0.5 in 2D, 0 in 3D."""
    affine: Share = 1.0
    """Share of images that ``rotate_deg`` and ``scale`` are used on."""
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Free turn in the plane of the last two axes, uniform in ±rotate_deg; 0 is off."""
    scale: Positive = (1.0, 1.0)
    """Zoom of all axes; 2 shows everything twice as large."""
    blur: Share = 0.0
    blur_sigma: Positive = (0.5, 1.0)
    """Standard deviation of the Gaussian blur, in pixels."""
    brightness: Share = 0.0
    brightness_gain: Amount = (0.75, 1.25)
    """Factor on the height above each channel's darkest value, so black stays black."""
    contrast: Share = 0.0
    contrast_gain: Amount = (0.75, 1.25)
    """Factor on the distance from each channel's mean; the channel's range is kept."""
    low_resolution: Share = 0.0
    low_resolution_zoom: Annotated[Positive, AfterValidator(_below_one)] = (0.5, 1.0)
    """The image is shrunk by this factor along all axes, to the nearest pixels, and stretched back linearly."""
    gamma_inverted: Share = 0.0
    """``gamma_power`` on the negative, which changes bright pixels where ``gamma`` changes dark ones. Each channel
    keeps its mean and deviation."""
    gamma: Share = 0.0
    gamma_power: Positive = (0.7, 1.5)
    """Exponent on intensities scaled to 0..1 by each channel's own range."""
    noise: Share = 0.0
    noise_sd: Amount = (0.0, 0.1)
    """Standard deviation of Gaussian noise, in units of the normalised image."""


@dataclass(frozen=True)
class Draw:
    """What happens to each image of a batch: (B,) each, ``flip`` (B, dims). ``order``: what each class is called where
    ``swap`` is true; none where nothing is exchanged.

    It stays on the CPU, so that choosing rows by it never waits for a GPU.
    """

    flip: Tensor
    quarters: Tensor
    angle_deg: Tensor
    zoom: Tensor
    blur_sigma: Tensor
    brightness: Tensor
    contrast: Tensor
    gamma: Tensor
    noise_sd: Tensor
    noise_seed: Tensor
    low_resolution: Tensor
    gamma_inverted: Tensor
    swap: Tensor
    order: tuple[int, ...] = ()


def _bits(seeds: Sequence[int], count: int) -> np.ndarray:
    """(B, count) random 64-bit words, row b from ``seeds[b]`` alone (SplitMix64; Steele, Lea & Flood 2014)."""
    start = np.array([seed & (2**64 - 1) for seed in seeds], np.uint64).reshape(-1, 1)
    word = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    mixed: np.ndarray = word ^ (word >> np.uint64(31))
    return mixed


def check_axes(config: AugmentConfig, dims: int) -> None:
    """Raise InputError where ``augment.flip`` is a list, but not one number of each axis."""
    if isinstance(config.flip, tuple) and len(config.flip) != dims:
        raise InputError(f"augment.flip={list(config.flip)}: the networks see {dims}D images; give {dims} numbers.")


def may_turn(config: AugmentConfig, dims: int) -> bool:
    """Whether images may be turned upside down, in the plane of the last two axes."""
    return _quarters(config, dims) > 0 or config.rotate_deg > 90


def _quarters(config: AugmentConfig, dims: int) -> float:
    return config.rotate90 if config.rotate90 is not None else (0.5 if dims == 2 else 0.0)


def draw(config: AugmentConfig, dims: int, seeds: Sequence[int], sides: Sides | None = None) -> Draw:
    """Numbers for ``len(seeds)`` images of ``dims`` spatial axes; row b depends on ``seeds[b]``, ``config`` and
    ``sides`` only.

    An image's k-th number is always its k-th, whatever is switched on: switching one change on does not alter another.
    """
    bits = _bits(seeds, 23)
    uniform = torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def within(column: int, limits: tuple[float, float], share: float, off: float) -> Tensor:
        value = limits[0] + (limits[1] - limits[0]) * uniform[:, column]
        return torch.where(uniform[:, column + 1] < share, value, off).float()

    affine = uniform[:, 7] < config.affine
    sides = sides or Sides()
    flip = uniform[:, :dims] < torch.tensor(config.flip, dtype=torch.float64)
    flip[:, sides.spared] = False
    return Draw(
        flip=flip,
        quarters=torch.where(uniform[:, 3] < _quarters(config, dims), (4 * uniform[:, 4]).long(), 0),
        angle_deg=torch.where(affine, (2 * uniform[:, 5] - 1) * config.rotate_deg, 0.0).float(),
        zoom=torch.where(affine, config.scale[0] + (config.scale[1] - config.scale[0]) * uniform[:, 6], 1.0).float(),
        blur_sigma=within(8, config.blur_sigma, config.blur, 0.0),
        brightness=within(10, config.brightness_gain, config.brightness, 1.0),
        contrast=within(12, config.contrast_gain, config.contrast, 1.0),
        gamma=within(14, config.gamma_power, config.gamma, 1.0),
        noise_sd=within(16, config.noise_sd, config.noise, 0.0),
        noise_seed=torch.from_numpy((bits[:, 18] >> np.uint64(1)).astype(np.int64)),
        low_resolution=within(19, config.low_resolution_zoom, config.low_resolution, 1.0),
        gamma_inverted=within(21, config.gamma_power, config.gamma_inverted, 1.0),
        swap=flip[:, sides.exchange].sum(1) % 2 == 1,
        order=sides.order,
    )


def apply(batch: Batch, draw: Draw) -> Batch:
    """``batch`` changed as drawn: mirrored, turned and zoomed with its label and maps, then its image's intensities.

    The given batch is left as it is. What a turn or zoom brings in from outside is the channel's minimum in the image,
    ``IGNORE`` in the label and in integer maps, and the edge's value in float maps and in ids (``SEGMENTS``). Maps of
    lengths (``LENGTHS``) are multiplied by the zoom.
    """
    batch = _swap(_mirror(batch, draw), draw)
    turned = (draw.angle_deg != 0) | (draw.zoom != 1)
    if turned.any():
        batch = _turn(batch, draw, turned.nonzero().flatten())
    return replace(batch, image=_intensity(batch.image, draw))


def _mirror(batch: Batch, draw: Draw) -> Batch:
    """Flips and quarter turns: pixels move, none changes.

    Each is some flips and then, for an odd number of quarter turns, an exchange of the last two axes.
    """
    dims = batch.label.ndim - 1
    quarters = draw.quarters
    if batch.label.shape[-2] != batch.label.shape[-1]:
        quarters = quarters - quarters % 2
    flip = draw.flip.clone()
    flip[:, -1] ^= (quarters == 1) | (quarters == 2)
    flip[:, -2] ^= (quarters == 2) | (quarters == 3)
    code = quarters % 2 + sum(flip[:, axis].long() << (1 + axis) for axis in range(dims))
    if not code.any():
        return batch
    rows = {move: (code == move).nonzero().flatten() for move in set(code.tolist())}
    moves = [(move, part) for move in rows for part in parts(rows[move], batch.label.device)]

    def moved(values: Tensor) -> Tensor:
        out = torch.empty_like(values)
        for move, rows in moves:
            part = values[rows]
            axes = [axis - dims for axis in range(dims) if move >> (1 + axis) & 1]
            part = part.flip(axes) if axes else part
            out[rows] = part.transpose(-2, -1) if move % 2 else part
        return out

    maps = {name: moved(values) for name, values in batch.maps.items()}
    return replace(batch, image=moved(batch.image), label=moved(batch.label), maps=maps)


def _swap(batch: Batch, draw: Draw) -> Batch:
    """Where left and right are exchanged, the classes of ``draw.order`` are, in labels and in shares of classes."""
    if not (draw.order and draw.swap.any()):
        return batch
    rows, order = draw.swap.to(batch.label.device), torch.tensor(draw.order, device=batch.label.device)
    rows = rows.view(-1, *[1] * (batch.label.ndim - 1))

    def classes(values: Tensor) -> Tensor:
        return torch.where(rows & (values >= 0), order[values.clamp_min(0).long()].to(values.dtype), values)

    def other(name: str, values: Tensor) -> Tensor:
        value = target_part(name) or (soft_part(name) or ("", 0))[1]
        partner = name.removesuffix(str(value)) + str(draw.order[value])
        return torch.where(rows, batch.maps[partner], values) if partner in batch.maps and value else values

    maps = {name: classes(v) if name == REFINED else other(name, v) for name, v in batch.maps.items()}
    return replace(batch, label=classes(batch.label), maps=maps)


def sampling_grid(angle_deg: Tensor, zoom: Tensor, shape: Sequence[int]) -> Tensor:
    """Where each output pixel looks in the input, (B, *S, dims) for ``grid_sample``: a turn in the plane of the last
    two axes and a zoom of all, about the image's centre. Angles and zooms are (B,); a positive angle turns the image
    from its rows' axis to its columns', as a quarter turn (``rot90``) does.

    Each coordinate is a sum of one term per axis: some six times faster than ``affine_grid``.
    """
    dims, (height, width) = len(shape), shape[-2:]
    angle = torch.deg2rad(angle_deg)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    matrix = torch.zeros(len(angle), dims, dims, device=angle.device)  # [b, input (x, y, z), output (x, y, z)]
    matrix[:, 0, 0] = matrix[:, 1, 1] = cos
    matrix[:, 0, 1], matrix[:, 1, 0] = -sin * (height / width), sin * (width / height)
    if dims == 3:
        matrix[:, 2, 2] = 1 / zoom
    grid = torch.zeros(1, device=angle.device)
    for axis, length in enumerate(shape):
        centres = (2 * torch.arange(length, device=angle.device) + 1) / length - 1
        term = matrix[:, :, dims - 1 - axis].unsqueeze(1) * centres.unsqueeze(1)
        grid = grid + term.view(-1, *[length if other == axis else 1 for other in range(dims)], dims)
    return grid


def _turn(batch: Batch, draw: Draw, rows: Tensor) -> Batch:
    """Free turns and zooms of ``rows``: one grid, shared by the image, the label and the maps."""
    device = batch.image.device
    zoom = draw.zoom[rows].to(device)
    grid = sampling_grid(draw.angle_deg[rows].to(device), zoom, batch.label.shape[1:])
    rows = rows.to(device)
    by_row = zoom.view(-1, *[1] * (batch.label.ndim - 1))

    def put(values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        return values.index_copy(0, rows, change(values[rows]))

    def image(values: Tensor) -> Tensor:
        floor = values.amin(tuple(range(2, values.ndim)), keepdim=True)
        return F.grid_sample(values - floor, grid.to(values.dtype), align_corners=False).add_(floor)

    def one(values: Tensor, mode: str, padding: str) -> Tensor:
        return F.grid_sample(values[:, None].float(), grid, mode, padding, align_corners=False)[:, 0]

    def integers(values: Tensor) -> Tensor:
        return (one(values.float() - IGNORE, "nearest", "zeros") + IGNORE).to(values.dtype)

    def other(name: str, values: Tensor) -> Tensor:
        exact = not values.is_floating_point()
        if name in LENGTHS:
            longer = one(values, "bilinear", "border") * by_row
            return (longer.round() if exact else longer).to(values.dtype)
        if exact and name not in SEGMENTS:
            return integers(values)
        return one(values, "nearest" if exact else "bilinear", "border").to(values.dtype)

    maps = {name: put(values, partial(other, name)) for name, values in batch.maps.items()}
    return replace(batch, image=put(batch.image, image), label=put(batch.label, integers), maps=maps)


def _intensity(image: Tensor, draw: Draw) -> Tensor:
    """Blur, brightness, contrast, low resolution, gamma of the negative and of the image, noise, in this order, each on
    the rows it was drawn for; (B, C, *S)."""
    changes: tuple[tuple[Tensor, float, Callable[[Tensor, Tensor], Tensor]], ...] = (
        (draw.blur_sigma, 0.0, blur),
        (draw.brightness, 1.0, brighten),
        (draw.contrast, 1.0, stretch),
        (draw.low_resolution, 1.0, coarsen),
        (draw.gamma_inverted, 1.0, unbend),
        (draw.gamma, 1.0, bend),
    )
    image = image.clone()
    for amount, off, change in changes:
        for rows in parts((amount != off).nonzero().flatten(), image.device):
            image[rows] = change(image[rows], amount.to(image.device)[rows])
    generator = torch.Generator(image.device)
    for row in draw.noise_sd.nonzero().flatten().tolist():
        generator.manual_seed(int(draw.noise_seed[row]))
        noise = torch.randn(image.shape[1:], generator=generator, device=image.device, dtype=image.dtype)
        image[row].add_(noise, alpha=float(draw.noise_sd[row]))
    return image
