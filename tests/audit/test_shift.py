"""Masks that were moved are said to be shifted, by how much and where to; those that are otherwise wrong are not."""

from __future__ import annotations

import numpy as np
import pytest

from maskmend.audit.findings import by_model
from maskmend.audit.shift import shift

LABELS = {"background": 0, "lung": 1}


def disc(row: float = 32, column: float = 32, radius: float = 14, deep: bool = False) -> np.ndarray:
    rows, columns = np.ogrid[:64, :64]
    flat = ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).astype(np.int16)
    return np.stack([flat] * 5) if deep else flat


def told(given: np.ndarray, true: np.ndarray, spacing_mm: tuple[float, ...], known: bool) -> list[str]:
    prob = np.stack([np.where(true == k, 0.9, 0.1) for k in (0, 1)]).astype(np.float32)
    return [each.text for each in by_model(given, prob, LABELS, spacing_mm, 0.0, known)]


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        (32, 38, "6.0 px to the right"), (27, 32, "5.0 px up"), (36, 29, "5.0 px down and to the left"),
        (33, 38, "6.1 px to the right"),
    ],
)  # fmt: skip
def test_where_a_moved_mask_lies_is_said_once(row: int, column: int, said: str) -> None:
    texts = told(disc(row, column), disc(), (1, 1), known=False)
    assert len(texts) >= 2
    assert texts[0].endswith(f"As a whole it looks shifted by about {said}.")
    assert "shifted" not in " ".join(texts[1:])


def test_in_mm_and_in_3d_without_a_direction() -> None:
    texts = told(disc(32, 37, deep=True), disc(deep=True), (3, 1, 2), known=True)
    assert texts[0].endswith("As a whole it looks shifted by about 10.0 mm.")


@pytest.mark.parametrize("given", [disc(radius=17), disc(radius=10), disc(30, 30, 18), disc() * (np.arange(64) < 40)])
def test_what_is_otherwise_wrong_is_not_shifted(given: np.ndarray) -> None:
    assert "shifted" not in " ".join(told(given, disc(), (1, 1), known=False))


def test_the_step_is_that_of_the_centroids() -> None:
    found = shift(disc(29, 35) > 0, disc() > 0)
    assert found is not None
    assert found.tolist() == pytest.approx([-3, 3])
