"""Cubes against the authors' masks, brute force and their statistics."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.noise.shapes import MASKS, dice, disk, mean_dice

from maskmend.noise.cube import Cube, ball, cube


def test_equals_the_authors_masks(golden):
    arrays = golden("alc_dsc_mlb_alc_parents")
    base = arrays["noise_base"].astype(bool)
    for place, seed in enumerate(arrays["noise_seed"].tolist()):
        stream = random.Random(seed)
        kind, side = "dilate" if stream.random() < 0.5 else "erode", stream.randint(3, 15)
        assert (kind == "dilate", side) == (arrays["noise_is_dilate"][place], arrays["noise_side"][place])
        theirs = np.unpackbits(arrays["noise_out_packed"][place])[: base.size].reshape(base.shape)
        assert_array_equal(Cube().apply(base, {"kind": kind, "side": side}), theirs.astype(bool))


@given(MASKS, st.tuples(*[st.integers(1, 4)] * 3), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_brute_force(mask, sides, wider, lower, outside):
    sides = sides[: mask.ndim]
    expected = mask.copy()
    for place in np.ndindex(mask.shape):
        before = [(side - 1) // 2 if lower and side % 2 == 0 else side // 2 for side in sides]
        window = [range(p - b, p - b + side) for p, b, side in zip(place, before, sides, strict=True)]
        values = []
        for near in np.array(np.meshgrid(*window)).reshape(mask.ndim, -1).T:
            inside = all(0 <= p < n for p, n in zip(near, mask.shape, strict=True))
            values.append(mask[tuple(near)] if inside else (outside and not wider))
        expected[place] = any(values) if wider else all(values)
    assert_array_equal(cube(mask, sides, wider, lower, outside), expected)


@given(MASKS, st.integers(0, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_ball_holds_its_rim(mask, radius, wider):
    from scipy.ndimage import binary_dilation

    places = np.ogrid[(slice(-radius, radius + 1),) * mask.ndim]
    footprint = sum(place**2 for place in places) <= radius**2
    grown = binary_dilation(mask if wider else ~mask, footprint)
    assert_array_equal(ball(mask, radius, (1.0,) * mask.ndim, wider), grown if wider else mask & ~grown)


def ellipsoid(*axes, size=128):
    places = np.ogrid[tuple(slice(-size // 2, size // 2) for _ in axes)]
    return sum((place / axis) ** 2 for place, axis in zip(places, axes, strict=True)) < 1


def test_is_as_strong_as_the_authors_on_a_left_atrium():
    """Their function, on twelve atria: sides 3, 7, 11, 15; a bound of 0.07, for an ellipsoid is smoother than they."""
    mask = ellipsoid(26, 34, 22)
    for kind, theirs in (("dilate", (0.911, 0.759, 0.639, 0.545)), ("erode", (0.903, 0.697, 0.506, 0.335))):
        ours = [dice(Cube().apply(mask, {"kind": kind, "side": side}), mask) for side in (3, 7, 11, 15)]
        assert np.abs(np.subtract(ours, theirs)).max() < 0.07, (kind, ours)


def test_read_literally_it_is_stronger():
    mask = disk(40)
    side, shift = (mean_dice(Cube(reading=reading), mask, 60) for reading in ("side", "shift"))
    assert side == pytest.approx(0.85, abs=0.04)
    assert shift < side - 0.08


def test_a_side_in_mm_is_another_number_of_pixels_along_each_axis():
    mask = np.zeros((21, 21), bool)
    mask[10, 10] = True
    worse = Cube(unit="mm").apply(mask, {"kind": "dilate", "side": 9}, spacing_mm=(3.0, 1.0))
    assert (worse.any(axis=1).sum(), worse.any(axis=0).sum()) == (3, 9)


@pytest.mark.parametrize(("low", "high", "sides"), [(3, 15, range(3, 16)), (0, 0, [0]), (4.5, 5.5, [4, 5, 6])])
def test_whole_sides_are_drawn_evenly(low, high, sides):
    rng, mask = np.random.default_rng(0), disk(3, side=12)
    drawn = [Cube(low=low, high=high).draw(mask, rng)["side"] for _ in range(1300)]
    assert set(drawn) == set(sides)
    if low == 3:
        assert all(60 < drawn.count(side) < 140 for side in sides)
