"""How well label maps agree: plain numpy in, plain numbers out."""

from __future__ import annotations

from .overlap import Counts, dice, jaccard, overlap
from .summary import CaseResult, Scale, Summary, Unit, mean_sd
from .surface import Distances, asd, assd, hd, hd95, hd95_pooled, nsd, surface_distances, surface_metrics

__all__ = [
    "CaseResult",
    "Counts",
    "Distances",
    "Scale",
    "Summary",
    "Unit",
    "asd",
    "assd",
    "dice",
    "hd",
    "hd95",
    "hd95_pooled",
    "jaccard",
    "mean_sd",
    "nsd",
    "overlap",
    "surface_distances",
    "surface_metrics",
]
