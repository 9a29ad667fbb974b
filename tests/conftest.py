"""What every test may use. Tests that need reference arrays or real images skip where those are missing."""

from __future__ import annotations

import locale
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

EVIDENCE = Path(os.environ.get("MASKMEND_EVIDENCE", Path(__file__).parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that workers end together: those of the whole system, as they are ordered among them."""
    items.sort(key=lambda item: "system" not in item.path.parts)


@pytest.fixture(autouse=True)
def _quiet_and_repeatable() -> None:
    torch.manual_seed(0)


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Arrays computed by the authors' own functions, by file name without ending."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = EVIDENCE / "golden" / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"reference arrays {path.name} are not here (set MASKMEND_EVIDENCE)")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def real_data() -> Path:
    """The folder of real images."""
    path = EVIDENCE / "data"
    if not path.exists():
        pytest.skip("real images are not here (set MASKMEND_EVIDENCE)")
    return path


@pytest.fixture(autouse=True)
def same_locale() -> Iterator[None]:
    """A library that sets the locale of the whole process does not reach the next test."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
