"""How strong a noise must be to leave a given Dice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..errors import InputError
from ..progress import track
from .base import Kind

K = TypeVar("K", bound=Kind)
TOLERANCE = 0.01
"""How far from the target the Dice may end."""
ENOUGH = 0.002
"""Nearer than this is not searched for."""
TRIALS = 18


def strength(noise: Kind) -> dict[str, float]:
    """The parameters that make it strong, by name."""
    return {name: getattr(noise, name) for name in type(noise).strength}


def scaled(noise: K, factor: float) -> K:
    """The same noise, ``factor`` times as strong, or as strong as it can be."""
    kind, fields = type(noise), strength(noise)
    factor = min(factor, strongest(noise))
    whole = {name for name in fields if kind.model_fields[name].annotation is int}
    values = {name: round(value * factor) if name in whole else value * factor for name, value in fields.items()}
    return kind(**(noise.model_dump() | values))


def strongest(noise: Kind) -> float:
    """The largest factor that ``scaled`` may use."""
    limits = type(noise).strength
    return min(limits[name] / value for name, value in strength(noise).items() if value)


def reach(noise: K, target: float, left: Callable[[K], float]) -> K:
    """The noise, stronger or weaker, so that it leaves a Dice within ``TOLERANCE`` of ``target``: by bisection.

    ``left`` says what Dice a noise leaves. It should use the same randomness for each, so that stronger is worse. Where
    the target is out of reach, a warning says so, and what is nearest is taken.
    Raises InputError for a target outside (0, 1), and a noise without strength.
    """
    if not 0 < target < 1:
        raise InputError(f"the target Dice {target:g} is not between 0 and 1; choose one such as 0.7.")
    if not any(strength(noise).values()):
        named = " and ".join(strength(noise))
        cure = f"give {named} a value above 0" if named else "choose another noise, or no target"
        raise InputError(f"the noise '{noise.name}' has no strength to change for a target Dice; {cure}.")
    seen: dict[K, float] = {}
    weak, strong, factor, limit = 0.0, 0.0, 1.0, strongest(noise)
    for _ in track(range(TRIALS), "Searching the strength"):
        trial = scaled(noise, factor)
        seen[trial] = seen[trial] if trial in seen else left(trial)
        if abs(seen[trial] - target) <= ENOUGH or (factor == limit and seen[trial] > target):
            break
        weak, strong = (factor, strong) if seen[trial] > target else (weak, factor)
        factor = (weak + strong) / 2 if strong else min(2 * weak, limit)
    if min(abs(dice - target) for dice in seen.values()) > TOLERANCE:
        seen |= {end: left(end) for end in (scaled(noise, 0), scaled(noise, limit)) if end not in seen}
        _tell(noise, target, seen)
    return _nearest(seen, target)


def _nearest(seen: Mapping[K, float], target: float) -> K:
    return min(seen, key=lambda trial: abs(seen[trial] - target))


def _tell(noise: K, target: float, seen: Mapping[K, float]) -> None:
    ends = sorted(seen, key=lambda trial: seen[trial])
    low, high, near = (f"{seen[end]:.3f} ({words(end)})" for end in (ends[0], ends[-1], _nearest(seen, target)))
    warnings.warn(
        f"the noise '{noise.name}' leaves a Dice from {low} to {high} on these labels, and none nearer to {target:g} "
        f"than {near}, which is taken.",
        stacklevel=3,
    )


def words(noise: Kind) -> str:
    """Its strength as one would write it: "low=2.5 high=4"."""
    return " ".join(f"{name}={value:g}" for name, value in strength(noise).items())
