"""One run of a benchmark: train, measure on true labels after every epoch, write down how it ended."""

from __future__ import annotations

import csv
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..data.cache import Cache, default_cache
from ..data.dataset import open_dataset
from ..data.formats import write_json
from ..data.plan import Plan, make_plan
from ..data.refined import RefinedStore
from ..data.trainset import CaseSet
from ..engine import checkpoint
from ..engine.events import read_events
from ..engine.fit import Fit
from ..engine.world import World, launch
from ..errors import InputError
from ..infer.validate import Validation
from ..methods import Method
from ..networks import Network, total_stride
from ..verbs.runs import build_method, load_weights, write_run
from ..verbs.train import make_fit
from .data import deal
from .keys import Run
from .scores import Checkpoint, Score


def run_one(run: Run) -> None:
    """Train and measure, from the last checkpoint if there is one. A run that ended before is left as it is.

    ``done.json`` is written last, with the reason where it failed. What is killed leaves none, and goes on next time.
    """
    if run.done() is not None:
        return
    start = time.monotonic()
    write_json(run.folder / "run.json", run.about())
    try:
        found = _train(run)
    except Exception as error:
        (run.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        found = {"epochs": 0, "failed": reason(error)}
    write_json(run.folder / "done.json", {"seconds": round(time.monotonic() - start, 2), "failed": None} | found)


def reason(error: BaseException) -> str:
    """Why it failed, in a line."""
    said, kind = str(error).strip().partition("\n")[0], type(error).__name__
    return said if isinstance(error, InputError) else f"{kind}: {said}" if said else kind


def _train(run: Run) -> dict[str, Any]:
    if run.threads:
        torch.set_num_threads(run.threads)
    world = launch(run.device)
    fit, validation = _fit(run, world)
    fit.method.eval()
    steps = len(fit.data.schedule(run.seed, 0, run.config.train.batch, run.config.train.steps))
    fit.validate = when_due(fit, validation, steps, run)
    fit.run()
    best = checkpoint.load(run.folder / "best.ckpt", run.config.method_name)
    if best["done"] == fit.done:
        shutil.copyfile(run.folder / "cases.csv", run.folder / "best.csv")
    else:
        load_weights(fit.method, best, run.folder / "best.ckpt")
        replace(validation, table=run.folder / "best.csv")(fit.method.eval())
    epochs = {event["step"]: event["epoch"] for event in read_events(run.folder, "validation")}
    return {
        "epochs": fit.done / steps,
        "last_epoch": epochs[fit.done],
        "best_epoch": epochs[best["done"]],
        "device": str(world.device),
        "predicts_with": predicts_with(fit, validation.plan),
    }


def predicts_with(fit: Fit, plan: Plan) -> int:
    """How many networks the trained method asks for one prediction: a mark beside its scores."""
    asked: set[nn.Module] = set()
    networks = [module for module in fit.method.modules() if isinstance(module, Network)]
    hooks = [network.register_forward_hook(lambda module, *_: asked.add(module)) for network in networks]
    with torch.inference_mode():
        fit.method.eval().predict(torch.zeros(1, plan.channels, *plan.patch, device=fit.world.device))
    for hook in hooks:
        hook.remove()
    return len(asked)


def _fit(run: Run, world: World) -> tuple[Fit, Validation]:
    """The loop of ``verbs.train``, with the test cases and their true labels for validation."""
    true, given = open_dataset(run.true), open_dataset(run.given)
    train, test = deal(true, given, run.labels, run.clean, run.fold, run.most)
    plan = make_plan(given, train, run.config.data)
    model = build_method(run.config, plan)
    plan = plan.for_stride(total_stride(model, plan.dims))
    cache, store = Cache(default_cache()), RefinedStore(run.folder / "refined")
    sets = [CaseSet(train, given, plan, cache, model.maps, store, world), CaseSet(test, true, plan, cache, world=world)]
    model.check(sets[0])
    write_run(run.folder, run.config, plan)
    fit = make_fit(run.config, model, sets, plan, run.folder, world, resume=True)
    assert isinstance(fit.validate, Validation)
    return fit, fit.validate


def when_due(fit: Fit, validation: Validation, steps: int, run: Run) -> Callable[[Method], dict[str, float]]:
    """``validation`` in every so many epochs, in the last ones, and where the method ends by itself; else nothing."""

    def due(method: Method) -> dict[str, float]:
        epoch = fit.done // steps
        late = epoch > fit.train.epochs - run.last or method.finished()
        return validation(method) if late or epoch % run.every == 0 else {}

    return due


def scores_of(run: Run) -> Iterator[Score]:
    """What was measured: the cases under the last and the best weights, and the means of each measured epoch.

    Nothing of a run that failed or did not end.
    """
    done = run.done()
    if done is None or done["failed"] is not None:
        return

    def score(which: Checkpoint, epoch: int, case: str, column: str, dice: float) -> Score:
        names = (run.key, run.dataset, run.noise, run.method, run.preset, run.network, run.seed)
        return Score(*names, which, epoch, case, column.removeprefix("dice_"), dice)

    tables: tuple[tuple[Checkpoint, str], ...] = (("last", "cases.csv"), ("best", "best.csv"))
    for which, name in tables:
        with (run.folder / name).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                case = row.pop("case")
                for column, value in row.items():
                    yield score(which, done[f"{which}_epoch"], case, column, float(value))
    for event in read_events(run.folder, "validation"):
        for column, value in event.items():
            if column.startswith("dice_"):
                yield score("epoch", event["epoch"], "", column, float(value))
