"""A noise as strong as a given Dice asks for, and what is said when there is none."""

from __future__ import annotations

import numpy as np
import pytest
from tests.noise.shapes import disk, mean_dice

from maskmend.errors import InputError
from maskmend.noise import NOISES, make
from maskmend.noise.raters import RandomRater
from maskmend.noise.target import reach, scaled, strength, words

DISKS = [disk(radius, side=128, centre=(60 + radius, 64)) for radius in (15, 20, 25, 30)]


def left(noise):
    return np.mean([mean_dice(noise, mask, times=3) for mask in DISKS])


@pytest.mark.parametrize("name", [name for name in NOISES if name not in ("missing", "self_cleansing")])
@pytest.mark.parametrize("target", [0.6, 0.8])
def test_every_noise_reaches_its_target(name, target):
    found = reach(make(name), target, left)
    assert left(found) == pytest.approx(target, abs=0.01)
    assert found.model_dump(exclude=set(strength(found))) == make(name).model_dump(exclude=set(strength(found)))


def test_a_weak_noise_is_made_stronger_and_a_strong_one_weaker():
    assert reach(make("markov", {"steps": 5}), 0.7, left).steps > 30
    assert reach(make("markov", {"steps": 1500}), 0.7, left).steps < 500


def test_nothing_is_tried_twice():
    tried = []

    def coarse(noise):
        tried.append(noise)
        return 1.0 if noise.steps < 3 else 0.0

    with pytest.warns(UserWarning, match=r"none nearer to 0\.5 than [01]\.000"):
        reach(make("markov", {"steps": 4}), 0.5, coarse)
    assert len(tried) == len(set(tried))


def test_scales_all_fields_of_strength_up_to_their_limits():
    assert strength(scaled(make("dilate_erode"), 0.5)) == {"low": 4.5, "high": 5.5}
    assert strength(scaled(make("missing", {"chance": 0.4}), 9)) == {"chance": 1}
    assert words(scaled(make("markov"), 0.123)) == "steps=25"


def test_missing_masks_leave_a_mean_that_many_cases_can_tune():
    chances = (np.arange(400) + 0.5) / 400
    found = reach(make("missing"), 0.63, lambda noise: float((chances >= noise.chance).mean()))
    assert found.chance == pytest.approx(0.37, abs=0.01)


@pytest.mark.parametrize(
    ("noise", "target", "message"),
    [
        (make("dilate_erode"), 1.2, "target Dice 1.2 is not between 0 and 1"),
        (make("markov", {"steps": 0}), 0.7, "'markov' has no strength.*give steps a value above 0"),
        (RandomRater(), 0.7, "'random_rater' has no strength.*choose another noise"),
    ],
)
def test_what_cannot_be_meant_is_told(noise, target, message):
    with pytest.raises(InputError, match=message):
        reach(noise, target, left)


@pytest.mark.parametrize(
    ("noise", "target", "message"),
    [
        (make("missing"), 0.7, r"from 0\.000 \(chance=1\) to 1\.000 \(chance=.*nearer to 0\.7 than (0\.8|0\.6|0\.5)"),
        (make("mlb_seg", {"min_area": 4000}), 0.9, r"from .*\(scale=.* and none nearer to 0\.9 than 0\.7"),
    ],
)
def test_of_what_cannot_be_reached_the_nearest_is_taken_and_told(noise, target, message):
    with pytest.warns(UserWarning, match=message + r".*, which is taken\."):
        found = reach(noise, target, left)
    weaker, stronger = (abs(left(scaled(noise, factor)) - target) for factor in (0, 9))
    assert abs(left(found) - target) <= min(weaker, stronger)
