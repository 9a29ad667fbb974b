"""Drawn shapes of each kind become exactly one finding of that kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.audit import store
from maskmend.audit.findings import Words, by_model, differences
from maskmend.types import IGNORE

LABELS = {"background": 0, "liver": 1, "spleen": 2, "tumour": 3}
GRIDS = {"2d": ((60, 60), (1.0, 1.0)), "3d": ((60, 60, 60), (1.0, 1.0, 1.0)), "slices": ((14, 60, 60), (5.0, 0.8, 0.8))}
Label = NDArray[Any]


def ball(grid: str, radius_mm: float, centre: Sequence[float] | None = None) -> NDArray[np.bool_]:
    shape, spacing = GRIDS[grid]
    centre = centre or [n / 2 * step for n, step in zip(shape, spacing, strict=True)]
    axes = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    return np.asarray(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) <= radius_mm**2)


def drawn(*masks: NDArray[np.bool_]) -> Label:
    """Each mask its class, over those before."""
    label = np.zeros(masks[0].shape, np.int16)
    for value, mask in enumerate(masks, 1):
        label[mask] = value
    return label


def sure(label: Label, certainty: float = 0.9) -> NDArray[np.float32]:
    """Probabilities (4, *S) of a judge that draws ``label``."""
    prob = np.full((4, *label.shape), (1 - certainty) / 3, np.float32)
    np.put_along_axis(prob, label[None].astype(np.int64), certainty, 0)
    return prob


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("kind", "given_mm", "true_mm"), [("too_wide", 17, 12), ("too_tight", 12, 17)])
def test_a_line_at_the_wrong_place(grid: str, kind: str, given_mm: float, true_mm: float) -> None:
    given, truth = drawn(ball(grid, given_mm)), drawn(ball(grid, true_mm))
    spacing = GRIDS[grid][1]
    (found,) = by_model(given, sure(truth), LABELS, spacing)
    assert (found.kind, found.class_, found.other) == (kind, 1, None)
    assert found.value == (0 if kind == "too_wide" else 1)
    assert found.depth_mm == pytest.approx(5, abs=max(spacing) / 2)
    assert found.confidence == pytest.approx(0.9 - 0.1 / 3, abs=1e-5)
    assert found.voxels.size > 0.7 * (given != truth).sum()
    assert f"by up to {found.depth_mm:.1f} mm" in found.text


@pytest.mark.parametrize("grid", GRIDS)
def test_a_part_that_one_of_them_lacks(grid: str) -> None:
    shape, spacing = GRIDS[grid]
    elsewhere = [
        n * step * (0.5 if axis < len(shape) - 1 else 0.12)
        for axis, (n, step) in enumerate(zip(shape, spacing, strict=True))
    ]
    both, part = ball(grid, 10), ball(grid, 4, elsewhere)
    for given, truth, kind, value in (
        (drawn(both), drawn(both | part), "missing", 1),
        (drawn(both | part), drawn(both), "spurious", 0),
    ):
        (found,) = by_model(given, sure(truth), LABELS, spacing)
        assert (found.kind, found.class_, found.value) == (kind, 1, value)
        assert found.voxels.tolist() == np.flatnonzero(part & ~both).tolist()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_part_of_another_name(grid: str) -> None:
    ones, other = ball(grid, 13), ball(grid, 12)
    given, truth = drawn(ones), drawn(other & ~other, other)
    (found,) = by_model(given, sure(truth), LABELS, GRIDS[grid][1])
    assert (found.kind, found.class_, found.other, found.value) == ("swap", 1, 2, 2)
    assert found.voxels.tolist() == np.flatnonzero(ones & other).tolist()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_rim_of_one_voxel_is_no_finding(grid: str) -> None:
    from scipy.ndimage import binary_dilation

    narrow = ball(grid, 12)
    wide = binary_dilation(narrow, np.ones([3] * narrow.ndim))
    assert not by_model(drawn(wide), sure(drawn(narrow)), LABELS, GRIDS[grid][1])
    assert not by_model(drawn(narrow), sure(drawn(wide)), LABELS, GRIDS[grid][1])


def test_many_classes_at_once() -> None:
    liver, spleen, tumour = ball("3d", 15, (30, 30, 20)), ball("3d", 8, (30, 30, 47)), ball("3d", 5, (30, 30, 15))
    truth = drawn(liver, spleen, tumour)
    given = drawn(ball("3d", 11, (30, 30, 20)), ball("3d", 12, (30, 30, 47)))
    found = by_model(given, sure(truth), LABELS, (1, 1, 1))
    assert sorted((f.kind, f.class_) for f in found) == [("missing", 3), ("too_tight", 1), ("too_wide", 2)]
    voxels = np.concatenate([f.voxels for f in found])
    assert len(np.unique(voxels)) == len(voxels)
    assert all((truth.flat[f.voxels] == f.value).all() for f in found)


def test_a_line_between_two_classes() -> None:
    given, truth = np.ones((40, 40), np.int16), np.ones((40, 40), np.int16)
    given[:, 26:], truth[:, 20:] = 2, 2
    (found,) = by_model(given, sure(truth), LABELS, (1, 1))
    assert (found.kind, found.class_, found.other, found.value) == ("too_wide", 1, 2, 2)
    assert found.depth_mm == 6
    assert "at the cost of spleen" in found.text


def test_a_long_rim_is_cut_where_it_is_thin() -> None:
    truth, given = np.zeros((30, 80), np.int16), np.zeros((30, 80), np.int16)
    truth[:10], given[:11] = 1, 1
    given[:15, 5:20] = given[:13, 50:70] = 1
    found = by_model(given, sure(truth), LABELS, (1, 1))
    assert [(f.kind, f.depth_mm) for f in found] == [("too_wide", 5), ("too_wide", 3)]
    assert found[0].voxels.size == 5 * 15 + 2 * 2  # two more at each end
    assert len(by_model(given, sure(truth), LABELS, (1, 1), tolerance_mm=3)) == 1
    assert not by_model(given, sure(truth), LABELS, (1, 1), tolerance_mm=5)


def test_what_is_small_beside_its_class_is_no_finding() -> None:
    truth = np.zeros((400, 400), np.int16)
    truth[:300] = 1
    for width, found in ((50, 0), (150, 1)):  # 300 pixels are 0.0025 of it, 900 are 0.0075
        given = truth.copy()
        given[300:306, :width] = 1
        assert len(by_model(given, sure(truth), LABELS, (1, 1))) == found


def test_nothing_is_found_where_nobody_annotated() -> None:
    given, truth = drawn(ball("2d", 17)), drawn(ball("2d", 12))
    given[:, 30:] = IGNORE
    (found,) = by_model(given, sure(truth), LABELS, (1, 1))
    assert found.kind == "too_wide"
    assert (given.flat[found.voxels] == 1).all()
    assert [f.voxels.tolist() for f in differences(given, np.where(given < 0, IGNORE, truth), LABELS, (1, 1))] == [
        found.voxels.tolist()
    ]
    given[:] = IGNORE
    assert not by_model(given, sure(truth), LABELS, (1, 1))


def test_the_surest_and_largest_come_first_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    given, truth = np.zeros((2, 40, 40), np.int16)
    truth[2:8, 2:8] = truth[20:24, 20:24] = 1
    prob = sure(truth)
    assert [f.voxels.size for f in by_model(given, prob, LABELS, (1, 1))] == [36, 16]
    monkeypatch.setattr(store, "MOST", 1)
    assert [f.voxels.size for f in by_model(given, prob, LABELS, (1, 1))] == [36]


def test_a_picture_has_pixels() -> None:
    given, truth = drawn(ball("2d", 17)), drawn(ball("2d", 12))
    (found,) = differences(given, truth, LABELS, (1, 1), known=False)
    assert found.text == f"liver is drawn too wide here, by up to {found.depth_mm:.1f} px ({found.voxels.size} pixels)."
    assert not differences(given, given, LABELS, (1, 1))


def test_sentences() -> None:
    words = Words({1: "left lung", 2: "2"}, (5.0, 1.0, 1.0))
    assert words.of("missing", 1, None, 4.0, 160) == "left lung seems to be missing here (0.8 ml)."
    assert words.of("spurious", 1, None, 4.0, 1) == "left lung is drawn where there seems to be none (0.005 ml)."
    assert words.of("swap", 1, 2, 4.0, 200000) == "left lung is drawn where there seems to be class 2 (1000 ml)."
    wide = words.of("too_wide", 2, 1, 3.21, 160)
    assert wide == "class 2 is drawn too wide here at the cost of left lung, by up to 3.2 mm (0.8 ml)."
    assert Words({}, (1.0, 1.0)).size(12345) == "12345 mm²"
    assert Words({}, (1.0, 1.0, 1.0), known=False).size(12345) == "12345 voxels"
