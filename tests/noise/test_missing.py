"""Emptied masks: by themselves, and among wrong boundaries as Deep Self-cleansing mixes them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tests.noise.shapes import disk

from maskmend.noise import apply, draw, make
from maskmend.noise.self_cleansing import SelfCleansing


def test_a_share_of_the_classes_is_missing():
    label = np.zeros((20, 20), np.uint8)
    for value in range(1, 5):
        label[4 * value, 3:9] = value
    noise, rng = make("missing", {"chance": 0.3}), np.random.default_rng(0)
    missing = 0
    for _ in range(200):
        draws = draw(label, noise, rng)
        worse = apply(label, noise, draws)
        for value, drawn in draws.items():
            kept = drawn["kind"] == "kept"
            missing += not kept
            assert_array_equal(worse == value, (label == value) & kept)
    assert missing / 800 == pytest.approx(0.3, abs=0.05)


def test_shares_and_radii_are_those_of_the_paper():
    mask, rng = disk(4, side=16), np.random.default_rng(0)
    draws = [SelfCleansing().draw(mask, rng) for _ in range(2000)]
    kinds = [drawn["kind"] for drawn in draws]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert shares == pytest.approx({"missing": 0.5, "dilate": 0.25, "erode": 0.25}, abs=0.04)
    assert {drawn["radius"] for drawn in draws if "radius" in drawn} == set(range(2, 9))


@pytest.mark.parametrize(("shape", "reach", "corner"), [("disk", 5, False), ("square", 5, True)])
def test_the_boundary_moves_by_the_radius(shape, reach, corner):
    mask = np.zeros((31, 31), bool)
    mask[10:21, 10:21] = True
    noise = SelfCleansing(shape=shape)
    wide = noise.apply(mask, {"kind": "dilate", "radius": reach})
    assert np.flatnonzero(wide.any(axis=0))[[0, -1]].tolist() == [10 - reach, 20 + reach]
    assert wide[10 - reach, 10 - reach] == corner
    narrow = noise.apply(mask, {"kind": "erode", "radius": 4})
    assert np.argwhere(narrow).tolist() == [[y, x] for y in (14, 15, 16) for x in (14, 15, 16)]
    assert not noise.apply(mask, {"kind": "missing"}).any()


def test_a_small_organ_may_vanish_and_a_beta_of_zero_leaves_it():
    mask, rng = disk(4, side=64), np.random.default_rng(0)
    assert not SelfCleansing().apply(mask, {"kind": "erode", "radius": 8}).any()
    assert_array_equal(SelfCleansing(beta=0, spread=0, missing=0)(mask, rng), mask)
