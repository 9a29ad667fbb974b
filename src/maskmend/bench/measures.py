"""What is measured of a prediction: the metrics that the papers' tables show, and how to read each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from .statistics import Interval, Spread

NSD_TOLERANCE = 1.0
"""Of the normalised surface distance, in mm or pixels."""


@dataclass(frozen=True)
class Measure:
    """A metric of one class in one case, and how tables show it.

    ``share``: in [0, 1] and shown in percent; else a distance. ``least_gap``: what wrong masks must cost, in its own
    unit, for a share of that to be more than noise. ``reported``: what papers call it.
    """

    name: str
    better: Literal["higher", "lower"]
    share: bool
    least_gap: float
    reported: str
    means: str

    @property
    def sign(self) -> int:
        """What turns it into higher is better."""
        return 1 if self.better == "higher" else -1

    @property
    def scale(self) -> float:
        """From what is stored to what is shown."""
        return 100.0 if self.share else 1.0

    def number(self, value: float) -> str:
        """As tables show it; a dash where there is none."""
        return "–" if math.isnan(value) else f"{self.scale * value:.2f}"

    def spread(self, spread: Spread) -> str:
        """mean ± sd."""
        if math.isnan(spread.mean):
            return ""
        return self.number(spread.mean) + ("" if math.isnan(spread.sd) else f" ± {self.number(spread.sd)}")

    def ends(self, interval: Interval) -> str:
        """[low, high]."""
        return "" if math.isnan(interval.low) else f"[{self.number(interval.low)}, {self.number(interval.high)}]"

    def signed(self, difference: Interval) -> str:
        """+estimate [+low, +high]."""
        if math.isnan(difference.estimate):
            return ""
        estimate, low, high = (self.scale * x for x in (difference.estimate, difference.low, difference.high))
        return f"{estimate:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


def _distance(name: str, reported: str, means: str) -> Measure:
    return Measure(name, "lower", False, 0.5, reported, f"{means}, lower is better; cases without a surface left out")


DICE = Measure("Dice", "higher", True, 0.01, "Dice", "in percent")
MEASURES = {
    measure.name: measure
    for measure in (
        DICE,
        Measure("Jaccard", "higher", True, 0.01, "Jaccard", "in percent"),
        _distance("HD95", "95HD", "the larger of the two directed 95th percentiles of surface distances"),
        _distance("HD95_pooled", "95HD", "the 95th percentile of both directions together, as MedPy has it"),
        _distance("HD", "HD", "the largest surface distance"),
        _distance("ASD", "ASD", "the mean distance from the predicted surface to the true one, as MedPy has it"),
        _distance("ASSD", "ASSD", "the mean of both directions together"),
        Measure("NSD", "higher", True, 0.01, "NSD", f"share of surfaces within {NSD_TOLERANCE:g}, in percent"),
    )
}
SURFACE = MEASURES.keys() - {"Dice", "Jaccard"}


def measured(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    labels: Mapping[str, int],
    names: Sequence[str],
    spacing_mm: Sequence[float] | None,
) -> Iterator[tuple[str, str, float]]:
    """(class, metric, value) for each of the foreground ``labels`` and metrics ``names``; maps are integer (*S).

    Distances are in mm where there is a spacing, else in pixels. NaN where nothing can be said.
    """
    from ..metrics import dice, jaccard, overlap, surface_distances, surface_metrics  # tables need no torch

    values = list(labels.values())
    counts = overlap(prediction, reference, values)
    apart = surface_distances(prediction, reference, values, spacing_mm) if SURFACE & set(names) else {}
    for class_name, value in labels.items():
        found = {"Dice": dice(counts[value]), "Jaccard": jaccard(counts[value])}
        found |= surface_metrics(apart[value], NSD_TOLERANCE) if apart else {}
        for name in names:
            yield class_name, name, found[name]
