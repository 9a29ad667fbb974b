"""Colour jitter as GSD-Net's second view A(.), for any number of channels and any normalisation: draw, then apply.

torchvision's formulas, on images scaled to 0..1 by their own range, so that it makes no difference whether an image
came as 0..255, 0..1 or z-scores. Brightness and contrast work on any channels; saturation and hue on three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey image (ITU-R BT.601, as torchvision rounds them)."""


@dataclass(frozen=True)
class JitterDraw:
    """One number per image, (B,) each: three factors, 1 changes nothing, and ``hue`` in turns, 0 changes nothing.

    ``order`` (B, 4) int64, on the CPU: the places of these four in the sequence of an image's changes.
    """

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    order: Tensor


def draw_jitter(
    count: int,
    strength: float,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> JitterDraw:
    """Numbers for ``count`` images: factors uniform in 1 ± 0.8 strength (never below 0), hue in ± 0.2 strength, and
    the order of the four.

    SimCLR's form (Chen et al. 2020, appendix A). GSD-Net takes ``strength`` 0.5 for colour photographs and chest
    X-rays, 0.05 for ultrasound and CT. With a ``generator``, ``device`` must be its device.
    """
    uniform = 2 * torch.rand(4, count, generator=generator, device=device) - 1
    factors = (1 + 0.8 * strength * uniform[:3]).clamp_min(0)
    order = torch.rand(count, 4, generator=generator, device=device).argsort(1).cpu()
    return JitterDraw(factors[0], factors[1], factors[2], hue=0.2 * strength * uniform[3], order=order)


def apply_jitter(image: Tensor, draw: JitterDraw) -> Tensor:
    """Brightness, contrast, saturation and hue of each image in its drawn order; (B, C, *S) float keeps its own range.

    The range is that of all channels together, so that colours keep their relation.
    """
    flat = image.contiguous().flatten(2)  # channels last, a sum over pixels is several times slower
    low = flat.amin((1, 2), keepdim=True)
    span = (flat.amax((1, 2), keepdim=True) - low).clamp_min(torch.finfo(image.dtype).tiny)
    flat = (flat - low) / span
    changes = (
        (draw.brightness, brighten),
        (draw.contrast, stretch),
        *(((draw.saturation, saturate), (draw.hue, turn_hue)) if flat.shape[1] == 3 else ()),
    )
    for place in range(4):
        for kind, (amount, change) in enumerate(changes):
            rows = (draw.order[:, place] == kind).nonzero().flatten().to(image.device)
            if len(rows):
                flat[rows] = change(flat[rows], amount.to(image)[rows]).clamp_(0, 1)
    return (flat * span + low).view_as(image)


def jitter(image: Tensor, strength: float, *, generator: torch.Generator | None = None) -> Tensor:
    """A freshly jittered copy of ``image`` (B, C, *S); ``generator``, if any, on the image's device."""
    return apply_jitter(image, draw_jitter(len(image), strength, generator, image.device))


def brighten(image: Tensor, factor: Tensor) -> Tensor:
    """``image`` (B, C, M) times ``factor`` (B,)."""
    return image * factor.view(-1, 1, 1)


def stretch(image: Tensor, factor: Tensor) -> Tensor:
    """``image`` (B, C, M) with its distance from the mean times ``factor`` (B,).

    With three channels the mean is that of the grey image, else each channel's own.
    """
    centre = _grey(image) if image.shape[1] == 3 else image
    return torch.lerp(centre.mean(2, keepdim=True), image, factor.view(-1, 1, 1))


def saturate(image: Tensor, factor: Tensor) -> Tensor:
    """``image`` (B, 3, M) with its distance from the grey image times ``factor`` (B,)."""
    return torch.lerp(_grey(image), image, factor.view(-1, 1, 1))


def turn_hue(image: Tensor, turns: Tensor) -> Tensor:
    """``image`` (B, 3, M) of 0..1 with the hue H of HSV turned by ``turns`` (B,), 1 being all the way round.

    S and V stay: each channel is V - S V max(0, min(k, 4 - k, 1)), k = (n + 6 H) mod 6 and n = 5, 3, 1 of red, green
    and blue.
    """
    red, green, blue = image.unbind(1)
    value = image.amax(1)
    chroma = value - image.amin(1)
    hue = torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    hue = torch.where(value == red, green - blue, hue) / chroma.clamp_min(torch.finfo(image.dtype).tiny)
    first = image.new_tensor((5, 3, 1)).view(1, 3, 1)
    k = first + (hue + 6 * turns.view(-1, 1)).unsqueeze(1)
    k -= 6 * (k / 6).floor()
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp_(0, 1)


def _grey(image: Tensor) -> Tensor:
    """(B, 3, M) → (B, 1, M)."""
    return (image * image.new_tensor(GREY).view(1, 3, 1)).sum(1, keepdim=True)
