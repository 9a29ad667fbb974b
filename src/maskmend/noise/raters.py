"""Labels as several people drew them: the real noise of LIDC, one rater's label for each case (GSD-Net, MedIA 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from .base import Kind, Random, T, pick


class RandomRater(Kind):
    """Takes, for each case, the label that one of its raters drew, all classes of it.

    Unlike the other noises it makes nothing up: it needs the raters' labels, and leaves the Dice they have.
    """

    name: ClassVar[str] = "random_rater"
    source: ClassVar[str] = "GSD-Net, MedIA 2026, Table 6: LIDC, annotator 'Sample'"

    raters: Path | None = Field(
        None, description="folder with RATER/CASE.ending for each rater; by default the data set's labelsTr_raters"
    )
    turn: Literal["random", "cycle"] = Field(
        "random", description="who is next: anyone (the paper), or the raters in turn, case after case (released code)"
    )
    only: str | None = Field(None, description="always this rater, a folder's name (GSD-Net, Table 6: each by itself)")

    def choose(self, labels: Sequence[T], place: int, rng: Random) -> T:
        """One of a case's ``labels``, raters in order of their names; ``place`` is the case's among all. One uniform if
        it is chance's turn."""
        return pick(labels, rng.random()) if self.turn == "random" else labels[place % len(labels)]
