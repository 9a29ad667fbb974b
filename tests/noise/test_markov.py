"""Markov noise against the authors' masks, their statistics, and what must hold for any mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import distance_transform_edt
from tests.noise.shapes import MASKS, disk

from maskmend.noise.base import box
from maskmend.noise.markov import STRIDE, Markov, smooth, touching, walk


@pytest.mark.parametrize(
    ("name", "given_mask", "seed"),
    [
        ("markov_SR", "mask", 7),
        ("markov_SE", "mask", 7),
        ("markov_M60_05", "mask", 7),
        ("markov_3d_SR", "ball", 9),
        ("markov_3d_SE", "ball", 9),
        ("markov_3d_SE_t3_0", "ball", 9),
    ],
)
def test_equals_the_authors_mask(golden, name, given_mask, seed):
    arrays = golden("sp_gsd_noise_fixed")
    steps, *rest = arrays[f"{name}_cfg"]
    noise = Markov(steps=int(steps), **dict(zip(("preference", "variance", "flip"), rest, strict=False)))
    worse = noise.walked(arrays[given_mask].astype(bool), np.random.RandomState(seed))
    assert_array_equal(worse, arrays[name].astype(bool))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("S_R_r40", {"preference": 0.2}),
        ("S_E_r40", {"preference": 0.8}),
        ("S_E_r60", {"preference": 0.8}),
        ("M_50_0.6_r40", {"steps": 50, "preference": 0.6}),
    ],
)
def test_is_as_strong_as_the_authors(golden, name, settings):
    dice, area_ratio, *_ = golden("sp_gsd_noise_stats")[name].T
    mask = disk(int(name[-2:]))
    worse = [Markov(**settings)(mask, np.random.default_rng(seed)) for seed in range(30)]
    ours = np.array([(2 * (w & mask).sum() / (w.sum() + mask.sum()), w.sum() / mask.sum()) for w in worse])
    for mine, theirs in zip(ours.T, (dice, area_ratio), strict=True):
        assert abs(mine.mean() - theirs.mean()) < 3 * theirs.std() * np.sqrt(1 / len(mine) + 1 / len(theirs))


@given(MASKS, st.lists(st.booleans(), max_size=2 * STRIDE + 3), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_walk_equals_its_definition_by_distance(mask, grow, variance, seed):
    rng = np.random.default_rng(seed)
    expected = mask.copy()
    for outwards in grow:
        side = ~expected if outwards else expected
        edge = (distance_transform_edt(side) == 1) if not side.all() else np.zeros_like(mask)
        flips = np.zeros_like(mask)
        flips[edge] = rng.random(edge.sum()) < variance
        expected ^= flips
    worse = walk(mask, np.array(grow, bool), variance, np.random.default_rng(seed))
    assert_array_equal(worse, expected)


@given(MASKS)
@settings(max_examples=30, deadline=None)
def test_touching_is_one_dilation_without_the_middle(mask):
    for place in np.ndindex(mask.shape):
        neighbours = [np.array(place) + step for axis in np.eye(mask.ndim, dtype=int) for step in (axis, -axis)]
        inside = [tuple(n) for n in neighbours if all(n >= 0) and all(n < mask.shape)]
        assert touching(mask)[place] == any(mask[n] for n in inside)


def test_the_box_holds_the_mask_and_a_margin():
    mask = np.zeros((50, 60), bool)
    mask[20:23, 1] = True
    assert mask[box(mask, margin=5)].shape == (13, 7)
    assert mask[box(mask, margin=(1, 4))].shape == (5, 6)
    assert mask[box(~mask & mask, margin=5)].shape == (50, 60)


def test_the_blur_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    mask = np.random.default_rng(0).random((40, 50)) < 0.5
    assert_array_equal(smooth(mask), cv2.GaussianBlur(mask.astype(np.uint8) * 255, (5, 5), 2) > 127)


def test_leaves_its_input_alone_and_agrees_with_itself():
    mask = disk(10, side=64)
    before = mask.copy()
    first, second = (Markov(steps=20)(mask, np.random.default_rng(1)) for _ in range(2))
    assert_array_equal(mask, before)
    assert_array_equal(first, second)
    assert first.dtype == bool


@pytest.mark.parametrize("shape", [(24, 24), (12, 12, 12)])
@pytest.mark.parametrize("full", [False, True])
def test_a_mask_without_a_boundary_stays(shape, full):
    mask = np.full(shape, full)
    assert_array_equal(Markov()(mask, np.random.default_rng(0)), mask)
