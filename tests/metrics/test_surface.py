"""Surface metrics against brute force, a drawing worked by hand, MONAI, and what must hold of any pair of masks."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import gaussian_filter

from maskmend.metrics import asd, assd, hd, hd95, hd95_pooled, nsd, surface_distances, surface_metrics

SHAPES = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5)


def points(mask, unknown):
    """Surface pixels by definition: known, in the mask, beside a known pixel outside of it or beyond the edge."""
    found = []
    for place in zip(*np.nonzero(mask & ~unknown), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            beside = tuple(p + step * (a == axis) for a, p in enumerate(place))
            within = all(0 <= p < n for p, n in zip(beside, mask.shape, strict=True))
            if not within or not (mask[beside] or unknown[beside]):
                found.append(place)
                break
    return found


def brute(here, there, spacing):
    """From each point to the nearest of the others."""
    return [
        min((math.dist(np.multiply(a, spacing), np.multiply(b, spacing)) for b in there), default=math.inf)
        for a in here
    ]


def blobs(shape, seed):
    """A smooth field cut into background, 1 and 2, and the same after a disturbance."""
    rng = np.random.default_rng(seed)
    field, other = (gaussian_filter(rng.standard_normal(shape), 2, mode="wrap") for _ in range(2))
    return [np.digitize(f, np.quantile(f, (0.5, 0.8))) for f in (field + 0.3 * other, field)]


@given(st.data(), SHAPES)
@settings(max_examples=150, deadline=None)
def test_equals_brute_force(data, shape):
    prediction = data.draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 3])))
    reference = data.draw(arrays(np.int16, shape, elements=st.sampled_from([0, 0, 1, 1, 3, -1])))
    spacing = data.draw(st.tuples(*[st.floats(0.2, 5)] * len(shape)))
    unknown = reference == -1
    for label, found in surface_distances(prediction, reference, [3, (3, 1), 1], spacing).items():
        here, there = (points(np.isin(m, label), unknown) for m in (prediction, reference))
        np.testing.assert_allclose(found.to_reference, brute(here, there, spacing), rtol=1e-12)
        np.testing.assert_allclose(found.to_prediction, brute(there, here, spacing), rtol=1e-12)


def test_a_drawing_worked_by_hand():
    """A 3×3 square and the same with one pixel more, two away from it, in pixels of 1 by 2 mm."""
    reference = np.zeros((5, 9), np.uint8)
    reference[1:4, 1:4] = 1
    prediction = reference.copy()
    prediction[2, 5] = 1
    d = surface_distances(prediction, reference, [1], (1, 2))[1]
    assert sorted(d.to_reference) == [0] * 8 + [4]  # without the middle of the square
    assert sorted(d.to_prediction) == [0] * 8
    assert hd(d) == 4
    assert hd95(d) == pytest.approx(4 * 0.6)  # at 0.95 · 8 = 7.6 between the eighth and the ninth
    assert hd95_pooled(d) == pytest.approx(4 * 0.2)  # at 0.95 · 16 = 15.2 between the last two of 17
    assert asd(d) == pytest.approx(4 / 9)
    assert assd(d) == pytest.approx(4 / 17)
    assert nsd(d, 3.9) == pytest.approx(16 / 17)
    assert nsd(d, 4) == 1


def test_rounding_does_not_break_a_tolerance():
    prediction, reference = np.zeros((2, 1, 12), np.uint8)
    prediction[0, 10] = reference[0, 0] = 1
    d = surface_distances(prediction, reference, [1], (1, 0.1))[1]
    assert nsd(d, 1.0) == 1
    assert nsd(d, 0.99) == 0


@pytest.mark.parametrize(("shape", "spacing"), [((40, 50), (0.7, 1.3)), ((20, 24, 22), (3.0, 0.8, 0.8))])
def test_agrees_with_monai(shape, spacing):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    pair = blobs(shape, seed=len(shape))
    one_hot = [torch.from_numpy(np.stack([m == k for k in (0, 1, 2)])[None]).float() for m in pair]
    ours = {k: surface_metrics(d, 1.5) for k, d in surface_distances(*pair, [1, 2], spacing).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {
            "HD95": compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing),
            "HD": compute_hausdorff_distance(*one_hot, spacing=spacing),
            "ASD": compute_average_surface_distance(*one_hot, spacing=spacing),
            "ASSD": compute_average_surface_distance(*one_hot, symmetric=True, spacing=spacing),
            "NSD": compute_surface_dice(*one_hot, [1.5, 1.5], spacing=spacing),
        }
    for name, values in theirs.items():
        assert values[0].tolist() == pytest.approx([ours[1][name], ours[2][name]], rel=1e-5), name


@given(st.integers(0, 10**6), st.sampled_from([(14, 17), (7, 9, 8)]), st.floats(0.3, 3))
@settings(max_examples=30, deadline=None)
def test_what_holds_of_any_pair(seed, shape, scale):
    prediction, reference = blobs(shape, seed)
    d = surface_distances(prediction, reference, [1])[1]
    swapped = surface_distances(reference, prediction, [1])[1]
    scaled = surface_distances(prediction, reference, [1], [scale] * len(shape))[1]
    padded = surface_distances(np.pad(prediction, 5), np.pad(reference, 5), [1])[1]
    perfect = surface_metrics(surface_distances(reference, reference, [1])[1], 0)
    assert asd(d) <= hd(d)
    assert hd95(d) <= hd(d)
    assert all(f(swapped) == pytest.approx(f(d)) for f in (hd, hd95, hd95_pooled, assd))
    assert all(f(scaled) == pytest.approx(scale * f(d)) for f in (hd, hd95, hd95_pooled, asd, assd))
    assert nsd(scaled, 1.2 * scale) == nsd(d, 1.2) <= nsd(d, 2.5)
    assert surface_metrics(padded, 1) == pytest.approx(surface_metrics(d, 1))  # beyond the edge is outside
    assert perfect == {"HD95": 0, "HD95_pooled": 0, "HD": 0, "ASD": 0, "ASSD": 0, "NSD": 1}


def test_empty_and_missed():
    nothing, something = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    both = surface_distances(nothing, nothing, [1])[1]
    assert both.empty
    assert not both.missed
    assert all(math.isnan(value) for value in surface_metrics(both, 1).values())
    for pair in ((nothing, something), (something, nothing)):
        one = surface_distances(*pair, [1])[1]
        assert one.missed
        assert not one.empty
        metrics = surface_metrics(one, 1)
        assert metrics.pop("NSD") == 0
        assert all(math.isnan(value) for value in metrics.values())


def test_ignored_pixels_make_no_surface():
    """A bar through an unknown middle: there both masks have no edge, and what the prediction does there is its own."""
    reference = np.zeros((7, 12), np.int64)
    reference[2:5] = 1
    reference[:, 4:8] = 9
    prediction = np.where(reference == 9, 0, reference)
    for label in (0, 1):
        prediction[:, 4:8] = label
        d = surface_distances(prediction, reference, [1], ignore=9)[1]
        assert d.to_reference.tolist() == d.to_prediction.tolist() == [0] * 18  # 16 on the long sides, 2 at the ends
    hidden = surface_distances(prediction, np.full_like(reference, 9), [1], ignore=9)[1]
    assert hidden.empty


def test_boolean_masks_and_labels_beyond_the_type():
    mask = np.eye(4, dtype=bool)
    found = surface_distances(mask, mask, [1, 300])
    assert hd(found[1]) == 0
    assert found[300].empty


def test_wrong_arguments():
    masks = np.zeros((3, 4), np.uint8)
    with pytest.raises(ValueError, match="shape"):
        surface_distances(masks, masks.T, [1])
    for spacing in ((1, 1, 1), (1, 0), (1, math.nan)):
        with pytest.raises(ValueError, match="spacing"):
            surface_distances(masks, masks, [1], spacing)
