"""Colour jitter as GSD-Net's second view A(.), for any number of channels and any normalisation: draw, then apply.

torchvision's formulas, on images scaled to 0..1 by their own range, so that it makes no difference whether an image
came as 0..255, 0..1 or z-scores. Brightness and contrast work on any channels; saturation and hue on three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey image (ITU-R BT.601, as torchvision rounds them)."""
_TO_YIQ = torch.tensor(
    ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)), dtype=torch.float64
)
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class JitterDraw:
    """One number per image, (B,) each: three factors, 1 changes nothing, and ``hue`` in turns, 0 changes nothing."""

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor


def draw_jitter(
    count: int,
    strength: float,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> JitterDraw:
    """Numbers for ``count`` images; factors uniform in 1 ± 0.8 strength (never below 0), hue in ± 0.2 strength.

    SimCLR's form (Chen et al. 2020, appendix A). GSD-Net takes ``strength`` 0.5 for colour photographs and chest
    X-rays, 0.05 for ultrasound and CT. With a ``generator``, ``device`` must be its device.
    """
    uniform = 2 * torch.rand(4, count, generator=generator, device=device) - 1
    factors = (1 + 0.8 * strength * uniform[:3]).clamp_min(0)
    return JitterDraw(factors[0], factors[1], factors[2], hue=0.2 * strength * uniform[3])


def apply_jitter(image: Tensor, draw: JitterDraw) -> Tensor:
    """Brightness, contrast, saturation, hue, in this order; ``image`` (B, C, *S) float keeps its own range.

    The range is that of all channels together, so that colours keep their relation. With three channels contrast works
    about the mean grey of the image, else about each channel's own mean.
    """
    flat = image.contiguous().flatten(2)  # channels last, a sum over pixels is several times slower
    low = flat.amin((1, 2), keepdim=True)
    span = (flat.amax((1, 2), keepdim=True) - low).clamp_min(torch.finfo(image.dtype).tiny)
    brightness, contrast, saturation, hue = (
        value.to(image).view(-1, 1, 1) for value in (draw.brightness, draw.contrast, draw.saturation, draw.hue)
    )
    flat = ((flat - low) / span * brightness).clamp_(0, 1)
    colour = flat.shape[1] == 3
    centre = _grey(flat) if colour else flat
    flat = torch.lerp(centre.mean(2, keepdim=True), flat, contrast).clamp_(0, 1)
    if colour:
        flat = torch.lerp(_grey(flat), flat, saturation).clamp_(0, 1)
        flat = turn_hue(flat, hue.flatten()).clamp_(0, 1)
    return (flat * span + low).view_as(image)


def jitter(image: Tensor, strength: float, *, generator: torch.Generator | None = None) -> Tensor:
    """A freshly jittered copy of ``image`` (B, C, *S); ``generator``, if any, on the image's device."""
    return apply_jitter(image, draw_jitter(len(image), strength, generator, image.device))


def turn_hue(image: Tensor, turns: Tensor) -> Tensor:
    """``image`` (B, 3, *S) with its colours turned about the grey axis by ``turns`` (B,), 1 being all the way round.

    A rotation of the chroma plane of YIQ, one 3×3 matrix an image: brightness stays, and there is no branch per pixel
    as in torchvision's way through HSV, which it follows closely for small turns.
    """
    to_yiq, from_yiq = (m.to(image.device, non_blocking=True) for m in (_TO_YIQ, _FROM_YIQ))
    angle = -2 * math.pi * turns.double()
    turn = torch.zeros(len(turns), 3, 3, device=image.device, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    matrix = (from_yiq @ turn @ to_yiq).to(image.dtype)
    return torch.bmm(matrix, image.flatten(2)).view_as(image)


def _grey(image: Tensor) -> Tensor:
    """(B, 3, M) → (B, 1, M)."""
    return (image * image.new_tensor(GREY).view(1, 3, 1)).sum(1, keepdim=True)
