"""Schedules: pure functions of a number."""

from __future__ import annotations

import math


def ramp(at: float, start: float, stop: float) -> float:
    """0 before ``start``, 1 from ``stop`` on, linear between."""
    if at >= stop:
        return 1.0
    return max(at - start, 0.0) / (stop - start) if at > start else 0.0


def sigmoid_ramp(at: float, length: float) -> float:
    """exp(-5 (1 - at / length)^2) up to ``length``, 1 from there on: the mean teacher's consistency ramp.

    Laine & Aila, ICLR 2017.
    """
    return math.exp(-5 * (1 - min(at / length, 1.0)) ** 2) if length > 0 else 1.0
