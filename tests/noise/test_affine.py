"""Masks turned and moved: the authors' masks, ways and angles that were drawn, and a share that is met."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import center_of_mass
from tests.noise.shapes import Scripted, dice, disk

from maskmend.noise.affine import Affine

RELEASED = {"about": "image", "released": True}


def share(worse, mask):
    return (worse ^ mask).sum() / mask.sum()


@pytest.mark.parametrize("beta", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_authors_masks(golden, beta, seed):
    arrays = golden("sp_gsd_noise_fixed")
    mask, theirs = arrays["mask"].astype(bool), arrays[f"sp_affine_{beta}_seed{seed}"].astype(bool)
    angle = random.Random(seed).uniform(-30, 30)
    shift = np.subtract(center_of_mass(theirs), center_of_mass(mask))
    way = tuple(int(step > 5) for step in shift)  # all that their eight directions come down to
    worse = Affine(beta=beta, **RELEASED).apply(mask, {"angle_deg": angle, "direction": way})
    assert_array_equal(worse, theirs)


def test_the_released_ways_lead_down_and_right_only():
    mask, centre = disk(12, side=80), np.array([40.0, 40.0]) - 0.5
    drawn = {"angle_deg": 0.0, "direction": (-1, 1)}
    moved = {name: Affine(beta=0.5, released=name).apply(mask, drawn) for name in (True, False)}
    assert (np.array(center_of_mass(moved[True])) > centre).all()
    assert np.array(center_of_mass(moved[False]))[0] < centre[0]


@pytest.mark.parametrize(("shape", "ways"), [((64, 64), 8), ((32, 32, 32), 26)])
def test_every_way_is_drawn_and_gone(shape, ways):
    mask = disk(8, side=shape[0], centre=tuple(side // 2 for side in shape))
    noise, rng = Affine(beta=0.6), np.random.default_rng(0)
    draws = [noise.draw(mask, rng) for _ in range(40 * ways)]
    assert len({tuple(draw["direction"]) for draw in draws}) == ways
    assert max(abs(draw["angle_deg"]) for draw in draws) <= 30
    assert {draw.get("axis") for draw in draws} == ({0, 1, 2} if len(shape) == 3 else {None})
    for draw in {tuple(draw["direction"]): draw for draw in draws}.values():
        shift = np.subtract(center_of_mass(noise.apply(mask, draw)), center_of_mass(mask))
        assert_array_equal(np.sign(shift.round(1)), draw["direction"])


@pytest.mark.parametrize("beta", [0, 0.2, 0.5, 0.7, 1, 1.5])
@pytest.mark.parametrize("centre", [(128, 128), (90, 160)])
def test_the_share_is_met_within_a_step(beta, centre):
    mask, rng = disk(25, centre=centre), np.random.default_rng(1)
    shares = [share(Affine(beta=beta)(mask, rng), mask) for _ in range(12)]
    step = 4 * np.sqrt(2) * 25 / (np.pi * 25**2)  # what a diagonal pixel more does to a disk at the most
    assert np.abs(np.array(shares) - beta).max() < step / 2 + 0.02  # the rest: turning makes it a little rough


def test_about_the_image_a_mask_far_from_its_middle_is_thrown_out_of_reach():
    mask = disk(10, centre=(40, 200))
    drawn = {"angle_deg": 30.0, "direction": (-1, 0)}
    assert share(Affine().apply(mask, drawn), mask) == pytest.approx(0.5, abs=0.1)
    assert share(Affine(about="image").apply(mask, drawn), mask) > 1


def test_turns_counterclockwise_by_the_angle():
    mask = np.zeros((41, 41), bool)
    mask[20, 20:35] = True
    worse = Affine(beta=0).apply(mask, {"angle_deg": 45.0, "direction": (0, 1)})
    rows, columns = np.argwhere(worse).T
    assert np.polyfit(columns, rows, 1)[0] == pytest.approx(-1, abs=0.05)


def test_in_mm_a_thick_slice_turns_as_it_lies_in_space():
    mask = np.zeros((21, 61, 61), bool)
    mask[10, 30, 10:51] = True  # a bar of 40 mm along the last axis
    drawn = {"angle_deg": 90.0, "direction": (1, 0, 0), "axis": 1}
    worse = Affine(beta=0, angle_deg=90, unit="mm").apply(mask, drawn, spacing_mm=(4.0, 1.0, 1.0))
    slices, rows, columns = (set(places.tolist()) for places in np.argwhere(worse).T)
    assert (slices, rows) == (set(range(5, 16)), {30})  # it stands 40 mm high
    assert columns <= set(range(28, 33))  # and is as wide as a slice is thick


def test_in_mm_the_way_is_one_of_space():
    mask = disk(10, side=40, centre=(20, 20, 20))
    drawn = {"angle_deg": 0.0, "direction": (1, 0, 1), "axis": 0}
    worse = Affine(beta=1, unit="mm").apply(mask, drawn, spacing_mm=(2.0, 1.0, 1.0))
    down, _, right = np.subtract(center_of_mass(worse), center_of_mass(mask))
    assert down == pytest.approx(right / 2, abs=0.6)


def test_what_leaves_the_image_is_lost():
    mask = np.zeros((20, 20), bool)
    mask[:4, :4] = True
    worse = Affine(beta=1, angle_deg=0)(mask, Scripted(0.5, 0.0))
    assert worse.sum() < mask.sum()
    assert dice(worse, mask) < 0.7
