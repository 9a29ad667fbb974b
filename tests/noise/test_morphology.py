"""Dilation and erosion against the authors' masks and brute force; lengths in mm; masks that would vanish."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.noise.shapes import MASKS, Scripted

from maskmend.noise.morphology import Morphology, dilate, erode


def test_equals_the_authors_masks(golden):
    arrays = golden("sp_gsd_noise_fixed")
    mask = arrays["mask"].astype(bool)
    radius = np.random.RandomState(3).random()
    assert 9 + 2 * radius == arrays["DE_dil_level"] == arrays["DE_ero_level"]
    noise = Morphology(keep_nonempty=False)
    assert_array_equal(noise(mask, Scripted(0.51, radius)), arrays["DE_dil"].astype(bool))
    assert_array_equal(noise(mask, Scripted(0.5, radius)), arrays["DE_ero"].astype(bool))


def test_is_as_strong_as_the_authors(golden):
    rows, columns = np.mgrid[:256, :256] - 128
    mask = rows**2 + columns**2 < 40**2
    theirs = golden("sp_gsd_noise_stats")["S_DE_r40"][:, 0]
    worse = [Morphology()(mask, np.random.default_rng(seed)) for seed in range(50)]
    ours = np.array([2 * (w & mask).sum() / (w.sum() + mask.sum()) for w in worse])
    assert abs(ours.mean() - theirs.mean()) < 3 * theirs.std() * np.sqrt(2 / 50)


@given(MASKS, st.floats(0.1, 5), st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3))
@settings(max_examples=40, deadline=None)
def test_equals_brute_force(mask, radius, spacing):
    spacing = spacing[: mask.ndim]
    wide, narrow = mask.copy(), mask.copy()
    points, outside = np.argwhere(mask) * spacing, np.argwhere(~mask) * spacing
    for place in np.ndindex(mask.shape):
        here = np.array(place) * spacing
        near = [np.sqrt(((others - here) ** 2).sum(1).min()) if len(others) else np.inf for others in (points, outside)]
        wide[place] = np.float32(near[0]) < radius
        narrow[place] &= np.float32(near[1]) >= radius
    assert_array_equal(dilate(mask, radius, spacing), wide)
    assert_array_equal(erode(mask, radius, spacing), narrow)


@given(MASKS, st.floats(0, 9), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_a_mask_does_not_vanish_unless_it_may(mask, low, seed):
    worse = Morphology(low=low, high=low + 2)(mask, np.random.default_rng(seed))
    assert worse.any() == mask.any()
    assert not (worse & ~mask).any() or not (mask & ~worse).any()


def test_lengths_in_mm_follow_the_spacing():
    mask = np.zeros((21, 21), bool)
    mask[10, 10] = True
    noise = Morphology(low=4.1, high=4.1, unit="mm")
    worse = noise(mask, Scripted(0.9, 0.0), spacing_mm=(2.0, 1.0))
    assert worse.any(axis=1).sum() == 5
    assert worse.any(axis=0).sum() == 9
    with pytest.raises(ValueError, match="spacing"):
        noise(mask, Scripted(0.9, 0.0))
