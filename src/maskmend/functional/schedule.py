"""Schedules: pure functions of a number."""

from __future__ import annotations


def ramp(at: float, start: float, stop: float) -> float:
    """0 before ``start``, 1 from ``stop`` on, linear between."""
    if at >= stop:
        return 1.0
    return max(at - start, 0.0) / (stop - start)
