"""Whatever happens to an image happens to its label and to every map."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from maskmend.data.augment import AugmentConfig, Draw, apply, check_axes, draw, sampling_grid
from maskmend.data.intensity import bend, blur, coarsen, unbend
from maskmend.errors import InputError
from maskmend.types import IGNORE, Batch

SHAPES = [(16, 16), (12, 20), (6, 10, 10), (4, 8, 12)]
STILL = AugmentConfig(flip=0, rotate90=0)


def coded(shape: tuple[int, ...], count: int = 6) -> Batch:
    """A batch whose image, label and maps all hold each pixel's own number."""
    number = torch.arange(torch.Size(shape).numel()).view(1, *shape).repeat(count, *[1] * len(shape))
    image = torch.stack([number, number * 2], dim=1).float()
    trust = torch.zeros(count, dtype=torch.long)
    maps = {"superpixel": number.clone(), "refined": number.int(), "distance": number.float()}
    return Batch(image, number.clone(), trust, torch.arange(count), maps)


def nothing(count: int, dims: int) -> Draw:
    return draw(STILL, dims, range(count))


@pytest.mark.parametrize("shape", SHAPES)
def test_flips_and_quarter_turns_move_every_map_alike_and_lose_nothing(shape):
    batch = coded(shape, 24)
    moved = apply(batch, draw(AugmentConfig(rotate90=1), len(shape), range(24)))
    for values in (moved.image[:, 0], moved.maps["superpixel"], moved.maps["refined"], moved.maps["distance"]):
        assert torch.equal(values.long(), moved.label)
    assert torch.equal(moved.label.flatten(1).sort(1).values, batch.label.flatten(1))
    square = shape[-1] == shape[-2]
    assert len({tuple(row.flatten().tolist()) for row in moved.label}) > (4 if square or len(shape) == 3 else 3)
    assert torch.equal(batch.label, coded(shape, 24).label)


@pytest.mark.parametrize("shape", [(16, 16), (6, 10, 10)])
def test_exact_moves_are_flips_then_quarter_turns(shape):
    dims = len(shape)
    batch = coded(shape, 32)
    drawn = draw(AugmentConfig(rotate90=1), dims, range(32))
    moved = apply(batch, drawn)
    for row in range(32):
        axes = [axis for axis in range(dims) if drawn.flip[row, axis]]
        expected = batch.label[row].flip(axes).rot90(int(drawn.quarters[row]), (-2, -1))
        assert torch.equal(moved.label[row], expected)
    back = apply(moved, replace(drawn, quarters=(4 - drawn.quarters) % 4, flip=torch.zeros_like(drawn.flip)))
    back = apply(back, replace(drawn, quarters=torch.zeros_like(drawn.quarters)))
    assert torch.equal(back.image, batch.image)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_row_depends_on_its_own_seed_only(dims):
    shape = (16, 16, 16)[:dims]
    everything = AugmentConfig(
        rotate90=0.5,
        rotate_deg=30,
        scale=(0.8, 1.2),
        blur=1,
        brightness=1,
        contrast=1,
        gamma=1,
        noise=1,
        low_resolution=1,
        gamma_inverted=1,
    )
    image = torch.rand(5, 2, *shape)
    batch = replace(coded(shape, 5), image=image)
    seeds = [3, -7, 2**63, 10**25, 0]
    together = apply(batch, draw(everything, dims, seeds))
    order = torch.tensor([4, 2, 0])
    some = apply(batch.rows(order), draw(everything, dims, [seeds[i] for i in order]))
    torch.testing.assert_close(some.image, together.image[order])
    assert torch.equal(some.label, together.label[order])
    for name in batch.maps:
        torch.testing.assert_close(some.maps[name], together.maps[name][order])


