"""Masks, and chance that says what it is told, for the tests of the noises."""

from __future__ import annotations

import numpy as np
from hypothesis.extra.numpy import array_shapes, arrays

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9))


def disk(radius, side=256, centre=None):
    """In 3D with a centre of three."""
    centre = centre or (side / 2, side / 2)
    places = np.meshgrid(*[np.arange(side) - middle for middle in centre], indexing="ij", sparse=True)
    return sum(place**2 for place in places) < radius**2


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def mean_dice(noise, mask, times):
    return np.mean([dice(noise(mask, np.random.default_rng(seed)), mask) for seed in range(times)])


class Scripted:
    """Chance that says what it is told."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self, size=None):
        return self.values.pop(0)
