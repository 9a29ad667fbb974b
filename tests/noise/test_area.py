"""Dilation and erosion by a share of the area: the authors' masks, the definition, and the Dice it leaves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import binary_dilation, binary_erosion
from tests.noise.shapes import MASKS, dice, disk

from maskmend.noise.area import MARGIN, Area, grow, shrink


@pytest.mark.parametrize("beta", [0.5, 0.7])
def test_equals_the_authors_masks(golden, beta):
    arrays = golden("sp_gsd_noise_fixed")
    mask = arrays["mask"].astype(bool)
    assert_array_equal(grow(mask, beta), arrays[f"sp_dilate_{beta}"].astype(bool))
    assert_array_equal(shrink(mask, beta), arrays[f"sp_erode_{beta}"].astype(bool))


def step_by_step(mask, beta, step, sign):
    """The definition: one step after another until the goal is passed, then the nearer of the last two."""
    goal, last, here = mask.sum() + sign * int(beta * mask.sum()), mask, mask
    end = mask.size if sign > 0 else 0
    while (goal - here.sum()) * sign > 0 and here.sum() != end:
        last, here = here, step(here)
    if here.sum() == end or abs(last.sum() - goal) < abs(here.sum() - goal):
        return last
    return here


@given(MASKS, st.floats(0, 4))
@settings(max_examples=80, deadline=None)
def test_equals_one_step_after_another(mask, beta):
    assert_array_equal(grow(mask, beta), step_by_step(mask, beta, binary_dilation, 1))
    assert_array_equal(shrink(mask, min(beta, 1)), step_by_step(mask, min(beta, 1), binary_erosion, -1))


@pytest.mark.parametrize("dims", [2, 3])
def test_what_touches_the_edge_of_the_image_is_eroded_from_there_too(dims):
    full = np.ones((9,) * dims, bool)
    assert_array_equal(shrink(full, 1 - (7 / 9) ** dims), binary_erosion(full))
    half = full.copy()
    half[5:] = False
    assert_array_equal(shrink(half, 1 - 3 * 7 ** (dims - 1) / half.sum()), binary_erosion(half))


def test_the_box_is_widened_when_the_mask_outgrows_it():
    mask = disk(2, side=6 * MARGIN)
    wide = grow(mask, 500)
    assert wide.sum() == pytest.approx(501 * mask.sum(), rel=0.05)
    assert np.argwhere(wide)[:, 0].min() < 3 * MARGIN - MARGIN


@pytest.mark.parametrize("radius", [15, 40])
@pytest.mark.parametrize("beta", [0.5, 0.7])
def test_leaves_the_same_dice_whatever_the_size(radius, beta):
    mask = disk(radius)
    assert dice(grow(mask, beta), mask) == pytest.approx(2 / (2 + beta), abs=0.02)
    assert dice(shrink(mask, beta), mask) == pytest.approx(2 * (1 - beta) / (2 - beta), abs=0.04)


def test_is_as_likely_to_dilate_as_to_erode():
    mask, rng = disk(3, side=12), np.random.default_rng(0)
    kinds = [Area().draw(mask, rng)["kind"] for _ in range(400)]
    assert 160 < kinds.count("dilate") < 240
    assert set(kinds) == {"dilate", "erode"}