def test_draws_are_spread_as_asked():
    drawn = draw(AugmentConfig(flip=0.3, rotate_deg=10, affine=0.5, gamma=0.25), 2, range(8000))
    assert drawn.flip.float().mean(0).sub(0.3).abs().max() < 0.02
    assert (drawn.quarters == 0).float().mean() == pytest.approx(0.5 + 0.5 / 4, abs=0.02)
    assert (drawn.angle_deg != 0).float().mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.angle_deg.abs().max() <= 10
    bent = drawn.gamma[drawn.gamma != 1]
    assert len(bent) / 8000 == pytest.approx(0.25, abs=0.02)
    assert 0.7 <= bent.min() < 0.72
    assert 1.48 < bent.max() <= 1.5
    numbers = torch.stack([drawn.flip[:, 0].double(), drawn.quarters.double(), drawn.angle_deg.double()])
    assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.05


def test_defaults_are_flips_and_quarter_turns_only():
    drawn = draw(AugmentConfig(), 3, range(100))
    assert drawn.quarters.max() == 0
    assert drawn.flip.any()
    assert draw(AugmentConfig(), 2, range(100)).quarters.max() == 3
    for name, off in {"angle_deg": 0, "zoom": 1, "blur_sigma": 0, "brightness": 1, "contrast": 1, "gamma": 1}.items():
        assert (getattr(drawn, name) == off).all()
    assert {field.name for field in fields(Draw)} >= {"noise_sd", "noise_seed"}


@pytest.mark.parametrize("shape", [(17, 17), (5, 11, 11)])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_free_turn_of_90_degrees_is_a_quarter_turn(shape, turns):
    batch = coded(shape, 2)
    drawn = replace(nothing(2, len(shape)), angle_deg=torch.full((2,), 90.0 * turns))
    moved = apply(batch, drawn)
    expected = batch.label.rot90(turns, (-2, -1))
    assert torch.equal(moved.label, expected)
    torch.testing.assert_close(moved.image[:, 0], expected.float(), atol=0.01, rtol=1e-4)


@pytest.mark.parametrize("shape", [(40, 60), (20, 40, 60)])
def test_the_grid_agrees_with_affine_grid(shape):
    dims, ratio = len(shape), shape[-2] / shape[-1]
    angle, zoom = torch.tensor([25.0]), torch.tensor([1.3])
    c, s = torch.deg2rad(angle).cos() / 1.3, torch.deg2rad(angle).sin() / 1.3
    theta = torch.zeros(1, dims, dims + 1)
    theta[0, 0, :2] = torch.cat([c, -s * ratio])
    theta[0, 1, :2] = torch.cat([s / ratio, c])
    if dims == 3:
        theta[0, 2, 2] = 1 / 1.3
    torch.testing.assert_close(
        sampling_grid(angle, zoom, shape), F.affine_grid(theta, [1, 1, *shape], align_corners=False)
    )


def test_a_blob_lands_where_the_turn_takes_it():
    label = torch.zeros(1, 64, 96, dtype=torch.long)
    label[0, 30:34, 80:84] = 1  # 34 columns right of the centre
    batch = Batch(label[:, None].float(), label, torch.zeros(1).long(), torch.arange(1))
    moved = apply(batch, replace(nothing(1, 2), angle_deg=torch.tensor([30.0])))
    row, column = (moved.label[0] == 1).nonzero().float().mean(0).tolist()
    assert row == pytest.approx(31.5 - 34 * 0.5, abs=0.7)
    assert column == pytest.approx(47.5 + 34 * 3**0.5 / 2, abs=0.7)
    assert (moved.label == 1).sum() == pytest.approx(16, abs=4)


