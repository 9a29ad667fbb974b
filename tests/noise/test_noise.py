"""The registry, its error messages, and labels with several classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.noise.shapes import MASKS, disk

from maskmend.errors import InputError
from maskmend.noise import NOISES, apply, corrupt, draw, find, make
from maskmend.types import IGNORE


def three_classes(shape):
    label = np.zeros(shape, np.int16)
    label[4:20, 4:20] = 1
    label[8:16, 8:16] = 2
    label[22:30, 4:28] = 4
    label[:, 30:] = IGNORE
    return label


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 32)])
def test_labels_stay_labels(name, shape):
    label = three_classes(shape)
    before = label.copy()
    worse = corrupt(label, make(name, {}), np.random.default_rng(0), spacing_mm=(1.0,) * len(shape))
    assert_array_equal(label, before)
    assert worse.dtype == label.dtype
    assert set(np.unique(worse)) <= {IGNORE, 0, 1, 2, 4}
    assert_array_equal(worse == IGNORE, label == IGNORE)
    assert (worse != label).any()


@pytest.mark.parametrize("name", NOISES)
@given(mask=MASKS, seed=st.integers(0, 9), form=st.sampled_from(["as drawn", "full", "empty", "pixel"]))
@settings(max_examples=25, deadline=None)
def test_any_mask_may_come(name, mask, seed, form):
    """Small ones, full ones, none at all; and what was drawn, as JSON, is enough to do it again."""
    if form != "as drawn":
        mask = np.full(mask.shape, form == "full")
        mask.flat[-1] |= form == "pixel"
    noise, before, spacing = make(name), mask.copy(), (2.0, 1.0, 0.5)[: mask.ndim]
    drawn = noise.draw(mask, np.random.default_rng(seed), spacing)
    worse = noise.apply(mask, drawn, spacing)
    assert_array_equal(mask, before)
    assert (worse.dtype, worse.shape) == (bool, mask.shape)
    assert_array_equal(noise.apply(mask, json.loads(json.dumps(drawn)), spacing), worse)
    assert_array_equal(noise(mask, np.random.default_rng(seed), spacing), worse)
    assert mask.any() or not worse.any()


SLICE = {"slice": 0, "kind": "dilate", "angle_deg": 0, "side": 28, "ellipse": False}
DRAWS = {
    "dilate_erode": {"kind": "dilate", "radius": 8.0},
    "dilate_erode_cube": {"kind": "dilate", "side": 14},
    "self_cleansing": {"kind": "erode", "radius": 8},
    "mlb_seg": {"slices": [SLICE]},
    "affine": {"kind": "affine", "angle_deg": 20.0, "direction": [1, -1]},
    "sp_guided": {"kind": "affine", "angle_deg": 20.0, "direction": [1, -1]},
}


@pytest.mark.parametrize("name", [name for name, kind in NOISES.items() if "unit" in kind.model_fields])
def test_lengths_have_a_unit(name):
    """Pixels of 2 mm, and an image of half the size: both ways 8 px are 4. An angle is one in any unit."""
    mask = disk(20, side=128)
    px, mm, at_256 = ((make(name, {"unit": unit}), DRAWS[name]) for unit in ("px", "mm", "px_at_256"))
    wrong = [(noise.apply(mask, drawn, (2.0, 2.0)) ^ mask).sum() for noise, drawn in (px, mm, at_256)]
    assert wrong[1] == wrong[2]
    assert wrong[1] == wrong[0] if "direction" in DRAWS[name] else wrong[1] < 0.6 * wrong[0]
    with pytest.raises(ValueError, match="spacing"):
        mm[0].apply(mask, DRAWS[name])


def test_each_class_is_corrupted_by_itself_and_the_higher_one_lies_on_top():
    label = three_classes((32, 32))
    label[:, 30:] = 0
    noise, rng = make("markov", {"preference": 0.7, "steps": 50}), np.random.default_rng(3)
    assert [*draw(label, noise, np.random.default_rng(3))] == [1, 2, 4]
    expected = np.zeros_like(label)
    for value in (1, 2, 4):
        expected[noise(label == value, rng)] = value
    assert_array_equal(corrupt(label, noise, np.random.default_rng(3)), expected)
    assert_array_equal(apply(label, noise, draw(label, noise, np.random.default_rng(3))), expected)


def test_one_class_is_the_mask_itself_and_nothing_stays_nothing():
    label = (three_classes((32, 32)) == 1).astype(np.uint8)
    noise = make("markov", {"steps": 30})
    worse = corrupt(label, noise, np.random.RandomState(7))
    assert_array_equal(worse, noise(label == 1, np.random.RandomState(7)))
    assert not corrupt(np.zeros((9, 9), np.uint8), noise, np.random.default_rng(0)).any()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("markow", {}, "did you mean 'markov'"),
        ("haze", {}, "there is no noise called 'haze'; there is affine, dilate_erode_area, "),
        ("markov", {"step": 3}, "no parameter 'step'; did you mean 'steps'"),
        ("markov", {"preference": 2}, "preference=2: "),
        ("markov", {"steps": "many"}, "steps='many': "),
        ("dilate_erode", {"low": 20}, r"low \(20\) must not be larger than high \(11\)"),
        ("dilate_erode", {"unit": "cm"}, "unit='cm': "),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(name, parameters, message):
    with pytest.raises(InputError, match=message):
        make(name, parameters)


@pytest.mark.parametrize("name", NOISES)
def test_every_parameter_says_where_it_is_from(name):
    kind = find(name, NOISES)
    assert kind.__doc__
    assert kind.source
    assert all(field.description for field in kind.model_fields.values())


def test_parameters_may_come_as_text():
    assert make("markov", {"steps": "50", "preference": "0.6"}) == make("markov", {"steps": 50, "preference": 0.6})
