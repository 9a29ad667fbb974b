"""Changes of intensity that augmentation makes: each image (C, *S) of a batch by its own number, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def parts(rows: Tensor, device: torch.device) -> list[slice] | list[Tensor]:
    """``rows`` (M,) as indices of what to work on at once: on a CPU one row (it stays in the cache), on a GPU all."""
    if device.type == "cpu":
        return [slice(row, row + 1) for row in rows.tolist()]
    return [rows.to(device)] if len(rows) else []


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


def unbend(image: Tensor, power: Tensor) -> Tensor:
    """``bend`` of the negative, which is turned back, with each channel's mean and deviation as before, as in nnU-Net;
    image (B, C, *S), ``power`` (B,)."""
    flat, bent = image.flatten(2), bend(-image, power).neg_().flatten(2)
    gain = flat.std(2, keepdim=True) / bent.std(2, keepdim=True).clamp_min(1e-7)
    return ((bent - bent.mean(2, keepdim=True)) * gain).add_(flat.mean(2, keepdim=True)).view_as(image)


def coarsen(image: Tensor, zoom: Tensor) -> Tensor:
    """Each image (B, C, *S) as if taken with ``zoom`` (B,) times as many pixels along every axis, at least one: of each
    coarse pixel the value in its middle, and linear between them.

    nnU-Net's simulation of low resolution, for factors up to 1. Axis by axis: both steps are products of axes.
    """
    for axis in range(2, image.ndim):
        length = image.shape[axis]
        coarse = (length * zoom).round().clamp_min(1).view(-1, 1)
        centre = torch.arange(length, device=image.device) + 0.5
        place = (centre * coarse / length - 0.5).clamp_min(0).minimum(coarse - 1)
        low = place.floor()
        ends = (low, (low + 1).minimum(coarse - 1))
        near, far = (_take(image, ((end + 0.5) * length / coarse).long(), axis) for end in ends)
        image = torch.lerp(near, far, _along(place - low, image, axis))
    return image


def _take(image: Tensor, index: Tensor, axis: int) -> Tensor:
    """The pixels at ``index`` (B, N) along one axis of each image (B, C, *S)."""
    return image.take_along_dim(_along(index, image, axis), axis)


def _along(values: Tensor, image: Tensor, axis: int) -> Tensor:
    """(B, N) numbers of each image along one of its axes, to be spread over the others."""
    shape = [1] * image.ndim
    shape[0], shape[axis] = values.shape
    return (values.to(image.dtype) if values.is_floating_point() else values).reshape(shape)