@pytest.mark.parametrize("dims", [2, 3])
def test_label_and_image_stay_aligned_under_everything_geometric(dims):
    shape = (24, 32, 32)[-dims:]
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    label = (sum(a**2 for a in axes) < 0.3).long() + (axes[-1] > 0.2).long()
    label = label[None].repeat(16, *[1] * dims)
    batch = Batch(
        label[:, None].float(), label, torch.zeros(16).long(), torch.arange(16), {"refined": label.to(torch.int8)}
    )
    config = AugmentConfig(rotate90=0.5, rotate_deg=40, scale=(0.7, 1.4))
    moved = apply(batch, draw(config, dims, range(16)))
    inside = moved.label != IGNORE
    agree = (moved.image[:, 0].round() == moved.label)[inside].float().mean()
    assert agree > 0.94
    assert (~inside).any()
    assert torch.equal(moved.maps["refined"], moved.label.to(torch.int8))
    assert (moved.image[:, 0][~inside] <= 2).all()


def test_ignore_stays_and_what_comes_from_outside_is_ignored():
    batch = coded((16, 16), 2)
    label = batch.label.clamp(max=3)
    label[:, 4:6] = IGNORE
    batch = replace(batch, label=label, image=torch.full((2, 1, 16, 16), 5.0))
    flipped = apply(batch, draw(AugmentConfig(flip=1, rotate90=0), 2, [0, 1]))
    assert torch.equal(flipped.label, label.flip(1, 2))
    small = apply(batch, replace(nothing(2, 2), zoom=torch.tensor([0.5, 1.0])))
    assert (small.label[0, :4] == IGNORE).all()
    assert (small.label[0, 6] == IGNORE).any()
    assert torch.equal(small.label[1], label[1])
    torch.testing.assert_close(small.image, batch.image)
    assert small.maps["superpixel"].min() >= 0
    assert set(small.maps["superpixel"].unique().tolist()) <= set(range(256))


def test_distances_grow_with_the_zoom():
    ramp = (torch.arange(33.0) - 16).abs().expand(33, 33)[None].repeat(2, 1, 1)
    batch = Batch(
        ramp[:, None], ramp.long(), torch.zeros(2).long(), torch.arange(2), {"distance": ramp, "weight": ramp}
    )
    big = apply(batch, replace(nothing(2, 2), zoom=torch.tensor([2.0, 1.0])))
    torch.testing.assert_close(big.maps["distance"][:, 5:-5], ramp[:, 5:-5], atol=1.01, rtol=0)
    torch.testing.assert_close(big.maps["weight"][0, 16, 16:], torch.arange(17.0) / 2, atol=0.51, rtol=0)


def test_intensities_change_the_image_only_and_as_said():
    image = torch.randn(3, 2, 24, 24)
    batch = replace(coded((24, 24), 3), image=image)
    one = torch.ones(3)

    def changed(**what: torch.Tensor) -> torch.Tensor:
        out = apply(batch, replace(nothing(3, 2), **what))
        assert torch.equal(out.label, batch.label)
        assert all(torch.equal(out.maps[name], batch.maps[name]) for name in batch.maps)
        return out.image

    low, high, mean = image.amin((2, 3), True), image.amax((2, 3), True), image.mean((2, 3), True)
    torch.testing.assert_close(changed(brightness=one * 1.2), low + 1.2 * (image - low))
    torch.testing.assert_close(changed(contrast=one * 1.2), (mean + 1.2 * (image - mean)).clamp(low, high))
    torch.testing.assert_close(changed(gamma=one * 2), ((image - low) / (high - low)) ** 2 * (high - low) + low)
    noisy = changed(noise_sd=torch.tensor([0.0, 0.5, 0.5])) - image
    assert torch.equal(noisy[0], torch.zeros_like(noisy[0]))
    assert noisy[1].std() == pytest.approx(0.5, rel=0.1)
    assert not torch.equal(noisy[1], noisy[2])
    torch.testing.assert_close(
        apply(replace(batch, image=image * 0 + 4), draw(STILL, 2, [1, 2, 3])).image, image * 0 + 4
    )


