"""Edges: drawn discs in noise, whose masks are right, all too wide, all too tight, or wrong in different ways."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmend.audit.edges import Profiles
from maskmend.functional.edges import FEWEST, SHELLS, profile, verdict
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
) -> Profiles:
    """Balls of about this radius in noise, given too wide by so much."""
    found, rng = Profiles(LABELS), np.random.default_rng(0)
    spacing_mm = spacing_mm or (1.0,) * len(shape)
    for place, offset in enumerate(offsets_mm):
        own = radius + place % 3
        image = rng.normal(size=(1, *shape)) + contrast * ball(shape, own, spacing_mm)
        found.add(image, ball(shape, own + offset, spacing_mm), spacing_mm)
    return found


@pytest.mark.parametrize("offset", [-6, -4, 4, 8])
def test_all_masks_off_by_as_much_are_told_by_how_much(offset: float) -> None:
    found = cases([offset] * 12).verdicts()["disc"]
    assert found.mm == pytest.approx(offset, abs=1)
    assert found.sure > 0.9


def test_in_mm_of_anisotropic_volumes() -> None:
    found = cases([6] * FEWEST, (24, 48, 48), radius=15, spacing_mm=(2.0, 1.0, 1.0)).verdicts()["disc"]
    assert found.mm == pytest.approx(6, abs=1.5)


@pytest.mark.parametrize(
    "profiles",
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
def test_else_nothing_is_said(profiles: Profiles) -> None:
    assert profiles.verdicts() == {}


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
