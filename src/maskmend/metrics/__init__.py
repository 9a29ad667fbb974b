"""How well label maps agree: plain numpy in, plain numbers out."""

from __future__ import annotations

from .overlap import Counts, dice, jaccard, overlap
from .summary import CaseResult, Summary, mean_sd

__all__ = ["CaseResult", "Counts", "Summary", "dice", "jaccard", "mean_sd", "overlap"]
