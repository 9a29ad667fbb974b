"""``maskmend train``: from a data set whose masks are partly wrong to a model that is not misled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import config as settings
from ..config import RunConfig
from ..data.augment import apply, draw
from ..data.cache import Cache, default_cache
from ..data.dataset import Case, check_dataset, open_dataset
from ..data.plan import Plan, make_plan
from ..data.refined import RefinedStore
from ..data.splits import split
from ..data.trainset import CaseSet
from ..engine.fit import Fit
from ..engine.world import World, launch
from ..errors import InputError
from ..infer.validate import Validation
from ..methods import Method
from ..networks import total_stride
from ..types import Batch, Trust
from .runs import build_method, write_run


@dataclass(frozen=True)
class RunSummary:
    """A finished run: its folder and the scores of its last validation."""

    folder: Path
    scores: dict[str, float]

    def table(self) -> str:
        words = ", ".join(f"{name} {value:.4f}" for name, value in self.scores.items()) or "no validation cases"
        return f"{self.folder}: {words}"


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
) -> RunSummary:
    """Train one method on an nnU-Net raw data set.

    Args:
        dataset: folder with dataset.json, imagesTr, labelsTr.
        output: the run folder to make: config.yaml, plan.json, events.jsonl, last.ckpt, best.ckpt, cases.csv, refined/.
        method: a name that ``maskmend methods`` lists, or an importable module; by default the config's, or gsd_net.
        config: YAML file of settings.
        overrides: words such as "method.tau=0.06", stronger than the file.
        resume: continue a stopped run in ``output``, with its own settings.
        device: auto, cpu or cuda.
        fast_dev_run: two steps and a validation of two cases, to see that everything fits.

    Raises:
        InputError: anything about the data or the settings that would spoil the run, before any training starts.
    """
    dataset, output = Path(dataset), Path(output)
    run = _settings(output, method, config, overrides, resume)
    run = _shortened(run) if fast_dev_run else run
    data = open_dataset(dataset)
    cases, held_out = split(data, run.fold)
    held_out = held_out[:2] if fast_dev_run else held_out
    cls, _ = run.method_parts()
    _check_supervision(cls, run, dataset, cases)
    world = launch(device)
    if world.leads:
        check_dataset(data, (*cases, *held_out))
    world.wait()
    plan = make_plan(data, cases, run.data)
    model = build_method(run, plan)
    plan = plan.for_stride(total_stride(model, plan.dims))
    if world.leads:
        write_run(output, run, plan)
    sets = [
        CaseSet(part, data, plan, Cache(default_cache()), maps, RefinedStore(output / "refined"), world)
        for part, maps in ((cases, model.maps), (held_out, ()))
    ]
    return RunSummary(output, make_fit(run, model, sets, plan, output, world, resume).run())


def make_fit(
    run: RunConfig, model: Method, sets: Sequence[CaseSet], plan: Plan, folder: Path, world: World, resume: bool
) -> Fit:
    """The loop with everything plugged in; ``sets`` are the training and the validation cases."""
    training, held_out = sets

    def augment(batch: Batch, seeds: Sequence[int]) -> Batch:
        return apply(batch, draw(run.augment, plan.dims, seeds))

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
    output: Path, method: str | None, config: Path | None, overrides: Sequence[str], resume: bool
) -> RunConfig:
    """The settings of a new run, or those of the run to continue."""
    mine = output / "config.yaml"
    if not resume:
        if (output / "last.ckpt").exists():
            raise InputError(f"{output} holds a run already; continue it with --resume, or name another folder.")
        return settings.load_config(config, method, overrides)
    if not mine.exists():
        if output.exists() and any(output.iterdir()):
            raise InputError(f"{output} holds no run to resume; name the folder of a run, or leave --resume out.")
        return settings.load_config(config, method, overrides)
    begun = settings.load_config(mine)
    if method not in (None, begun.method_name):
        raise InputError(f"{mine} is a run of {begun.method_name!r}, not of {method!r}; resume with its own method.")
    asked = settings.load_config(mine, None, overrides)
    if asked.model_dump(exclude={"train": {"epochs"}}) != begun.model_dump(exclude={"train": {"epochs"}}):
        changed = _first_difference(begun.model_dump(), asked.model_dump())
        raise InputError(f"{output} was begun with another {changed}; resume it with its own, or start a new run.")
    return asked


def _first_difference(old: dict[str, object], new: dict[str, object], place: str = "") -> str:
    for key, value in old.items():
        there = new.get(key)
        if isinstance(value, dict) and isinstance(there, dict) and value != there:
            return _first_difference(value, there, f"{place}{key}.")
        if value != there:
            return f"{place}{key}"
    return place


def _shortened(run: RunConfig) -> RunConfig:
    short = run.train.model_copy(update={"epochs": 1, "steps": 2})
    return run.model_copy(update={"train": short})


def _check_supervision(cls: type[Method], run: RunConfig, dataset: Path, cases: Sequence[Case]) -> None:
    """A method that cannot do without clean cases must have some."""
    there = {case.trust for case in cases}
    for kind in cls.supervision:
        if kind in ("clean", "unlabeled") and Trust[kind.upper()] not in there:
            raise InputError(
                f"{dataset}: {run.method_name} needs {kind} cases and fold {run.fold} has none; "
                f"mark some in supervision.csv (case,supervision: NAME,{kind})."
            )