@pytest.mark.parametrize("shape", [(20, 24), (8, 12, 10)])
def test_blur_is_scipys_gaussian_filter(shape):
    from scipy.ndimage import gaussian_filter

    image, sigma = torch.rand(2, 2, *shape, dtype=torch.float64), torch.tensor([0.6, 1.0], dtype=torch.float64)
    blurred = blur(image, sigma)
    for row, width in enumerate(sigma.tolist()):
        for channel in range(2):
            radius = int(-(-3 * width // 1))
            expected = gaussian_filter(image[row, channel].numpy(), width, mode="nearest", radius=radius)
            torch.testing.assert_close(blurred[row, channel], torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(20, 17), (8, 12, 10)])
def test_low_resolution_is_interpolates_nearest_and_linear(shape):
    image, zoom = torch.rand(4, 2, *shape), torch.tensor([0.5, 0.6, 0.9, 0.01])
    coarse = coarsen(image, zoom)
    for row, factor in enumerate(zoom):
        size = [max(1, round(n * float(factor))) for n in shape]
        small = F.interpolate(image[row : row + 1], size, mode="nearest-exact")
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        torch.testing.assert_close(coarse[row : row + 1], F.interpolate(small, shape, mode=mode, align_corners=False))


@pytest.mark.parametrize("shape", [(9, 9), (4, 6, 5)])
def test_gamma_inverted_is_gamma_of_the_negative_with_mean_and_deviation_kept(shape):
    image, power = torch.rand(2, 2, *shape), torch.tensor([0.7, 1.5])
    plain, found = -bend(-image, power), unbend(image, power)
    every = tuple(range(2, image.ndim))
    torch.testing.assert_close(found.mean(every), image.mean(every))
    torch.testing.assert_close(found.std(every), image.std(every))
    standard = [(each - each.mean(every, True)) / each.std(every, keepdim=True) for each in (plain, found)]
    torch.testing.assert_close(*standard)
    assert torch.equal(unbend(torch.ones(1, 1, *shape), power[:1]), torch.ones(1, 1, *shape))


def test_changes_switched_on_leave_the_others_as_they_were():
    usual = draw(AugmentConfig(noise=1, gamma=1), 2, range(50))
    more = draw(AugmentConfig(noise=1, gamma=1, low_resolution=1, gamma_inverted=1), 2, range(50))
    names = [field.name for field in fields(Draw) if field.name != "order"]
    changed = {name for name in names if not torch.equal(getattr(usual, name), getattr(more, name))}
    assert changed == {"low_resolution", "gamma_inverted"}


def test_flips_may_differ_by_axis():
    flip = draw(AugmentConfig(flip=(0, 1, 0.3)), 3, range(500)).flip.float().mean(0)
    assert flip[:2].tolist() == [0, 1]
    assert flip[2] == pytest.approx(0.3, abs=0.07)
    with pytest.raises(InputError, match="give 2 numbers"):
        check_axes(AugmentConfig(flip=(0, 1, 0.3)), 2)


def test_impossible_settings_are_refused():
    for wrong in ({"flip": (0.5, 2)}, {"low_resolution_zoom": (0.5, 2.0)}):
        with pytest.raises(ValidationError):
            AugmentConfig.model_validate(wrong)
    for wrong in ({"flip": 1.5}, {"scale": (1.2, 0.8)}, {"scale": (0, 1)}, {"rotate": 10}, {"blur_sigma": (0.0, 1.0)}):
        with pytest.raises(ValidationError):
            AugmentConfig.model_validate(wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives():
    batch = replace(coded((32, 32), 8), image=torch.rand(8, 2, 32, 32))
    config = AugmentConfig(
        rotate_deg=30, scale=(0.8, 1.2), blur=1, brightness=1, contrast=1, gamma=1, low_resolution=1, gamma_inverted=1
    )
    drawn = draw(config, 2, range(8))
    here, there = apply(batch, drawn), apply(batch.to(torch.device("cuda")), drawn).to(torch.device("cpu"))
    torch.testing.assert_close(here.image, there.image, atol=1e-4, rtol=1e-4)
    assert (here.label == there.label).float().mean() > 0.99
