"""Colour jitter against torchvision's formulas, written out pixel by pixel."""

from __future__ import annotations

import colorsys

import pytest
import torch

from maskmend.functional.jitter import GREY, JitterDraw, apply_jitter, draw_jitter, jitter, turn_hue


def drawn(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, count=1):
    return JitterDraw(*(torch.full((count,), value) for value in (brightness, contrast, saturation, hue)))


def photograph(count: int = 1) -> torch.Tensor:
    """Raw 0..255 with both ends present."""
    image = torch.randint(0, 256, (count, 3, 6, 7)).float()
    image[:, :, 0, 0], image[:, :, 0, 1] = 0, 255
    return image


def by_hand(image: torch.Tensor, brightness: float, contrast: float, saturation: float) -> torch.Tensor:
    """torchvision.transforms.functional's blends on one (3, H, W) image of 0..255, without rounding."""

    def cut(value: float) -> float:
        return min(max(value, 0.0), 255.0)

    pixels = [[cut(brightness * float(v)) for v in image[:, y, x]] for y in range(6) for x in range(7)]
    mean = sum(sum(w * v for w, v in zip(GREY, pixel, strict=True)) for pixel in pixels) / len(pixels)
    pixels = [[cut(contrast * v + (1 - contrast) * mean) for v in pixel] for pixel in pixels]
    out = torch.empty_like(image)
    for number, pixel in enumerate(pixels):
        grey = sum(w * v for w, v in zip(GREY, pixel, strict=True))
        for channel, value in enumerate(pixel):
            out[channel, number // 7, number % 7] = cut(saturation * value + (1 - saturation) * grey)
    return out


@pytest.mark.parametrize(
    "factors", [(1.3, 1.0, 1.0), (0.6, 1.0, 1.0), (1.0, 1.4, 1.0), (1.0, 0.6, 1.0), (1.0, 1.0, 1.4), (1.2, 0.7, 0.8)]
)
def test_brightness_contrast_and_saturation_are_torchvisions(factors):
    image = photograph()
    torch.testing.assert_close(apply_jitter(image, drawn(*factors))[0], by_hand(image[0], *factors), atol=2e-3, rtol=0)


def test_hue_goes_the_way_of_hsv_and_keeps_luminance():
    red = torch.tensor([200.0, 60.0, 60.0]) / 255
    for turns in (0.05, -0.05, 1 / 3):
        h = colorsys.rgb_to_hsv(*red.tolist())[0]
        turned = turn_hue(red.view(1, 3, 1), torch.tensor([turns])).flatten()
        hue = colorsys.rgb_to_hsv(*turned.tolist())[0]
        assert abs((hue - h - turns + 0.5) % 1 - 0.5) < 0.06
        assert float(turned @ torch.tensor([0.299, 0.587, 0.114])) == pytest.approx(
            float(red @ torch.tensor([0.299, 0.587, 0.114])), abs=1e-5
        )
    image = torch.rand(2, 3, 4, 4, 4)
    torch.testing.assert_close(turn_hue(image, torch.tensor([0.0, 1.0])), image, atol=1e-5, rtol=0)
    grey = torch.rand(1, 1, 5).expand(1, 3, 5)
    torch.testing.assert_close(turn_hue(grey, torch.tensor([0.2])), grey, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dims", [2, 3])
def test_normalisation_makes_no_difference(channels, dims):
    image = torch.randn(4, channels, *(6, 7, 8)[:dims])
    draw = draw_jitter(4, 1.0, torch.Generator().manual_seed(0))
    out = apply_jitter(image, draw)
    torch.testing.assert_close(apply_jitter(image * 40 + 128, draw), out * 40 + 128, atol=1e-3, rtol=1e-4)
    assert out.shape == image.shape
    flat, changed = image.flatten(1), out.flatten(1)
    assert (changed.amin(1) >= flat.amin(1) - 1e-5).all()
    assert (changed.amax(1) <= flat.amax(1) + 1e-5).all()
    alone = apply_jitter(image[2:3], JitterDraw(*(getattr(draw, k)[2:3] for k in draw.__dataclass_fields__)))
    torch.testing.assert_close(alone[0], out[2])


def test_one_channel_ignores_saturation_and_hue():
    image = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(apply_jitter(image, drawn(saturation=0.1, hue=0.3, count=2)), image)
    half = apply_jitter(image, drawn(contrast=0.5, count=2))
    mean = image.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(half, mean + 0.5 * (image - mean))


def test_draws():
    draw = draw_jitter(4000, 0.5, torch.Generator().manual_seed(1))
    for name in ("brightness", "contrast", "saturation"):
        value = getattr(draw, name)
        assert value.shape == (4000,)
        assert 0.6 <= value.min() < 0.61
        assert 1.39 < value.max() <= 1.4
    assert -0.1 <= draw.hue.min() < -0.099
    assert draw_jitter(2000, 2.0).brightness.min() == 0
    again = draw_jitter(4000, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(again.hue, draw.hue)


def test_jitter_draws_and_applies_and_flat_images_survive():
    image = photograph(3)
    generator = torch.Generator().manual_seed(5)
    expected = apply_jitter(image, draw_jitter(3, 0.5, torch.Generator().manual_seed(5)))
    assert torch.equal(jitter(image, 0.5, generator=generator), expected)
    torch.testing.assert_close(jitter(image, 0.0), image, atol=1e-3, rtol=1e-5)
    flat = torch.full((1, 3, 4, 4), 7.0)
    assert torch.equal(jitter(flat, 1.0), flat)
