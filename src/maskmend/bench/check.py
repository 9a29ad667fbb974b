"""Whatever in a plan cannot work, told in a sentence before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from .. import noise
from ..errors import InputError
from ..noise import Kind
from ..verbs.corruption import KINDS
from . import reported
from .measures import DICE, MEASURES
from .plan import NONE, BenchPlan, NoiseSpec, combinations, settings, with_place


def check(plan: BenchPlan) -> None:
    """Raise InputError for whatever in the plan cannot work, the data themselves aside; nothing is run or written."""
    for name, spec in plan.datasets.items():
        if (spec.path is None) == (spec.phantom is None):
            raise InputError(f"{plan.file}: datasets.{name} needs a path or a phantom, one of the two; correct it.")
        _known(plan, f"datasets.{name}.noises", spec.noises, plan.noises)
        for kind in plan.noises:
            if (wanted := plan.noise_on(name, kind)) is not None and wanted.noise:
                with_place(plan, f"noises.{kind}", partial(_build, wanted))
    _known(plan, "metrics", plan.metrics, MEASURES)
    if DICE.name not in plan.metrics:
        raise InputError(f"{plan.file}: metrics must hold {DICE.name}, which chooses the best epoch; add it.")
    with_place(plan, "reported", partial(check_reported, plan))
    if NONE in plan.noises and plan.noises[NONE] is not None:
        raise InputError(f"{plan.file}: the noise {NONE!r} is where no noise is; give noises.{NONE} another name.")
    for name, method in plan.methods.items():
        _known(plan, f"methods.{name}.datasets", method.datasets or (), plan.datasets)
        _known(plan, f"methods.{name}.noises", method.noises or (), plan.noises)
        _known(plan, f"methods.{name}.words_on", method.words_on, plan.datasets)
    for dataset, method_name, network in combinations(plan):
        with_place(plan, f"methods.{method_name}", partial(settings, plan, (dataset, method_name, network), 0))


def _build(spec: NoiseSpec) -> Kind:
    return noise.build(noise.find(spec.noise or "", KINDS), spec.parameters)


def check_reported(plan: BenchPlan) -> None:
    """Raise InputError where the plan asks for numbers that no paper reports."""
    if unknown := sorted(plan.reported.keys() - set(reported.FIELDS)):
        raise InputError(f"there is no {unknown[0]}; say which {', '.join(reported.FIELDS)}.")
    cells = reported.find(**plan.reported)
    asked = [("dataset", spec.reported) for spec in plan.datasets.values()]
    asked += [("noise_setting", spec.reported) for spec in plan.noises.values() if spec]
    for field, name in [*asked, *(("method_key", spec.reported) for spec in plan.methods.values())]:
        known = {getattr(cell, field) for cell in cells}
        if name and not any(reported.same(value, field, name) for value in known):
            near = get_close_matches(name, known, n=1, cutoff=0.3)
            raise InputError(f"no paper's {field} is {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."))


def _known(plan: BenchPlan, place: str, names: Any, known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            cure = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
            raise InputError(f"{plan.file}: {place} names {name!r}, which the plan has not; {cure}")
