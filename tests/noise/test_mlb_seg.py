"""Slices turned, dilated or eroded, and cut to ellipses: the authors' masks, their levels, and masks of any size."""

from __future__ import annotations

import random
from bisect import bisect_right

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tests.noise.shapes import dice, disk, mean_dice

from maskmend.noise.mlb_seg import LEVELS, MLBSeg, ellipse_in, turned


def volumes(golden, kind):
    arrays = golden("alc_dsc_mlb_promise12_noise")
    shape = tuple(arrays["shape"])
    return [np.unpackbits(arrays[f"{kind}_{case}"]).reshape(shape).astype(bool) for case in ("Case00", "Case01")]


def test_equals_the_authors_masks(golden):
    noise, stream = MLBSeg(about="image", unit="px"), random.Random(0)
    sides, up_to = LEVELS["L2"]
    for mask, theirs in zip(volumes(golden, "in"), volumes(golden, "out"), strict=True):
        slices = []
        for place in np.flatnonzero(mask.sum(axis=(1, 2)) > 300).tolist():
            angle, kind, side, ellipse = (stream.randint(-20, 20), *(stream.uniform(0, 1) for _ in range(3)))
            done = {"kind": "erode" if kind < 0.5 else "dilate", "side": sides[bisect_right(up_to, side)]}
            slices.append(done | {"slice": place, "angle_deg": angle, "ellipse": ellipse < 0.5})
        assert_array_equal(noise.apply(mask, {"slices": slices}), theirs)


@pytest.mark.parametrize(("level", "theirs"), [("L1", 0.446), ("L2", 0.648), ("L3", 0.827)])
def test_the_levels_are_as_strong_as_the_authors(golden, level, theirs):
    """Their mean over twelve volumes; we have two, whose Dice at L2 lies 0.031 below that mean (0.650 and 0.584)."""
    mean = np.mean([mean_dice(MLBSeg(level=level), mask, times=6) for mask in volumes(golden, "in")])
    assert mean == pytest.approx(theirs - 0.03, abs=0.04)


def test_worse_levels_are_worse_also_in_2d():
    mask = disk(40)
    left = [mean_dice(MLBSeg(level=level), mask, times=40) for level in ("L1", "L2", "L3")]
    assert left[0] < left[1] - 0.1 < left[2] - 0.2


def test_draws_what_the_script_draws():
    mask, rng = np.broadcast_to(disk(12, side=40), (3000, 40, 40)), np.random.default_rng(0)
    slices = MLBSeg(unit="px").draw(mask, rng)["slices"]
    sides = [done["side"] for done in slices]
    shares = np.cumsum([sides.count(side) / len(sides) for side in LEVELS["L2"][0]])
    assert shares == pytest.approx(LEVELS["L2"][1], abs=0.03)
    assert {done["angle_deg"] for done in slices} == set(range(-20, 21))
    assert np.mean([done["ellipse"] for done in slices]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([done["kind"] == "erode" for done in slices]) == pytest.approx(0.5, abs=0.03)


def test_small_masks_are_emptied_or_kept_by_choice():
    mask = np.zeros((3, 64, 64), bool)
    mask[1, :10, :30], mask[2, :10, :31] = True, True  # 300 and 310 pixels
    for small in ("empty", "keep"):
        noise = MLBSeg(unit="px", small=small)
        drawn = noise.draw(mask, np.random.default_rng(0))
        assert [(done["slice"], done["kind"] == small) for done in drawn["slices"]] == [(1, True), (2, False)]
        assert_array_equal(noise.apply(mask, drawn)[1], mask[1] & (small == "keep"))
    assert len(MLBSeg(unit="px", min_area=0).draw(mask, np.random.default_rng(0))["slices"][0]) == 5


def test_a_slice_is_corrupted_the_same_whatever_the_others_are():
    mask = np.stack([disk(20, side=64)] * 4)
    fewer = mask.copy()
    fewer[1] = False
    noise = MLBSeg(unit="px")
    first, second = (noise.draw(each, np.random.default_rng(3))["slices"] for each in (mask, fewer))
    assert second == [first[0], *first[2:]]


def test_squares_shrink_with_the_image():
    large, small = disk(40), disk(20, side=128)
    done = {"slice": 0, "kind": "dilate", "angle_deg": 0, "side": 28, "ellipse": False}
    left = [dice(MLBSeg().apply(mask, {"slices": [done]}), mask) for mask in (large, small)]
    assert left[0] == pytest.approx(left[1], abs=0.02)
    assert dice(MLBSeg(unit="px").apply(small, {"slices": [done]}), small) < left[1] - 0.1


def test_turns_counterclockwise_about_its_middle():
    mask = np.zeros((21, 41), bool)
    mask[10, 20:31] = True  # ten pixels to the right of the middle
    assert np.argwhere(turned(mask, 90, (10.5, 20.5))).tolist() == [[row, 20] for row in range(11)]


def test_the_ellipse_fills_the_box():
    mask = np.zeros((40, 60), bool)
    mask[10:31, 5] = mask[20, 5:46] = True
    found = ellipse_in(mask)
    assert np.argwhere(found).min(axis=0).tolist() == [10, 5]
    assert np.argwhere(found).max(axis=0).tolist() == [30, 45]
    assert found.sum() == pytest.approx(np.pi * 10 * 20, rel=0.05)
    line = np.zeros((5, 9), bool)
    line[2, 2:7] = True
    assert_array_equal(ellipse_in(line), line)
