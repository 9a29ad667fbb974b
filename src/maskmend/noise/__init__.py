"""Simulated label noise on plain numpy masks, 2D and 3D, any number of classes. One file, one noise.

>>> noise = make("markov", {"steps": 200, "preference": 0.8})
>>> worse = corrupt(label, noise, np.random.default_rng(0))

Or in two steps, to know what was done: ``done = draw(label, noise, rng)``, then ``apply(label, noise, done)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ..errors import InputError
from ..types import IGNORE
from .base import Draw, Kind, Noise, Random, Spacing

__all__ = ["NOISES", "Draw", "Kind", "Noise", "Random", "apply", "build", "corrupt", "draw", "find", "make"]

K = TypeVar("K", bound=Kind)


def _registered() -> dict[str, type[Noise]]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.name: kind for kind in kinds if issubclass(kind, Noise) and kind is not Noise}


NOISES: dict[str, type[Noise]] = _registered()
"""Every noise of this folder, by name."""


def find(name: str, kinds: Mapping[str, type[K]]) -> type[K]:
    """The one of ``kinds`` called ``name``. Raises InputError with the nearest name there is."""
    if name not in kinds:
        raise InputError(f"there is no noise called '{name}'; {_instead(name, list(kinds))}")
    return kinds[name]


def build(kind: type[K], parameters: Mapping[str, Any] | None = None) -> K:
    """A noise with ``parameters`` over its defaults. Raises InputError that says which of them is wrong."""
    try:
        return kind(**(parameters or {}))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            cure = _instead(key, list(kind.model_fields))
            raise InputError(f"the noise '{kind.name}' has no parameter '{key}'; {cure}") from None
        what = f"{key}={first['input']!r}" if key else "these parameters"
        why = first["msg"].removeprefix("Value error, ")
        raise InputError(f"the noise '{kind.name}' cannot be made with {what}: {why}.") from None


def make(name: str, parameters: Mapping[str, Any] | None = None) -> Noise:
    """The noise called ``name``, with ``parameters`` over its defaults. Raises InputError that says what is wrong."""
    return build(find(name, NOISES), parameters)


def _instead(wrong: str, valid: list[str]) -> str:
    near = get_close_matches(wrong, valid, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there is {', '.join(valid)}."


def draw(label: NDArray[Any], noise: Noise, rng: Random, spacing_mm: Spacing = None) -> dict[int, Draw]:
    """What is to be done to each class that is in ``label``, integer (*S), by its value, in increasing order."""
    return {int(value): noise.draw(label == value, rng, spacing_mm) for value in np.unique(label[label > 0])}


def apply(label: NDArray[Any], noise: Noise, draws: Mapping[int, Draw], spacing_mm: Spacing = None) -> NDArray[Any]:
    """A copy of ``label``, integer (*S), with the mask of each class corrupted by itself, as ``draw`` decided.

    The masks are painted in the order of ``draws``: a pixel that two classes claim goes to the higher one (the lesion
    stays on top of the organ), a pixel that none claims to the background. What nobody annotated stays so.
    """
    worse = np.zeros_like(label)
    for value, drawn in draws.items():
        worse[noise.apply(label == value, drawn, spacing_mm)] = value
    nobody = label == IGNORE
    worse[nobody] = label[nobody]
    return worse


def corrupt(label: NDArray[Any], noise: Noise, rng: Random, spacing_mm: Spacing = None) -> NDArray[Any]:
    """A corrupted copy of ``label``, integer (*S), 0 for background and ``IGNORE`` where nobody annotated;
    ``spacing_mm`` in array order. Draws, and applies what was drawn."""
    return apply(label, noise, draw(label, noise, rng, spacing_mm), spacing_mm)
