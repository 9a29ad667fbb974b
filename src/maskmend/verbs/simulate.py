"""``maskmend simulate``: a copy of a data set whose training masks are wrong on purpose."""

from __future__ import annotations

from ..runs.simulate import SimulatedCase, SimulationSummary, simulate

__all__ = ["SimulatedCase", "SimulationSummary", "simulate"]
