"""Parts and depths are those of brute force."""

from __future__ import annotations

import numpy as np
import pytest

from maskmend.audit import parts
from maskmend.functional import doubt

rng = np.random.default_rng(0)


@pytest.mark.parametrize("share", [0.2, 0.001])
def test_the_nearest_is_found_however_far_it_is(share: float) -> None:
    mask, spacing = (rng.random((9, 40, 50)) < share).astype(np.int16) * 2, np.array([3.0, 0.5, 0.7])
    mask[4, 0, 0], at = 2, np.array([25, 9 * 40 * 50 - 1])
    there = np.argwhere(mask == 2) * spacing
    here = np.stack(np.unravel_index(at, mask.shape), -1) * spacing
    expected = np.linalg.norm(here[:, None] - there, axis=-1).min(1)
    assert parts.distances(at, mask, 2, spacing) == pytest.approx(expected, rel=1e-5)
    assert np.isinf(parts.distances(at, mask, 1, spacing)).all()


def test_how_deep_voxels_are_among_themselves() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0:5, 3:8] = True
    expected = np.minimum.outer([2, 4, 6, 4, 2], [1, 2, 3, 2, 1]).ravel()
    found = parts.inscribed(np.flatnonzero(mask), mask.shape, np.array([2.0, 1.0]))
    assert found == pytest.approx(expected)  # the array's end is an end of theirs


def test_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    key, which = np.array([5, 3, 5, 5, 9, 3, 9]), np.array([1, 1, 1, 1, 1, 1, 0], bool)
    assert [each.tolist() for each in parts.groups(key, which)] == [[1, 5], [0, 2, 3], [4]]
    monkeypatch.setattr(parts, "MANY", 2)
    assert [each.tolist() for each in parts.groups(key, which)] == [[1, 5], [0, 2, 3]]
    assert not [*parts.groups(key, which & False)]


def test_sizes_and_boxes() -> None:
    numbers = parts.components(np.array([[0, 1, 1, 2], [3, 0, 2, 2], [3, 3, 0, 1]]))
    assert sorted(parts.sizes(numbers).tolist()) == [0, 1, 2, 3, 3]
    assert parts.around(np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)) == (slice(1, 3), slice(1, 3))


def test_the_most_probable_class_is_the_first_of_equal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    prob = np.random.default_rng(0).integers(0, 3, (4, 7, 5, 6)).astype(np.float32)  # with many ties
    monkeypatch.setattr(doubt, "BLOCK", 60)
    np.testing.assert_array_equal(parts.mask_of(prob), prob.argmax(0))
