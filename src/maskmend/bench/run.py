"""One run of a benchmark: train, measure on true labels after every epoch, write down how it ended."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from ..config import read_tree
from ..data.cache import default_cache
from ..data.dataset import open_dataset
from ..data.formats import write_json
from ..data.lock import hold
from ..data.plan import make_plan
from ..data.refined import RefinedStore
from ..data.sliceset import training_set
from ..data.survey import Survey
from ..data.trainset import CaseSet
from ..engine import checkpoint
from ..engine.events import read_events
from ..engine.fit import Fit
from ..engine.update import check_optimizer
from ..engine.world import World, launch
from ..errors import InputError
from ..infer.validate import Validation
from ..methods import Method
from ..networks import total_stride
from ..runs.execute import reason
from ..runs.folder import build_method, check_size, write_run
from ..runs.start import read_start
from ..runs.train import make_fit, warn
from ..texts import read_rows
from .keys import Run
from .measure import Passes, Stopwatch, check_slices, of_labels, of_prediction, write_measured
from .measures import DICE, SURFACE
from .scores import Checkpoint, Score
from .truth import true_dataset

MEASURED = ("case", "class", "metric", "value")
CHECKPOINTS: tuple[Checkpoint, ...] = ("last", "best")
"""What is measured case by case."""


def run_one(run: Run) -> None:
    """Train and measure, from the last checkpoint if there is one. A run that ended before is left as it is.

    ``done.json`` is written last, with the reason where it failed. What is killed leaves none, and goes on next time.
    """
    with hold(run.folder):
        if run.done() is None:
            _run_one(run)


def _run_one(run: Run) -> None:
    start = time.monotonic()
    write_json(run.folder / "run.json", run.about())
    try:
        found = _train(run)
    except Exception as error:
        (run.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        found = {"epochs": 0, "failed": reason(error)}
    write_json(run.folder / "done.json", {"seconds": round(time.monotonic() - start, 2), "failed": None} | found)


def _train(run: Run) -> dict[str, Any]:
    if run.threads:
        torch.set_num_threads(run.threads)
    world = launch(run.device)
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    fit, validation = _fit(run, world)
    steps = len(fit.data.schedule(run.seed, 0, fit.train.batch, fit.train.steps))
    passes = Passes(fit.method)
    validating = Stopwatch(passes.uncounted(when_due(fit, validation, steps, run)))
    fit.validate, fit.against, training = validating, "the true masks", Stopwatch(fit.run)
    begun = (run.folder / "last.ckpt").exists()
    training()
    told = None if begun else passes.of(fit, validation.plan)
    write_measured(run, fit.method, validation, "last")
    best = checkpoint.load(run.folder / "best.ckpt", run.config.method_name)
    if best["done"] == fit.done:
        shutil.copyfile(run.folder / "last.csv", run.folder / "best.csv")
    else:
        checkpoint.restore(fit.method, best, run.folder / "best.ckpt")
        write_measured(run, fit.method, validation, "best")
    epochs = {event["step"]: event["epoch"] for event in read_events(run.folder, "validation")}
    return {
        "epochs": fit.done / steps,
        "last_epoch": epochs[fit.done],
        "best_epoch": epochs[best["done"]],
        "device": str(world.device),
        "memory_mib": torch.cuda.max_memory_allocated() >> 20 if world.device.type == "cuda" else None,
        "training_seconds": None if begun else round(training.seconds - validating.seconds, 3),
        "passes": told,
        **of_prediction(fit, validation.plan),
        **of_labels(run, fit),
    }


def _fit(run: Run, world: World) -> tuple[Fit, Validation]:
    """The loop of ``runs.train``, with the test cases and their true labels for validation."""
    true, given = true_dataset(run.true), open_dataset(run.given)
    train, test = run.deal.cases(true, given)
    with Survey(default_cache(), run.given) as cache:
        plan = make_plan(given, train, run.config.data, cache)
        if plan.slices and (apart := SURFACE & set(run.measuring.metrics)):
            raise InputError(f"data.slices={plan.slices}: bench gives no {min(apart)}; take it out of the metrics.")
        check_size(run.config, plan, world.device)
        model = build_method(run.config, plan, read_start(run.config.start).into)
        check_optimizer(run.config.optim, model.parameter_groups())
        plan = plan.for_stride(total_stride(model, plan.dims))
        training = training_set(train, given, plan, cache, model.maps, RefinedStore(run.folder / "refined"), world)
        sets = [training, CaseSet(test, true, plan, cache, world=world)]
    model.check(sets[0])
    warn(model.assumptions(sets[0]), sets[0])
    plan = sets[0].plan  # with what its masks settled
    write_run(run.folder, run.config, plan)
    fit = make_fit(run.config, model, sets, plan, run.folder, world, resume=True)
    assert isinstance(fit.validate, Validation)
    volumes = run.deal.volumes(true, test, run.measuring.volumes)
    check_slices(sets[1], volumes)
    return fit, replace(fit.validate, volumes=volumes)


def when_due(fit: Fit, validation: Validation, steps: int, run: Run) -> Callable[[Method], dict[str, float]]:
    """``validation`` in every so many epochs, in the last ones, and where the method ends by itself; else nothing."""

    def due(method: Method) -> dict[str, float]:
        epoch = fit.done // steps
        late = epoch > fit.train.epochs - run.measuring.last or method.finished()
        return validation(method) if late or epoch % run.measuring.every == 0 else {}

    return due


def scores_of(run: Run) -> Iterator[Score]:
    """What was measured: the cases under the last and the best weights, and the means of each measured epoch.

    Nothing of a run that failed or did not end.
    """
    done = run.done()
    if done is None or done["failed"] is not None:
        return

    def score(which: Checkpoint, epoch: int, case: str, class_name: str, metric: str, value: float) -> Score:
        names = (run.key, run.dataset, run.noise, run.method, run.preset, run.network, run.seed)
        return Score(*names, which, epoch, case, class_name, metric, value)

    for which in CHECKPOINTS:
        for _, row in read_rows(run.folder / f"{which}.csv", MEASURED, "run it again"):
            place = (which, done[f"{which}_epoch"], row["case"], row["class"])
            yield score(*place, row["metric"], float(row["value"]))
    for event in read_events(run.folder, "validation"):
        for column, value in event.items():
            if column.startswith("dice_"):
                yield score("epoch", event["epoch"], "", column.removeprefix("dice_"), DICE.name, float(value))


def forget_spoilt(run: Run) -> None:
    """A run whose results a crash spoilt has not ended: it measures anew what its last checkpoint gives, or where its
    events are gone, begins again."""
    if (done := run.done()) is None or done["failed"] is not None:
        return
    spoilt = (InputError, ValueError, KeyError, TypeError)
    try:
        epochs = {event["epoch"] for event in read_events(run.folder, "validation")}
        epochs.remove(done["last_epoch"])
    except spoilt:
        shutil.rmtree(run.folder, ignore_errors=True)
    try:
        list(scores_of(run))
        read_tree(run.folder / "config.yaml")
    except spoilt:
        (run.folder / "done.json").unlink(missing_ok=True)
