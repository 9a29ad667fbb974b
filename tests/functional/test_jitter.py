"""Colour jitter against torchvision's formulas, written out pixel by pixel."""

from __future__ import annotations

import colorsys
from itertools import permutations

import pytest
import torch
from skimage.color import hsv2rgb, rgb2hsv

from maskmend.functional.jitter import GREY, JitterDraw, apply_jitter, draw_jitter, jitter, turn_hue


def drawn(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, count=1, order=(0, 1, 2, 3)):
    numbers = (torch.full((count,), value) for value in (brightness, contrast, saturation, hue))
    return JitterDraw(*numbers, order=torch.tensor([order] * count))


def photograph(count: int = 1) -> torch.Tensor:
    """Raw 0..255 with both ends present."""
    image = torch.randint(0, 256, (count, 3, 6, 7)).float()
    image[:, :, 0, 0], image[:, :, 0, 1] = 0, 255
    return image


def by_hand(image, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, order=(0, 1, 2, 3)):
    """torchvision.transforms.ColorJitter's changes of one (3, H, W) image of 0..255, one after the other, unrounded."""

    def cut(pixel):
        return [min(max(value, 0.0), 1.0) for value in pixel]

    def grey(pixel):
        return sum(weight * value for weight, value in zip(GREY, pixel, strict=True))

    def turned(pixel):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + hue) % 1, s, v)

    pixels = (image / 255).flatten(1).T.tolist()
    for change in order:
        mean = sum(map(grey, pixels)) / len(pixels)
        blends = (
            lambda pixel: [brightness * v for v in pixel],
            lambda pixel, mean=mean: [contrast * v + (1 - contrast) * mean for v in pixel],
            lambda pixel: [saturation * v + (1 - saturation) * grey(pixel) for v in pixel],
            turned,
        )
        pixels = [cut(blends[change](pixel)) for pixel in pixels]
    return 255 * torch.tensor(pixels).T.view_as(image)


@pytest.mark.parametrize(
    "factors", [(1.3, 1.0, 1.0), (0.6, 1.0, 1.0), (1.0, 1.4, 1.0), (1.0, 0.6, 1.0), (1.0, 1.0, 1.4), (1.2, 0.7, 0.8)]
)
def test_brightness_contrast_and_saturation_are_torchvisions(factors):
    image = photograph()
    torch.testing.assert_close(apply_jitter(image, drawn(*factors))[0], by_hand(image[0], *factors), atol=2e-3, rtol=0)


def test_the_four_changes_come_in_the_drawn_order():
    image, numbers = photograph(), (1.3, 0.7, 1.4, 0.1)
    found = [apply_jitter(image, drawn(*numbers, order=order))[0] for order in permutations(range(4))]
    for order, out in zip(permutations(range(4)), found, strict=True):
        torch.testing.assert_close(out, by_hand(image[0], *numbers, order), atol=2e-3, rtol=0)
    assert (torch.stack(found).amax(0) - torch.stack(found).amin(0)).max() > 10
    both = JitterDraw(*(torch.full((2,), value) for value in numbers), order=torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]))
    out = apply_jitter(image.expand(2, -1, -1, -1), both)
    torch.testing.assert_close(out, torch.stack((found[0], found[-1])))


@pytest.mark.parametrize("turns", [0.1, -0.1, 1 / 3, 0.5])
def test_hue_is_that_of_hsv(turns):
    """Against scikit-image, on colours whose two largest channels are equal and greys too."""
    image = torch.rand(2, 3, 30)
    image[0, :, :3] = torch.tensor([[1.0, 1.0, 0.2], [0.3, 1.0, 1.0], [1.0, 0.5, 1.0]])
    image[0, :, 3:6] = torch.tensor([0.0, 0.4, 1.0])
    hsv = rgb2hsv(image.double().numpy(), channel_axis=1)
    hsv[:, 0] = (hsv[:, 0] + turns) % 1
    expected = torch.from_numpy(hsv2rgb(hsv, channel_axis=1)).float()
    torch.testing.assert_close(turn_hue(image, torch.full((2,), turns)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(turn_hue(image, torch.tensor([0.0, 1.0])), image, atol=1e-5, rtol=0)


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
    assert len(draw.order.unique(dim=0)) == 24
    assert torch.equal(draw.order.sort(1).values, torch.arange(4).expand(4000, 4))
    again = draw_jitter(4000, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(again.hue, draw.hue)
    assert torch.equal(again.order, draw.order)


def test_jitter_draws_and_applies_and_flat_images_survive():
    image = photograph(3)
    generator = torch.Generator().manual_seed(5)
    expected = apply_jitter(image, draw_jitter(3, 0.5, torch.Generator().manual_seed(5)))
    assert torch.equal(jitter(image, 0.5, generator=generator), expected)
    torch.testing.assert_close(jitter(image, 0.0), image, atol=1e-3, rtol=1e-5)
    flat = torch.full((1, 3, 4, 4), 7.0)
    assert torch.equal(jitter(flat, 1.0), flat)
