"""What the sizes of the given masks settle: how large superpixels may be, and what resampling takes from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from .plan import Plan
from .sidemaps import SIZES, size_setting

PARTS = 4
"""Superpixels that the median mask of the smallest class holds at least, where their size is not set."""


def fit_superpixels(plan: Plan, sizes: Tensor) -> Plan:
    """``plan`` with the size of superpixels settled where it was left open, and a note where that is not the default.

    ``sizes`` (N, K): pixels of each class in each label. Of a class, the median over the labels that have it counts.
    """
    setting, usual = size_setting(plan.dims), SIZES[plan.dims]
    if getattr(plan.sidemaps, setting) is not None:
        return plan
    medians = {name: _median(sizes[:, value]) for name, value in plan.labels.items() if sizes[:, value].any()}
    name = min(medians, key=medians.__getitem__, default="")
    size = min(usual, max(1.0, medians.get(name, np.inf) / PARTS))
    unit = setting.split("_")[1]
    note = (
        f"data.sidemaps.{setting} is {size:.3g}, not {usual:g}, so that the median mask of {name!r} "
        f"({medians[name]:.0f} {unit}) has room for {PARTS} of them; set it to have it otherwise."
        if size < usual
        else ""
    )
    sidemaps = plan.sidemaps.model_copy(update={setting: size})
    return plan.model_copy(update={"sidemaps": sidemaps, "notes": (*plan.notes, *([note] if note else []))})


def removed(plan: Plan, given: Tensor, resampled: Tensor) -> Mapping[str, str]:
    """The classes that the plan's grid takes out of labels which have them, with a sentence each.

    given, resampled (N, K): pixels of each class in each label, before and after.
    """
    what = f"size={list(plan.size)}" if plan.size else f"spacing_mm={list(plan.spacing_mm or ())}"
    cure = "a larger data.size" if plan.size else "a smaller data.spacing_mm"
    had, lost = (given > 0).sum(0).tolist(), ((given > 0) & (resampled == 0)).sum(0).tolist()
    return {
        name: f"data.{what} removes {name!r} in {lost[value]} of the {had[value]} masks that have it; set {cure}"
        for name, value in plan.labels.items()
        if lost[value]
    }


def _median(sizes: Tensor) -> float:
    return float(np.median(sizes[sizes > 0].numpy()))
