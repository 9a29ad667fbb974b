"""Simulated label noise on plain numpy masks, 2D and 3D, any number of classes. One file, one noise.

>>> noise = make("markov", {"steps": 200, "preference": 0.8})
>>> worse = corrupt(label, noise, np.random.default_rng(0))
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ..errors import InputError
from ..types import IGNORE
from .base import Noise, Random

__all__ = ["NOISES", "Noise", "Random", "corrupt", "find", "make"]


def _registered() -> dict[str, type[Noise]]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.name: kind for kind in kinds if issubclass(kind, Noise) and kind is not Noise}


NOISES: dict[str, type[Noise]] = _registered()
"""Every noise of this folder, by name."""


def find(name: str) -> type[Noise]:
    """The noise called ``name``. Raises InputError with the nearest name there is."""
    if name not in NOISES:
        raise InputError(f"there is no noise called '{name}'; {_instead(name, list(NOISES))}")
    return NOISES[name]


def make(name: str, parameters: Mapping[str, Any] | None = None) -> Noise:
    """The noise called ``name``, with ``parameters`` over its defaults. Raises InputError that says what is wrong."""
    kind = find(name)
    try:
        return kind(**(parameters or {}))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            cure = _instead(key, list(kind.model_fields))
            raise InputError(f"the noise '{name}' has no parameter '{key}'; {cure}") from None
        what = f"{key}={first['input']!r}" if key else "these parameters"
        why = first["msg"].removeprefix("Value error, ")
        raise InputError(f"the noise '{name}' cannot be made with {what}: {why}.") from None


def _instead(wrong: str, valid: list[str]) -> str:
    near = get_close_matches(wrong, valid, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there is {', '.join(valid)}."


def corrupt(
    label: NDArray[Any], noise: Noise, rng: Random, spacing_mm: tuple[float, ...] | None = None
) -> NDArray[Any]:
    """A corrupted copy of ``label``, integer (*S), 0 for background and ``IGNORE`` where nobody annotated;
    ``spacing_mm`` in array order.

    The mask of each class that is there is corrupted by itself, with draws of its own, classes in increasing order.
    They are then painted in that order: a pixel that two classes claim goes to the higher one (the lesion stays on top
    of the organ), a pixel that none claims to the background. What nobody annotated stays so.
    """
    worse = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        worse[noise(label == value, rng, spacing_mm)] = value
    nobody = label == IGNORE
    worse[nobody] = label[nobody]
    return worse
