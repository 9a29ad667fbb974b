"""``maskmend train``: from a data set whose masks are partly wrong to a model that is not misled."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import config as settings
from ..config import RunConfig
from ..data.augment import apply, draw, may_turn
from ..data.cache import default_cache
from ..data.dataset import Case, open_dataset
from ..data.empty import check_masks
from ..data.lock import LOCK, hold
from ..data.order import pools
from ..data.plan import Plan, make_plan, takes_intensities
from ..data.refined import RefinedStore
from ..data.sides import sides_of
from ..data.sliceset import training_set
from ..data.splits import split
from ..data.survey import Survey, check_dataset
from ..data.trainset import CaseSet
from ..engine import checkpoint
from ..engine.events import GIVEN, check_trackers
from ..engine.fit import Fit
from ..engine.update import check_optimizer
from ..engine.world import World, launch
from ..errors import InputError
from ..infer.predict import check_precision
from ..infer.validate import Validation
from ..methods import Method
from ..networks import total_stride
from ..types import Batch, Trust
from .folder import build_method, check_folder, check_size, write_run
from .start import read_start


@dataclass(frozen=True)
class RunSummary:
    """A finished run: its folder, the scores of its last validation, and whether it was complete before."""

    folder: Path
    scores: dict[str, float]
    complete: bool = False

    def table(self) -> str:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in self.scores.items())
        words = f"{scores} against {GIVEN}" if scores else "no validation case that can be scored"
        again = "a larger train.epochs goes on; after --fast-dev-run, begin in another folder"
        before = f"complete already, nothing to do ({again}); " if self.complete else ""
        return f"{self.folder}: {before}{words}\nNext: maskmend predict {shlex.quote(str(self.folder))} IMAGES -o OUT"


def train(
    dataset: Path,
    output: Path,
    method: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    device: str = "auto",
    fast_dev_run: bool = False,
    check: bool = False,
    searching: bool = False,
) -> RunSummary:
    """What ``maskmend.train`` does once no audit is to be asked, with its arguments. searching: let the method log its
    search criterion, for ``search``.

    Raises:
        InputError: as it does.
    """
    dataset, output = Path(dataset), Path(output)
    check_folder(output)
    world = launch(device)
    with hold(output) if world.leads else nullcontext():
        run = _settings(output, method, config, overrides, resume, fast_dev_run)
        survey = Survey(default_cache(), dataset, anew=check and world.leads)
        return _train(run, survey, output, world, resume, 2 if fast_dev_run else None, searching)


def _train(
    run: RunConfig, survey: Survey, output: Path, world: World, resume: bool, most: int | None, searching: bool
) -> RunSummary:
    """``train`` in a folder that is ours; ``most``: of so many cases is the validation."""
    dataset = survey.root
    check_trackers(run.events)
    start = read_start(None if resume and _holds_run(output) else run.start)
    data = open_dataset(dataset)
    cases, held_out = split(data, run.fold)
    held_out = held_out[:most]
    _check_cases(run, dataset, cases)
    if world.leads:
        with survey:
            check_dataset(data, (*cases, *held_out), survey, ct=takes_intensities(data, run.data))
            check_masks(data, data.train, cache=survey)
    world.wait()
    with survey:
        plan = make_plan(data, cases, run.data, survey)
        check_size(run, plan, world.device)
        model = build_method(run, plan, start.into)
        model.searching = searching
        check_optimizer(run.optim, model.parameter_groups())
        plan = plan.for_stride(total_stride(model, plan.dims))
        sets = [
            kind(part, data, plan, survey, maps, RefinedStore(output / "refined"), world)
            for kind, part, maps in ((training_set, cases, model.maps), (CaseSet, held_out, ()))
        ]
    plan = sets[0].plan  # with what its masks settled
    _check_training(run, dataset, model, sets[0])
    fit = make_fit(run, model, sets, plan, output, world, resume).prepare()
    if fit.complete:
        return RunSummary(output, fit.scores, complete=True)
    if world.leads:
        for note in (*plan.notes, *start.said()):
            warnings.warn(note, stacklevel=2)
        write_run(output, run, plan)
    return RunSummary(output, fit.run())


def make_fit(
    run: RunConfig, model: Method, sets: Sequence[CaseSet], plan: Plan, folder: Path, world: World, resume: bool
) -> Fit:
    """The loop with everything plugged in; ``sets`` are the training and the validation cases."""
    training, held_out = sets
    check_precision(model.eval().predict, plan, run.predict, world.device)

    turns = may_turn(run.augment, plan.dims)
    sides = sides_of(plan.labels, plan.left_right, plan.dims, turns)

    def augment(batch: Batch, seeds: Sequence[int]) -> Batch:
        return apply(batch, draw(run.augment, plan.dims, seeds, sides))

    return Fit(
        model,
        training,
        folder,
        run.train,
        run.optim,
        seed=run.seed,
        name=run.method_name,
        world=world,
        augment=augment,
        validate=Validation(held_out, plan, run.predict, world, folder / "cases.csv") if len(held_out) else None,
        events=run.events,
        settings=run.model_dump(mode="json"),
        resume=resume,
    )


def _settings(
    output: Path, method: str | None, config: Path | None, overrides: Sequence[str], resume: bool, short: bool
) -> RunConfig:
    """The settings of a new run; or of the one to continue, which may be told to train longer and nothing else."""
    mine = output / "config.yaml"
    if not resume and _holds_run(output):
        raise InputError(f"{output} holds a run already; continue it with --resume, or name another folder.")
    if resume and not mine.exists() and any(path.name != LOCK for path in output.iterdir()):
        raise InputError(f"{output} holds no run to resume; name the folder of a run, or leave --resume out.")
    begun = settings.load_config(mine) if resume and mine.exists() else None
    if begun and method not in (None, begun.method_name):
        raise InputError(f"{mine} is a run of {begun.method_name!r}, not of {method!r}; resume with its own method.")
    asked = settings.load_config(config or (mine if begun else None), method, overrides)
    asked = _shortened(asked) if short else asked
    if begun and (other := _first_difference(begun.model_dump(), asked.model_dump())):
        raise InputError(f"{mine} says {other}; resume with the run's own settings, or start a new run elsewhere.")
    return asked


def _holds_run(output: Path) -> bool:
    return checkpoint.newest(output / "last.ckpt").exists()


def _first_difference(old: dict[str, object], new: dict[str, object], place: str = "") -> str | None:
    """ "optim.lr=0.01, not 0.1"; None where all but the number of epochs is equal."""
    for key, value in old.items():
        there, name = new.get(key), f"{place}{key}"
        if value == there or name == "train.epochs":
            continue
        if not (isinstance(value, dict) and isinstance(there, dict)):
            return f"{name}={value}, not {there}"
        if found := _first_difference(value, there, f"{name}."):
            return found
    return None


def _shortened(run: RunConfig) -> RunConfig:
    short = run.train.model_copy(update={"epochs": 1, "steps": 2})
    return run.model_copy(update={"train": short})


def _check_cases(run: RunConfig, dataset: Path, cases: Sequence[Case]) -> None:
    """A method that cannot do without clean cases must have some, and every pool of the batch plan too."""
    cls, _ = run.method_parts()
    there = {case.trust for case in cases}
    for kind in cls.supervision:
        if kind in ("clean", "unlabeled") and Trust[kind.upper()] not in there:
            raise InputError(
                f"{dataset}: {run.method_name} needs {kind} cases and fold {run.fold} has none; "
                f"mark some in supervision.csv (case,supervision: NAME,{kind})."
            )
    if "clean" in cls.supervision and not _two_streams(run.train.batch):
        raise InputError(
            f"train.batch={run.train.batch} may give a step without clean cases or with nothing else, and "
            f"{run.method_name} needs both in each; set train.batch, e.g. {{clean: 2, imperfect: 6}}."
        )
    try:
        pools(torch.tensor([int(case.trust) for case in cases]), run.train.batch)
    except InputError as error:
        raise InputError(f"{dataset}, fold {run.fold}: {error}") from None


def _two_streams(batch: Mapping[str, int]) -> bool:
    """Whether every step has clean cases and imperfect ones."""
    return batch.get("clean", 0) > 0 and any(batch.get(pool, 0) > 0 for pool in ("imperfect", "unlabeled"))


def _check_training(run: RunConfig, dataset: Path, model: Method, training: CaseSet) -> None:
    """Every class must be drawn somewhere, and the method must be able to work with what there is."""
    drawn, removed = training.sizes.sum(0), training.removed
    if not drawn.any():
        raise InputError(
            f"{dataset}: in the training cases of fold {run.fold} every pixel is unlabeled or has the ignore label; "
            "add a mask, or choose another fold."
        )
    for name, value in training.plan.labels.items():
        without = ", or take the class out of dataset.json" if value else ""
        if not drawn[value] and name in removed:
            raise InputError(f"{dataset}, fold {run.fold}: {removed[name]}{without}.")
        if not drawn[value]:
            raise InputError(
                f"{dataset}: no training mask of fold {run.fold} holds a pixel of the class {name!r} ({value}); "
                f"add such a mask{without}."
            )
    try:
        model.check(training)
    except InputError as error:
        raise InputError(f"{dataset}: {error}") from None
    warn([f"{each}." for each in removed.values()], training)
    warn(model.assumptions(training), training)


def warn(sentences: Sequence[str], training: CaseSet) -> None:
    """Tell them, once for all ranks."""
    for sentence in sentences if training.world.rank == 0 else ():
        warnings.warn(sentence, stacklevel=3)
