"""Edges: drawn discs in noise, whose masks are right, all too wide, all too tight, or wrong in different ways."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.audit.edges import Profile, off, profiles, shared
from maskmend.functional.edges import FEWEST, SHELLS, lost, profile, sharpness, thickness, verdict
from maskmend.types import IGNORE

LABELS = {"background": 0, "disc": 1}


def ball(shape: tuple[int, ...], radius: float, spacing_mm: tuple[float, ...]) -> NDArray[np.int64]:
    grid = np.meshgrid(*[(np.arange(n) - n // 2) * s for n, s in zip(shape, spacing_mm, strict=True)], indexing="ij")
    return np.where(np.sum(np.square(grid), axis=0) < radius**2, 1, 0)


def cases(
    offsets_mm: list[float],
    shape: tuple[int, ...] = (96, 96),
    contrast: float = 2.0,
    radius: float = 22,
    spacing_mm: tuple[float, ...] | None = None,
) -> list[dict[int, Profile]]:
    """Balls of about this radius in noise, given too wide by so much."""
    found, rng = [], np.random.default_rng(0)
    spacing_mm = spacing_mm or (1.0,) * len(shape)
    for place, offset in enumerate(offsets_mm):
        own = radius + place % 3
        image = rng.normal(size=(1, *shape)) + contrast * ball(shape, own, spacing_mm)
        found.append(profiles(image, ball(shape, own + offset, spacing_mm), [1], spacing_mm))
    return found


@pytest.mark.parametrize("offset", [-6, -4, 4, 8])
def test_all_masks_off_by_as_much_are_told_by_how_much(offset: float) -> None:
    found = shared(cases([offset] * 12), LABELS)["disc"]
    assert found.mm == pytest.approx(offset, abs=1)
    assert found.sure > 0.9


def test_in_mm_of_anisotropic_volumes() -> None:
    found = shared(cases([6] * FEWEST, (24, 48, 48), radius=15, spacing_mm=(2.0, 1.0, 1.0)), LABELS)["disc"]
    assert found.mm == pytest.approx(6, abs=1.5)


@pytest.mark.parametrize(
    "found",
    [
        cases([0] * 12),
        cases([1] * 12),
        cases([6, -6] * 6),
        cases([6] * 12, contrast=0),
        cases([6] * (FEWEST - 1)),
        cases([0] * 12, radius=2),
    ],
    ids=["right", "a pixel", "both sides", "no contrast", "few cases", "tiny"],
)
def test_else_nothing_is_said_of_all(found: list[dict[int, Profile]]) -> None:
    assert shared(found, LABELS) == {}


@pytest.mark.parametrize("wrong", [[6, 8, 7], [-6, -8, -7], [6, -7, 8, -6], [6, 7, 8, 9] * 5])
def test_each_mask_that_is_off_is_told_where_others_are_right_however_few(wrong: list[float]) -> None:
    found = cases([*wrong, *[0.0] * 10, 1, -1])
    told = off({str(place): each for place, each in enumerate(found)}, LABELS)
    assert {int(case): round(each[1]) for case, each in told.items()} == pytest.approx(dict(enumerate(wrong)), abs=1)


@pytest.mark.parametrize(
    "found",
    [
        cases([0] * 12),
        cases([0] * 9 + [6] * 3, contrast=0.0),
        cases([6, 0]),
        cases([-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8] * 2),
        cases([6] * 12),
    ],
    ids=["all right", "no contrast", "two cases", "drawn anyhow", "all off alike: said of all"],
)
def test_of_single_masks_nothing_is_said_where_edges_cannot_be_trusted(found: list[dict[int, Profile]]) -> None:
    assert off({str(place): each for place, each in enumerate(found)}, LABELS) == {}


def test_what_a_ball_loses_whose_boundary_is_off() -> None:
    for dims, volume, unit in ((2, np.pi * 100, 2), (3, 4 / 3 * np.pi * 1000, 3)):
        inner, outer = 8.0**unit, 10.0**unit
        assert lost(2, volume, dims) == pytest.approx(1 - 2 * inner / (inner + outer))
        assert lost(-2, volume, dims) == pytest.approx(1 - 2 * outer / (outer + 12.0**unit))
        assert lost(0, volume, dims) == 0
        assert lost(99, volume, dims) == 1


def test_masks_are_sharpest_at_the_edge() -> None:
    sharp = {offset: sharpness([each[1].changes for each in cases([offset] * 12)]) for offset in (-4, -2, 0, 2, 4)}
    assert max(sharp, key=sharp.__getitem__) == 0
    assert sharp[0] > 2 * max(sharp[-4], sharp[4])


def test_shells_are_a_pixel_thick_unless_objects_are_large() -> None:
    assert thickness(np.pi * 20**2, 2, 1.0) == 1.0
    assert thickness(np.pi * 200**2, 2, 1.0) == pytest.approx(4.0)
    assert thickness(4 / 3 * np.pi * 100**3, 3, 0.5) == pytest.approx(2.0)


def test_the_change_at_the_boundary_is_that_of_two_shells() -> None:
    """A bright square on nothing: all of the change lies at the boundary."""
    label = np.zeros((40, 40), np.int64)
    label[10:30, 10:30] = 1
    found = profile(3.0 * label[None], label, 1, (1.0, 1.0), 1.0)
    assert found.shape == (1, 2 * SHELLS - 1)
    middle = found[0, SHELLS - 1]
    assert middle < -1, "from inside out it gets darker"
    np.testing.assert_allclose(
        np.delete(found[0], SHELLS - 1)[np.isfinite(np.delete(found[0], SHELLS - 1))], 0, atol=1e-9
    )


def test_each_class_is_looked_at_in_its_part_of_the_image() -> None:
    """And nothing is lost by that: large and small ones, at the border, and one that is not there."""
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(2, 12, 90, 70)), np.zeros((12, 90, 70), np.int16)
    label[:, 5:60, 5:40], label[3:9, 80:, 60:], label[1, 2:4, 2:4], label[:, :, 68:] = 1, 2, 4, IGNORE
    spacing_mm = (3.0, 1.0, 0.5)
    found = profiles(image, label, [1, 2, 3, 4], spacing_mm)
    assert found.keys() == {1, 2, 4}
    for k, each in found.items():
        assert each.volume == (label == k).sum() * 1.5
        np.testing.assert_array_equal(each.changes, profile(image, label, k, spacing_mm, each.step_mm))


def test_what_nobody_annotated_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    label, image = ball((64, 64), 15, (1.0, 1.0)), rng.normal(size=(2, 64, 64))
    label[:, 40:] = IGNORE
    other = image.copy()
    other[..., 40:] = 1e3
    found, again = (profile(each, label, 1, (1.0, 1.0), 1.0) for each in (image, other))
    np.testing.assert_array_equal(found, again)


def test_a_class_that_a_case_lacks_and_one_that_fills_it() -> None:
    for label in (np.zeros((8, 8), int), np.ones((8, 8), int)):
        assert np.isnan(profile(np.zeros((1, 8, 8)), label, 1, (1.0, 1.0), 1.0)).all()
    nothing = [np.full((1, 2 * SHELLS - 1), np.nan)] * 10
    assert verdict(nothing, 1.0) is None
