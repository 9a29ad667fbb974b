"""Every case wrong in its own way: one of several noises for each."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ..errors import InputError
from ..types import Config
from .base import Kind, Noise, Random, pick


class Way(Config):
    """One of the ways of being wrong."""

    noise: str = Field(description="a noise by its name")
    parameters: dict[str, Any] = Field({}, description="other than its defaults")


class Mixture(Kind):
    """Draws one of ``ways`` for each case, each as likely as the other, and spoils all its classes in that way.

    A way that stands there twice is drawn twice as often. It has no strength of its own to bring to a target Dice.
    """

    name: ClassVar[str] = "mixture"
    source: ClassVar[str] = "MaskMend's own: annotators err in more ways than one"

    ways: tuple[Way, ...] = Field(
        (Way(noise="dilate_erode"), Way(noise="affine"), Way(noise="missing")),
        min_length=1,
        description="noises, each with its parameters (ours to choose)",
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        self.noises()
        return self

    def noises(self) -> list[Noise]:
        """The noise of each way. Raises InputError that says which of them is wrong."""
        from . import make

        found = []
        for place, way in enumerate(self.ways):
            try:
                found.append(make(way.noise, way.parameters))
            except InputError as error:
                raise InputError(f"ways[{place}] of the noise 'mixture': {error}") from None
        return found

    def choose(self, rng: Random) -> Noise:
        """The noise of a case: one uniform."""
        return pick(self.noises(), rng.random())
