"""The registry, its error messages, and labels with several classes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from maskmend.errors import InputError
from maskmend.noise import NOISES, corrupt, find, make
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


def test_each_class_is_corrupted_by_itself_and_the_higher_one_lies_on_top():
    label = three_classes((32, 32))
    label[:, 30:] = 0
    noise, rng = make("markov", {"preference": 0.7, "steps": 50}), np.random.default_rng(3)
    expected = np.zeros_like(label)
    for value in (1, 2, 4):
        expected[noise(label == value, rng)] = value
    assert_array_equal(corrupt(label, noise, np.random.default_rng(3)), expected)


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
        ("haze", {}, "there is markov, dilate_erode|there is dilate_erode, markov"),
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
    kind = find(name)
    assert kind.__doc__
    assert kind.source
    assert all(field.description for field in kind.model_fields.values())


def test_parameters_may_come_as_text():
    assert make("markov", {"steps": "50", "preference": "0.6"}) == make("markov", {"steps": 50, "preference": 0.6})
