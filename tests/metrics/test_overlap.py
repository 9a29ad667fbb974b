"""Dice and Jaccard against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from maskmend.metrics import Counts, dice, jaccard, overlap
from maskmend.metrics.overlap import CHUNK


@given(st.data(), array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6))
@settings(max_examples=80, deadline=None)
def test_equals_the_definition(data, shape):
    values = st.sampled_from([-1, 0, 1, 2, 7])
    prediction = data.draw(arrays(np.int16, shape, elements=st.sampled_from([0, 1, 2, 7, 9])))
    reference = data.draw(arrays(np.int16, shape, elements=values))
    for label, counts in overlap(prediction, reference, [2, (7, 1), 1, (2,), 7]).items():
        p, r, seen = np.isin(prediction, label), np.isin(reference, label), reference != -1
        pairs = [(p & r), (p & ~r), (~p & r), (~p & ~r)]
        assert counts == Counts(*[int((pair & seen).sum()) for pair in pairs])
        union = ((p | r) & seen).sum()
        if union:
            assert jaccard(counts) == pytest.approx((p & r & seen).sum() / union)
            assert dice(counts) == pytest.approx(2 * jaccard(counts) / (1 + jaccard(counts)))


def test_empty_masks():
    nothing, something = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    both = overlap(nothing, nothing, [1])[1]
    assert both.empty
    assert math.isnan(dice(both))
    assert math.isnan(jaccard(both))
    for pair in ((nothing, something), (something, nothing)):
        one = overlap(*pair, [1])[1]
        assert not one.empty
        assert dice(one) == jaccard(one) == 0


def test_a_worked_example_and_another_ignore_value():
    reference = np.array([[1, 1, 0, 3], [0, 1, 0, 3]])
    prediction = np.array([[1, 0, 1, 1], [0, 1, 0, 0]])
    counts = overlap(prediction, reference, [1], ignore=3)[1]
    assert counts == Counts(tp=2, fp=1, fn=1, tn=2)
    assert dice(counts) == pytest.approx(2 / 3)
    assert jaccard(counts) == pytest.approx(1 / 2)


def test_unequal_shapes():
    with pytest.raises(ValueError, match="shape"):
        overlap(np.zeros((2, 3)), np.zeros((3, 2)), [1])


def test_more_pixels_than_are_counted_at_a_time():
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 3, (130, 290)), rng.integers(-1, 3, (290, 130)).T
    assert prediction.size > 2 * CHUNK
    p, r, seen = prediction == 2, reference == 2, reference != -1
    expected = [int((pair & seen).sum()) for pair in ((p & r), (p & ~r), (~p & r), (~p & ~r))]
    assert overlap(prediction, reference, [1, 2])[2] == Counts(*expected)
