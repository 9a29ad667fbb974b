"""What is measured of a run that has ended: every metric of every case, what it cost, and the labels it mended."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.dataset import Case
from ..data.formats import replacing
from ..data.plan import Plan
from ..data.stack import Volume, stacked
from ..data.trainset import CaseSet
from ..engine.fit import Fit
from ..errors import InputError
from ..infer.validate import Validation
from ..methods import Method
from ..metrics import dice, mean_sd, overlap
from ..metrics.overlap import Label
from ..networks import Network
from ..types import IGNORE, Trust
from .deal import raters_of
from .keys import Run
from .measures import measured
from .scores import Checkpoint
from .truth import true_dataset


def write_measured(run: Run, method: Method, validation: Validation, name: Checkpoint) -> None:
    """NAME.csv of the run: every metric of every class of every case that is measured on, under the present weights.

    Where cases are slices of volumes, a case is a volume; distances are in voxels there, unless all spacings are known.
    """
    plan = validation.plan
    labels = {name: value for name, value in plan.labels.items() if value}
    spacing_mm = pixel_mm = plan.spacing_mm if plan.size is None else None
    steps = {volume.name: volume.spacing_mm for volume in validation.volumes}
    with replacing(run.folder / f"{name}.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "class", "metric", "value"])
        for rater, case, predicted, truth in pairs(method.eval(), validation, references(run, validation)):
            if steps:
                spacing_mm = (step, *pixel_mm) if (step := steps[case]) and pixel_mm else None
            for of, metric, value in measured(predicted, truth, labels, run.measuring.metrics, spacing_mm):
                writer.writerow([case, class_name(of, rater, len(labels)), metric, f"{value:.6f}"])


def pairs(
    method: Method, validation: Validation, sets: Mapping[str, CaseSet]
) -> Iterator[tuple[str, str, Label, Label]]:
    """(rater, case, predicted (*S), reference (*S)) for every case that a rater drew, or every volume (D, H, W): slices
    that this rater left out are unknown there."""
    volumes = [
        Volume(f"{rater}/{volume.name}", {f"{rater}/{case}": place for case, place in volume.places.items()})
        for rater in sets
        for volume in validation.volumes
    ]

    def each() -> Iterator[tuple[str, Label, Label]]:
        for i, predicted in validation.predicted(method, range(len(validation.cases))):
            case = validation.cases.names[i]
            for rater, cases in sets.items():
                if case in cases.names:
                    yield f"{rater}/{case}", predicted, cases.whole(cases.names.index(case))[1].numpy()
                elif volumes:
                    yield f"{rater}/{case}", predicted, np.full_like(predicted, IGNORE)

    for name, predicted, truth in stacked(each(), volumes):
        rater, _, case = name.partition("/")  # no name of a file holds a slash
        yield rater, case, predicted, truth


def check_slices(cases: CaseSet, volumes: Sequence[Volume]) -> None:
    """Raise InputError where cases that are slices of a volume cannot be put together, before anything learns."""
    labels = ((name, cases.whole(i)[1].numpy()) for i, name in enumerate(cases.names if volumes else ()))
    for _ in stacked(((name, label, label) for name, label in labels), volumes):
        pass


def references(run: Run, validation: Validation) -> dict[str, CaseSet]:
    """What predictions are measured against, prepared: the true labels, "", or those that each rater drew."""
    true = validation.cases
    if not run.measuring.raters:
        return {"": true}
    by_rater: dict[str, list[Case]] = {}
    for case in true.cases:
        for rater, path in raters_of(case, run.true).items():
            by_rater.setdefault(rater, []).append(replace(case, label=path))
    if not by_rater:
        raise InputError(f"{run.true / 'labelsTs_raters'} holds no rater's label of a test case; leave raters out.")
    return {r: CaseSet(cases, true.dataset, true.plan, true.cache) for r, cases in sorted(by_rater.items())}


def class_name(of: str, rater: str, classes: int) -> str:
    """What a column of the tables is called; where raters differ and classes do not, the papers' "vs RATER"."""
    return of if not rater else f"vs {rater}" if classes == 1 else f"{of} vs {rater}"


def of_labels(run: Run, fit: Fit) -> dict[str, float | None]:
    """Mean Dice with the truth of the training labels that are not clean: as given, and as the method refined them.

    Nothing where it refined none; None where nobody knows the truth.
    """
    cases = fit.data
    if not isinstance(cases, CaseSet) or cases.refined is None or not cases.refined.generation:
        return {}
    if not run.known:
        return {"given_dice": None, "refined_dice": None}
    dataset = true_dataset(run.true)
    truth = {case.name: case for case in dataset.train}
    true = CaseSet([truth[case.name] for case in cases.cases], dataset, cases.plan, cases.cache)
    labels, scores = range(1, cases.plan.classes), []
    for i, case in enumerate(cases.cases):
        refined = cases.refined.read(case.name)
        if case.trust is Trust.NOISY and refined is not None:
            right = true.whole(i)[1].numpy()
            pair = (overlap(label, right, labels) for label in (cases.whole(i)[1].numpy(), refined))
            scores.append([mean_sd(map(dice, counts.values()))[0] for counts in pair])
    if not scores:
        return {}
    given, refined_dice = np.nanmean(scores, axis=0)
    return {"given_dice": round(float(given), 6), "refined_dice": round(float(refined_dice), 6)}


def of_prediction(fit: Fit, plan: Plan, times: int = 3) -> dict[str, float]:
    """How many networks the trained method asks for one prediction, a mark beside its scores; and how long one patch
    takes, the fastest of some ``times``, in milliseconds."""
    asked: set[nn.Module] = set()
    networks = [module for module in fit.method.modules() if isinstance(module, Network)]
    hooks = [network.register_forward_hook(lambda module, *_: asked.add(module)) for network in networks]
    patch = torch.zeros(1, plan.channels, *plan.patch, device=fit.world.device)
    seconds = []
    with torch.inference_mode():
        for _ in range(times):
            watch = Stopwatch(lambda: fit.method.eval().predict(patch).sum().item())
            watch()
            seconds.append(watch.seconds)
    for hook in hooks:
        hook.remove()
    return {"predicts_with": len(asked), "prediction_ms": round(1000 * min(seconds), 3)}


class Passes:
    """How often the networks of a method are asked in training, in pixels: with gradients, and without."""

    def __init__(self, method: Method) -> None:
        self.pixels = {True: 0, False: 0}
        for module in method.modules():
            if isinstance(module, Network):
                module.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.pixels[torch.is_grad_enabled()] += inputs[0][:, 0].numel()

    def uncounted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work`` that is no training."""

        def quiet(*args: Any) -> Any:
            before = dict(self.pixels)
            found = work(*args)
            self.pixels = before
            return found

        return quiet

    def of(self, fit: Fit, plan: Plan) -> list[float]:
        """Passes with gradients, and without, for one row of one step."""
        pixels = fit.done * sum(fit.train.batch.values()) * math.prod(plan.patch)
        return [round(self.pixels[learnt] / pixels, 3) for learnt in (True, False)]


class Stopwatch:
    """A function, and the seconds spent in it."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work, self.seconds = work, 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.monotonic()
        try:
            return self.work(*args)
        finally:
            self.seconds += time.monotonic() - start
