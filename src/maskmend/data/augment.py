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

from ..types import IGNORE, Batch, Config

LENGTHS = ("distance", "rings")
"""Maps that hold lengths in pixels: a zoom changes their values too."""
SEGMENTS = ("superpixel",)
"""Maps that hold ids: beyond the image's edge the id at the edge goes on, so that every id is one of the image's."""


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the range {limits} runs backwards; give (lowest, highest)")
    return limits


Share = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], float], AfterValidator(_ordered)]
Amount = Annotated[tuple[Annotated[float, Field(ge=0)], float], AfterValidator(_ordered)]


class AugmentConfig(Config):
    """What may happen to an image, and how often. The defaults are GSD-Net's: flips and quarter turns, nothing else."""

    flip: Share = 0.5
    """Chance of a mirror image, for each axis by itself."""
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
    gamma: Share = 0.0
    gamma_power: Positive = (0.7, 1.5)
    """Exponent on intensities scaled to 0..1 by each channel's own range."""
    noise: Share = 0.0
    noise_sd: Amount = (0.0, 0.1)
    """Standard deviation of Gaussian noise, in units of the normalised image."""


@dataclass(frozen=True)
class Draw:
    """What happens to each image of a batch: (B,) each, ``flip`` (B, dims).

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


def _bits(seeds: Sequence[int], count: int) -> np.ndarray:
    """(B, count) random 64-bit words, row b from ``seeds[b]`` alone (SplitMix64; Steele, Lea & Flood 2014)."""
    start = np.array([seed & (2**64 - 1) for seed in seeds], np.uint64).reshape(-1, 1)
    word = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    mixed: np.ndarray = word ^ (word >> np.uint64(31))
    return mixed


def draw(config: AugmentConfig, dims: int, seeds: Sequence[int]) -> Draw:
    """Numbers for ``len(seeds)`` images of ``dims`` spatial axes; row b depends on ``seeds[b]`` and ``config`` only.

    An image's k-th number is always its k-th, whatever is switched on: switching one change on does not alter another.
    """
    bits = _bits(seeds, 19)
    uniform = torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def within(column: int, limits: tuple[float, float], share: float, off: float) -> Tensor:
        value = limits[0] + (limits[1] - limits[0]) * uniform[:, column]
        return torch.where(uniform[:, column + 1] < share, value, off).float()

    rotate90 = config.rotate90 if config.rotate90 is not None else (0.5 if dims == 2 else 0.0)
    affine = uniform[:, 7] < config.affine
    return Draw(
        flip=uniform[:, :dims] < config.flip,
        quarters=torch.where(uniform[:, 3] < rotate90, (4 * uniform[:, 4]).long(), 0),
        angle_deg=torch.where(affine, (2 * uniform[:, 5] - 1) * config.rotate_deg, 0.0).float(),
        zoom=torch.where(affine, config.scale[0] + (config.scale[1] - config.scale[0]) * uniform[:, 6], 1.0).float(),
        blur_sigma=within(8, config.blur_sigma, config.blur, 0.0),
        brightness=within(10, config.brightness_gain, config.brightness, 1.0),
        contrast=within(12, config.contrast_gain, config.contrast, 1.0),
        gamma=within(14, config.gamma_power, config.gamma, 1.0),
        noise_sd=within(16, config.noise_sd, config.noise, 0.0),
        noise_seed=torch.from_numpy((bits[:, 18] >> np.uint64(1)).astype(np.int64)),
    )


def apply(batch: Batch, draw: Draw) -> Batch:
    """``batch`` changed as drawn: mirrored, turned and zoomed with its label and maps, then its image's intensities.

    The given batch is left as it is. What a turn or zoom brings in from outside is the channel's minimum in the image,
    ``IGNORE`` in the label and in integer maps, and the edge's value in float maps and in ids (``SEGMENTS``). Maps of
    lengths (``LENGTHS``) are multiplied by the zoom.
    """
    batch = _mirror(batch, draw)
    turned = (draw.angle_deg != 0) | (draw.zoom != 1)
    if turned.any():
        batch = _turn(batch, draw, turned.nonzero().flatten())
    return replace(batch, image=_intensity(batch.image, draw))


def _parts(rows: Tensor, device: torch.device) -> list[slice] | list[Tensor]:
    """``rows`` (M,) as indices of what to work on at once: on a CPU one row (it stays in the cache), on a GPU all."""
    if device.type == "cpu":
        return [slice(row, row + 1) for row in rows.tolist()]
    return [rows.to(device)] if len(rows) else []


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
    moves = [(move, part) for move in rows for part in _parts(rows[move], batch.label.device)]

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
    """Blur, brightness, contrast, gamma, noise, in this order, each on the rows it was drawn for; (B, C, *S)."""
    changes: tuple[tuple[Tensor, float, Callable[[Tensor, Tensor], Tensor]], ...] = (
        (draw.blur_sigma, 0.0, blur),
        (draw.brightness, 1.0, brighten),
        (draw.contrast, 1.0, stretch),
        (draw.gamma, 1.0, bend),
    )
    image = image.clone()
    for amount, off, change in changes:
        for rows in _parts((amount != off).nonzero().flatten(), image.device):
            image[rows] = change(image[rows], amount.to(image.device)[rows])
    generator = torch.Generator(image.device)
    for row in draw.noise_sd.nonzero().flatten().tolist():
        generator.manual_seed(int(draw.noise_seed[row]))
        noise = torch.randn(image.shape[1:], generator=generator, device=image.device, dtype=image.dtype)
        image[row].add_(noise, alpha=float(draw.noise_sd[row]))
    return image


def _per_row(amount: Tensor, image: Tensor) -> Tensor:
    return amount.to(image).view(-1, *[1] * (image.ndim - 1))


def blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each image (B, C, *S) with its own ``sigma`` (B,) in pixels, cut at 3 sigma; edges go on.

    For kernels this short, adding shifted copies axis by axis is twice as fast on a CPU as a grouped convolution.
    """
    reach = torch.ceil(3 * sigma)
    radius = int(reach.max())
    offset = torch.arange(radius + 1, device=sigma.device)
    kernel = torch.exp(-(offset**2) / (2 * sigma[:, None] ** 2)) * (offset <= reach[:, None])
    kernel = kernel / (2 * kernel.sum(1, keepdim=True) - 1)
    for axis in range(2, image.ndim):
        length = image.shape[axis]
        pad = [0] * (2 * (image.ndim - 2))
        pad[2 * (image.ndim - 1 - axis) : 2 * (image.ndim - axis)] = [radius, radius]
        wide = F.pad(image, pad, mode="replicate")
        out = image * _per_row(kernel[:, 0], image)
        for step in range(1, radius + 1):
            pair = wide.narrow(axis, radius - step, length) + wide.narrow(axis, radius + step, length)
            out.addcmul_(pair, _per_row(kernel[:, step], image))
        image = out
    return image


def brighten(image: Tensor, gain: Tensor) -> Tensor:
    """Each channel's height above its minimum times ``gain`` (B,); image (B, C, *S)."""
    return torch.lerp(image.amin(tuple(range(2, image.ndim)), keepdim=True), image, _per_row(gain, image))


def stretch(image: Tensor, gain: Tensor) -> Tensor:
    """Each channel's distance from its mean times ``gain`` (B,), within the channel's range; image (B, C, *S)."""
    flat = image.flatten(2)
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    out = torch.lerp(flat.mean(2, keepdim=True), flat, _per_row(gain, flat))
    return out.clamp_(low, high).view_as(image)


def bend(image: Tensor, power: Tensor) -> Tensor:
    """Gamma: each channel scaled to 0..1, raised to ``power`` (B,), scaled back; image (B, C, *S)."""
    flat = image.flatten(2)
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    span = (high - low).clamp_min(torch.finfo(image.dtype).tiny)
    return ((flat - low) / span).pow_(_per_row(power, flat)).mul_(span).add_(low).view_as(image)
