"""Whatever in a plan cannot work, told in a sentence before anything runs."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from functools import partial
from typing import Any

from .. import noise
from ..errors import InputError
from ..noise import Kind
from ..runs.corruption import KINDS
from . import reported
from .measures import DICE, MEASURES
from .plan import NONE, BenchPlan, NoiseSpec, combinations, fields, settings, with_place


def check(plan: BenchPlan) -> None:
    """Raise InputError for whatever in the plan cannot work, the data themselves aside; nothing is run or written."""
    for name, spec in plan.datasets.items():
        if (spec.path is None) == (spec.phantom is None):
            raise InputError(f"{plan.file}: datasets.{name} needs a path or a phantom, one of the two; correct it.")
        _known(plan, f"datasets.{name}.noises", spec.noises, plan.noises)
        for kind in plan.noises:
            if (wanted := plan.noise_on(name, kind)) is not None and wanted.noise:
                with_place(plan, f"noises.{kind}", partial(_build, wanted))
    for kind, noise_spec in plan.noises.items():
        _known(plan, f"noises.{kind}.datasets", (noise_spec and noise_spec.datasets) or (), plan.datasets)
    _known(plan, "metrics", plan.metrics, MEASURES)
    if DICE.name not in plan.metrics:
        raise InputError(f"{plan.file}: metrics must hold {DICE.name}, which chooses the best epoch; add it.")
    with_place(plan, "reported", partial(check_reported, plan))
    if (none := plan.noises.get(NONE)) and none != NoiseSpec(reported=none.reported, datasets=none.datasets):
        raise InputError(f"{plan.file}: the noise {NONE!r} is where no noise is; give noises.{NONE} another name.")
    for name, method in plan.methods.items():
        _known(plan, f"methods.{name}.datasets", method.datasets or (), plan.datasets)
        _known(plan, f"methods.{name}.noises", method.noises or (), plan.noises)
        pairs = [f"{dataset}/{kind}" for dataset in plan.datasets for kind in plan.noises]
        _known(plan, f"methods.{name}.words_on", method.words_on, [*plan.datasets, *plan.noises, *pairs])
    for row in combinations(plan):
        for kind in plan.noises_of(plan.methods[row[1]], row[0]):
            with_place(plan, f"methods.{row[1]}", partial(settings, plan, row, 0, noise=kind))


def _build(spec: NoiseSpec) -> Kind:
    return noise.build(noise.find(spec.noise or "", KINDS), spec.parameters)


def check_reported(plan: BenchPlan) -> None:
    """Raise InputError where the plan asks for numbers that no paper reports."""
    asked = [fields("dataset", spec.reported) for spec in plan.datasets.values()]
    asked += [fields("noise_setting", spec.reported) for spec in plan.noises.values() if spec]
    asked += [fields("method_key", spec.reported) for spec in plan.methods.values()]
    for wanted in [plan.reported, *asked]:
        if unknown := sorted(wanted.keys() - set(reported.FIELDS)):
            raise InputError(f"there is no {unknown[0]}; say which {', '.join(reported.FIELDS)}.")
        cells = reported.find(**{field: name for field, name in plan.reported.items() if field not in wanted})
        for field, name in wanted.items():
            known = {getattr(cell, field) for cell in cells}
            if not any(reported.same(value, field, name) for value in known):
                near = get_close_matches(name, known, n=1, cutoff=0.3)
                raise InputError(f"no paper's {field} is {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
        if not reported.find(**{**plan.reported, **wanted}):
            raise InputError(f"no paper has a number of all of {wanted}; leave some out.")


def _known(plan: BenchPlan, place: str, names: Any, known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            cure = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
            raise InputError(f"{plan.file}: {place} names {name!r}, which the plan has not; {cure}")
