"""How intensities are normalised: nnU-Net's choice by a channel's name, and the statistics that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from ..errors import InputError
from ..types import Config
from .cache import Cache
from .dataset import Case, Dataset
from .survey import AT_ONCE, intensities
from .threads import in_threads

MOST = 10_000_000
"""Intensities that statistics are taken of, in all."""
Scheme = Literal["zscore", "ct", "rgb_to_0_1", "none"]
Asked = Scheme | Literal["auto"]


class Normalisation(Config):
    """Of one channel. ``low`` .. ``sd`` are the foreground statistics of the training cases, for "ct" only."""

    scheme: Scheme
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    sd: float = Field(1.0, gt=0)


def schemes_of(dataset: Dataset, asked: Asked) -> tuple[Scheme, ...]:
    """How each channel is normalised."""
    return tuple(_scheme(name, asked) for name in dataset.channel_names)


def _scheme(channel: str, asked: str) -> Scheme:
    """nnU-Net's choice by the channel's name, unless one is asked for."""
    by_name: dict[str, Scheme] = {"ct": "ct", "nonorm": "none", "rgb_to_0_1": "rgb_to_0_1"}
    forced: dict[str, Scheme] = {"zscore": "zscore", "ct": "ct", "rgb_to_0_1": "rgb_to_0_1", "none": "none"}
    return forced[asked] if asked in forced else by_name.get(channel.lower(), "zscore")


def statistics(
    schemes: Sequence[Scheme], dataset: Dataset, cases: Sequence[Case], cache: Cache | None
) -> tuple[Normalisation, ...]:
    """Of each channel; those for "ct" need the intensities of ``cases``.

    Raises:
        InputError: they have no labelled foreground.
    """
    if "ct" not in schemes:
        return tuple(Normalisation(scheme=scheme) for scheme in schemes)
    most, labelled = MOST // len(cases), [case for case in cases if case.label is not None]
    drawn = in_threads(partial(intensities, dataset=dataset, cache=cache), labelled, AT_ONCE)
    values = np.concatenate([np.zeros((len(schemes), 0), np.float32), *(each[:, :most] for each in drawn)], axis=1)
    if not values.size:
        raise InputError(
            f"{dataset.root} has no labelled foreground to take CT intensities from; set data.normalisation=zscore."
        )
    low, high = np.percentile(values, (0.5, 99.5), axis=1)
    found = zip(schemes, low, high, values.mean(1, dtype=np.float64), values.std(1, dtype=np.float64), strict=True)
    return tuple(
        Normalisation(scheme="ct", low=float(a), high=float(b), mean=float(mean), sd=max(float(sd), 1e-8))
        if scheme == "ct"
        else Normalisation(scheme=scheme)
        for scheme, a, b, mean, sd in found
    )
