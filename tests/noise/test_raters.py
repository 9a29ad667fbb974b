"""Who of several raters is asked."""

from __future__ import annotations

import numpy as np

from maskmend.noise.raters import RandomRater


def test_anyone_or_one_after_the_other():
    rng = np.random.default_rng(0)
    asked = [RandomRater().choose("abcd", place, rng) for place in range(400)]
    assert all(70 < asked.count(name) < 130 for name in "abcd")
    assert "".join(RandomRater(turn="cycle").choose("abcd", place, rng) for place in range(6)) == "abcdab"
