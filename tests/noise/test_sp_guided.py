"""The mixture of SP-guided: the authors' masks one after the other, and the Dice of its table."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import center_of_mass
from tests.noise.shapes import disk, mean_dice

from maskmend.noise.sp_guided import SPGuided


def test_equals_the_authors_masks_one_after_the_other(golden):
    arrays = golden("sp_gsd_noise_fixed")
    mask, noise, stream = arrays["mask"].astype(bool), SPGuided(about="image", released=True), random.Random(0)
    for place, kind in enumerate(arrays["sp_addnoise_types"].tolist()):
        theirs = arrays[f"sp_addnoise_seq{place}"].astype(bool)
        assert stream.choice(["dilate", "erode", "affine"]) == kind
        drawn = {"kind": kind}
        if kind == "affine":
            shift = np.subtract(center_of_mass(theirs), center_of_mass(mask))
            drawn |= {"angle_deg": stream.uniform(-30, 30), "direction": tuple(int(step > 5) for step in shift)}
            stream.choice(range(8))
        assert_array_equal(noise.apply(mask, drawn), theirs)


@pytest.mark.parametrize(("beta", "expected"), [(0.5, 0.739), (0.7, 0.618)])
def test_leaves_the_dice_of_the_paper(beta, expected):
    assert mean_dice(SPGuided(beta=beta), disk(40), times=90) == pytest.approx(expected, abs=0.03)


def test_the_three_kinds_are_as_likely():
    mask, rng = disk(3, side=12), np.random.default_rng(0)
    kinds = [SPGuided().draw(mask, rng)["kind"] for _ in range(600)]
    assert all(160 < kinds.count(kind) < 240 for kind in ("dilate", "erode", "affine"))
