"""Warps against exact moves, and against where they say they look."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maskmend.functional.rng import seed_all
from maskmend.functional.warp import Strength, Warp, apply, draw_warp, inside, sampling_grid

SHAPES = [(6, 6), (6, 8), (4, 6, 6)]


def still(dims: int, count: int = 2) -> Warp:
    """Nothing moves."""
    flip = torch.zeros(count, dims, dtype=torch.bool)
    return Warp(flip, torch.zeros(count), torch.ones(count), torch.zeros(count, dims, *[3] * dims))


def places(shape: tuple[int, ...]) -> Tensor:
    """An image whose channels say where each pixel is, in sides from the middle, (1, D, *S)."""
    axes = [(torch.arange(n) + 0.5) / n - 0.5 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


@pytest.mark.parametrize("shape", SHAPES)
def test_still_is_the_same_image(shape: tuple[int, ...]) -> None:
    image = torch.randn(2, 3, *shape)
    torch.testing.assert_close(apply(image, sampling_grid(still(len(shape)), shape)), image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_flips_are_exact_and_of_each_image_by_itself(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    flip = torch.zeros(2, dims, dtype=torch.bool)
    flip[0, 0] = flip[1, -1] = True
    image = torch.randn(2, 1, *shape)
    seen = apply(image, sampling_grid(replace(still(dims), flip=flip), shape))
    torch.testing.assert_close(seen[0], image[0].flip(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[1], image[1].flip(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (4, 6, 6)])
def test_a_quarter_turn_is_exact(shape: tuple[int, ...]) -> None:
    image = torch.randn(2, 1, *shape)
    grid = sampling_grid(replace(still(len(shape)), turn_deg=torch.tensor([90.0, 180.0])), shape)
    seen = apply(image, grid)
    torch.testing.assert_close(seen[0], torch.rot90(image[0], 1, (-2, -1)), rtol=0, atol=1e-4)
    torch.testing.assert_close(seen[1], image[1].flip((-2, -1)), rtol=0, atol=1e-4)


def test_a_turn_keeps_lengths_in_an_oblong_image() -> None:
    shape = (20, 40)
    grid = sampling_grid(replace(still(2, 1), turn_deg=torch.tensor([30.0])), shape)
    pixels = grid[0].flip(-1) * torch.tensor(shape) / 2
    assert (pixels[1:] - pixels[:-1]).norm(dim=-1).mean().item() == pytest.approx(1.0, abs=1e-5)
    assert (pixels[:, 1:] - pixels[:, :-1]).norm(dim=-1).mean().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_zoom_looks_nearer_the_middle(shape: tuple[int, ...]) -> None:
    where = places(shape)
    seen = apply(where, sampling_grid(replace(still(len(shape), 1), zoom=torch.tensor([2.0])), shape))
    torch.testing.assert_close(seen, where / 2)


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 9)])
def test_a_bend_passes_through_its_places(shape: tuple[int, ...]) -> None:
    """In the middle it looks aside by the middle's bend; bent alike everywhere, it is a shift."""
    dims = len(shape)
    warp = still(dims, 1)
    middle = (0, 0, *[1] * dims)
    warp.bend[middle] = 0.1
    moved = sampling_grid(warp, shape).flip(-1)[(0, *[4] * dims)]
    assert moved.tolist() == pytest.approx([0.2] + [0.0] * (dims - 1), abs=1e-6)
    warp.bend[:, 0] = 1 / 9  # one pixel further along the first axis
    image = torch.randn(1, 1, *shape)
    torch.testing.assert_close(apply(image, sampling_grid(warp, shape))[:, :, :-1], image[:, :, 1:], rtol=0, atol=1e-4)


def test_what_is_not_shown_is_known() -> None:
    valid = torch.ones(1, 9, 9, dtype=torch.bool)
    valid[0, 4, 4] = False
    warp = still(2, 1)
    assert torch.equal(inside(valid, sampling_grid(warp, (9, 9))), valid)
    warp.bend[:, 0] = 2 / 9
    seen = inside(valid, sampling_grid(warp, (9, 9)))
    wanted = torch.ones_like(valid)
    wanted[0, 7:] = wanted[0, 2, 4] = False
    assert torch.equal(seen, wanted)


@pytest.mark.parametrize("dims", [2, 3])
def test_drawn_warps_are_repeatable_and_within_their_strength(dims: int) -> None:
    strength = Strength(flip=0.5, turn_deg=60.0, zoom=2.0, bend=0.1)
    seed_all(1)
    warp = draw_warp(500, dims, strength)
    seed_all(1)
    again = draw_warp(500, dims, strength)
    assert all(torch.equal(a, b) for a, b in zip(vars(warp).values(), vars(again).values(), strict=True))
    assert 0 <= warp.turn_deg.min() < 5
    assert 55 < warp.turn_deg.max() <= 60
    assert 1 <= warp.zoom.min() < 1.1
    assert 1.9 < warp.zoom.max() <= 2
    assert warp.flip.float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert warp.bend.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)  # sd uniform up to 0.1
    none = draw_warp(2, dims, Strength(flip=0.0))
    image = torch.randn(2, 1, *[6] * dims)
    torch.testing.assert_close(apply(image, sampling_grid(none, image.shape[2:])), image, rtol=0, atol=1e-5)
