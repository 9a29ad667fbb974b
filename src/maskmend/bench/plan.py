"""What a benchmark runs, as a file: data sets, noises, methods, networks and seeds, under one budget.

>>> plan = load_plan(Path("plans/phantom.yaml"))
>>> check.check(plan)  # what would spoil a run, before any runs
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PrivateAttr

from .. import methods
from ..config import RunConfig, load_config, parse, read_tree
from ..errors import InputError
from ..prepare import THRESHOLD
from ..texts import shown
from ..types import Config
from .measures import DICE

Labels = Literal["given", "given_and_clean", "clean", "truth"]
NONE = "none"
"""The noise of runs that no noise reaches."""
NAME = re.compile(r"[A-Za-z0-9][\w.+-]{,99}")
KNOWN = {"truth": {"method": "supervised", "labels": "truth"}}
"""Rows that can be asked for by their name alone, other than the methods themselves."""
C = TypeVar("C", bound=Config)
Reported = str | dict[str, str]
"""What papers' numbers call something; or fields of theirs, such as ``method`` or ``structure``."""


class PhantomSpec(Config):
    """Made-up images with exact masks (``data/phantom.py``)."""

    dims: Literal[2, 3] = 2
    train: int = Field(24, ge=2, le=100_000, description="training cases")
    test: int = Field(12, ge=1, le=100_000, description="test cases")
    size: int | None = Field(None, ge=16, description="side in pixels; by default 128 in 2D, 48 in 3D")
    seed: int = Field(0, ge=0)


class Budget(Config):
    """The same for every run."""

    epochs: int = Field(20, gt=0)
    steps: int | None = Field(None, gt=0, description="optimiser steps in an epoch; by default one pass over the data")
    rows: int | None = Field(
        None, gt=1, description="rows in a step, a quarter of them clean where clean masks are given; else each its own"
    )
    every: int = Field(1, gt=0, description="epochs between measurements; the last ones are all measured")


class DataSpec(Config):
    """A data set. It needs true masks to measure on: of test cases, or of held-out folds."""

    path: str | None = Field(None, description="nnU-Net raw data set, or a folder that `maskmend prepare` takes")
    phantom: PhantomSpec | None = Field(None, description="instead of a path")
    test: float | None = Field(None, ge=0, lt=1, description="share kept for testing, of a folder that is prepared")
    threshold: int = Field(THRESHOLD, description="grey masks of a folder that is prepared: foreground is above it")
    folds: tuple[int, ...] | None = Field(
        None, min_length=1, description="measure on these folds' held-out cases, not on test cases"
    )
    train_cases: int | None = Field(None, ge=2, description="learn from so many cases only, spread over their names")
    test_cases: int | None = Field(None, ge=1, description="measure on so many cases only, spread over their names")
    words: tuple[str, ...] = Field((), description="settings of all runs on it, such as data.size=[64,64]")
    budget: dict[str, int] = Field({}, description="what is other than in the plan's budget, such as rows: 2")
    raters: bool = Field(False, description="measure against each rater of labelsTs_raters, not against the label")
    volumes: bool | None = Field(
        None, description="score slices by the volumes they are of: by default where volumes.csv or a recipe's names do"
    )
    reported: Reported = Field("", description="what papers' numbers call it, if not as the plan does; or fields")
    noises: dict[str, dict[str, Any]] = Field({}, description="parameters of noises that are others here")
    truth: Literal["given"] | None = Field(
        None,
        description="given: its training masks are right; where a noise spoils them, or labelsTr_truth is, not asked",
    )


class NoiseSpec(Config):
    """What becomes of the training masks: what ``maskmend simulate`` does to them, and which are hidden."""

    noise: str | None = Field(None, description="the simulator; None: masks stay as they are")
    parameters: dict[str, Any] = Field({}, description="other than the noise's defaults")
    fraction: float = Field(1.0, ge=0, le=1, description="share of the training masks that are corrupted")
    target_dice: float | None = Field(None, gt=0, lt=1, description="as strong as it must be to leave this Dice")
    seed: int = Field(0, ge=0, description="of the noise; the runs' seeds are others")
    clean: float | None = Field(None, ge=0, lt=1, description="other than the plan's, under this noise")
    unlabeled: float = Field(0.0, ge=0, le=1, description="share of the cases, clean ones aside, without a mask")
    datasets: tuple[str, ...] | None = Field(None, description="put on these alone")
    reported: Reported = Field("", description="what papers' numbers call it, if not as the plan does; or fields")

    def of_masks(self) -> dict[str, Any]:
        """What decides how masks are corrupted."""
        return self.model_dump(mode="json", exclude={"clean", "unlabeled", "datasets", "reported"})


class MethodSpec(Config):
    """A row of the tables: a method, and what it is given."""

    method: str = Field("", description="by default that of the preset, or what the row is called")
    preset: str = Field("", description="YAML file of settings: beside the plan, or in a folder configs")
    labels: Labels | None = Field(
        None, description="given; given_and_clean: also some true masks, for methods that need them; clean; truth"
    )
    words: tuple[str, ...] = Field((), description="settings of this row alone; stronger than all others")
    words_on: dict[str, tuple[str, ...]] = Field({}, description="more words, by data set, noise or DATASET/NOISE")
    datasets: tuple[str, ...] | None = Field(None, description="run on these alone")
    noises: tuple[str, ...] | None = Field(None, description="run under these alone")
    reported: Reported = Field("", description="what papers' numbers file it under, if not the method; or fields")

    def words_at(self, dataset: str, noise: str) -> tuple[str, ...]:
        """Its own words there, the later the stronger."""
        places = (dataset, noise, f"{dataset}/{noise}")
        return (*self.words, *(word for place in places for word in self.words_on.get(place, ())))

    def given(self) -> Labels:
        """Which labels it gets."""
        needs = "clean" in methods.find(self.method)[0].supervision
        return self.labels or ("given_and_clean" if needs else "given")


class NetworkSpec(Config):
    words: tuple[str, ...] = ()


class BenchPlan(Config):
    """A grid of runs."""

    datasets: dict[str, DataSpec]
    noises: dict[str, NoiseSpec | None] = Field({NONE: None}, description="null: the masks as they are")
    clean: float = Field(0.0, ge=0, lt=1, description="share of cases that keep true masks for who needs some")
    methods: dict[str, MethodSpec]
    networks: dict[str, NetworkSpec] = Field({"unet": NetworkSpec()}, description="words that make each")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    words: tuple[str, ...] = Field((), description="settings shared by all, stronger than the presets'")
    budget: Budget = Budget()
    tau: bool = Field(False, description="tell methods that have a tau the true share of wrong pixels: an oracle")
    last: int = Field(5, gt=0, description="epochs at the end that a figure averages")
    metrics: tuple[str, ...] = Field((DICE.name,), min_length=1, description="measured at the end; tables for each")
    reported: dict[str, str] = Field({}, description="which numbers of papers stand beside ours: paper, table, …")
    _file: Path = PrivateAttr(Path("plan.yaml"))

    @property
    def file(self) -> Path:
        """Where it was read."""
        return self._file

    def noise_on(self, dataset: str, name: str) -> NoiseSpec | None:
        """The noise, with the parameters that it has on this data set; None where it is not put on it."""
        found = self.noises.get(name) if self.reaches(name, dataset) else None
        own = self.datasets[dataset].noises.get(name)
        return found and found.model_copy(update={"parameters": found.parameters | (own or {})})

    def budget_on(self, dataset: str) -> Budget:
        """The budget of every run on a data set."""
        written = self.budget.model_dump(exclude_unset=True) | self.datasets[dataset].budget
        return parse(Budget, written, f"datasets.{dataset}.budget")

    def reaches(self, noise: str, dataset: str) -> bool:
        """Whether a noise is put on a data set."""
        spec = self.noises.get(noise)
        return spec is None or spec.datasets is None or dataset in spec.datasets

    def noises_of(self, method: MethodSpec, dataset: str) -> list[str]:
        """The noises a row is run under on a data set."""
        wanted = method.noises or self.noises
        return [name for name in self.noises if name in wanted and self.reaches(name, dataset)]

    def clean_under(self, noise: str) -> float:
        """The share of cases that keep true masks for who needs some."""
        spec = self.noises.get(noise)
        return self.clean if spec is None or spec.clean is None else spec.clean

    def place(self, path: str) -> Path:
        """A path of the plan: ~ and $VARIABLES are filled in, a relative one begins at the plan's folder."""
        full = os.path.expanduser(os.path.expandvars(path))
        if found := re.search(r"\$\{?(\w+)", full):
            raise InputError(f"{self.file}: {path} needs the environment variable {found[1]}; set it, or write a path.")
        return self.file.parent / full


def load_plan(file: Path) -> BenchPlan:
    """The plan in a YAML file. A list of names may stand for names without settings, a path for a data set.

    Raises:
        InputError: it cannot be read, or a setting is unknown (its neighbour is named) or wrong.
    """
    try:
        tree = read_tree(file)
        tree["datasets"] = _group(tree, "datasets", DataSpec, lambda name, path: {"path": path})
        tree["methods"] = _group(tree, "methods", MethodSpec, lambda name, preset: {"preset": preset})
        if "noises" in tree:
            tree["noises"] = _group(tree, "noises", NoiseSpec, lambda name, kind: {"noise": kind})
        if "networks" in tree:
            tree["networks"] = _group(
                tree, "networks", NetworkSpec, lambda name, words: {"words": words or [f"network.name={name}"]}
            )
        plan = parse(BenchPlan, tree)
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(str(file)) else f"{file}: {said}") from None
    plan._file = Path(file)
    for name, spec in plan.methods.items():
        if not spec.method:
            with_place(plan, f"methods.{name}", partial(_take_from_preset, plan, name, spec))
    return plan


def _take_from_preset(plan: BenchPlan, name: str, spec: MethodSpec) -> None:
    """Fill in the method that a row's preset is of."""
    run = load_config(find_preset(plan, spec.preset))
    plan.methods[name] = spec.model_copy(update={"method": run.method_name})


def _group(tree: Mapping[str, Any], key: str, cls: type[C], short: Callable[[str, Any], Any]) -> dict[str, C | None]:
    """The settings by name under ``key``; ``short`` writes out what is not written as a group of settings."""
    given = tree.get(key)
    if isinstance(given, list):
        given = dict.fromkeys(map(str, given))
    if not isinstance(given, dict) or not given:
        raise InputError(f"{key} must hold at least one NAME: {{...}}; docs/how-to/bench.md shows a plan.")
    found: dict[str, C | None] = {}
    for name, spec in ((str(name), spec) for name, spec in given.items()):
        if not NAME.fullmatch(name):
            raise InputError(f"{key}: {shown(name)} cannot name a folder; use letters, digits and _ . + - only.")
        if key == "noises" and spec is None:
            found[name] = None
            continue
        if key == "methods":
            spec = spec if isinstance(spec, dict) else {"preset": spec or ""}
            spec = KNOWN.get(name, {} if spec.get("preset") else {"method": name}) | spec
        elif not isinstance(spec, dict):
            spec = short(name, spec)
        found[name] = parse(cls, spec, f"{key}.{name}")
    return found


def reported_cells(plan: BenchPlan) -> dict[tuple[str, str], list[dict[str, str]]]:
    """Which numbers of papers, as ``reported.find`` takes them, stand beside ours under each (data set, noise)."""
    noises = {NONE: None, **plan.noises}
    return {
        (dataset, noise): [
            plan.reported
            | fields("dataset", spec.reported or dataset)
            | fields("noise_setting", (wanted and wanted.reported) or noise)
        ]
        for dataset, spec in plan.datasets.items()
        for noise, wanted in noises.items()
    }


def fields(field: str, told: Reported) -> dict[str, str]:
    """What ``reported:`` asks for, as fields: a name alone is that of ``field``."""
    return ({field: told} if told else {}) if isinstance(told, str) else told


def combinations(plan: BenchPlan) -> Iterator[tuple[str, str, str]]:
    """(data set, method, network) of every cell, noises and seeds aside."""
    for dataset in plan.datasets:
        for network in plan.networks:
            for name, method in plan.methods.items():
                if method.datasets is None or dataset in method.datasets:
                    yield dataset, name, network


def settings(
    plan: BenchPlan,
    row: tuple[str, str, str],
    seed: int,
    fold: int | None = None,
    tau: str | None = None,
    noise: str = NONE,
) -> tuple[RunConfig, tuple[str, ...]]:
    """The settings of a run, and the words they came from. ``row``: data set, method, network. ``tau``: a word.

    A preset is weaker than what all share; then come the data set, the network, ``tau``, and the row's own words.
    """
    dataset, name, network = row
    method, budget = plan.methods[name], plan.budget_on(dataset)
    words = [f"fold={'all' if fold is None else fold}", f"seed={seed}", f"train.epochs={budget.epochs}"]
    if budget.steps:
        words.append(f"train.steps={budget.steps}")
    if budget.rows:
        clean = max(1, budget.rows // 4)
        both = f"{{clean: {clean}, imperfect: {budget.rows - clean}}}"
        words.append(f"train.batch={both if method.given() == 'given_and_clean' else f'{{any: {budget.rows}}}'}")
    words += [*plan.words, *plan.datasets[dataset].words, *plan.networks[network].words]
    words += [*([tau] if tau else []), *method.words_at(dataset, noise)]
    preset = find_preset(plan, method.preset) if method.preset else None
    return load_config(preset, method.method or None, words), tuple(words)


def find_preset(plan: BenchPlan, preset: str) -> Path:
    """The file of a preset: beside the plan, or in a folder configs beside it, anywhere above it, or here."""
    here = plan.file.parent
    above = [folder / "configs" for folder in here.resolve().parents]
    folders = [here, here / "configs", here.parent / "configs", *above, Path("configs")]
    name = preset if preset.endswith((".yaml", ".yml")) else f"{preset}.yaml"
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    known = [str(path.relative_to(folder)) for folder in folders for path in sorted(folder.glob("*/*.yaml"))]
    near = get_close_matches(name, known, n=1)
    raise InputError(f"there is no preset {preset!r}; " + (f"did you mean {near[0]}?" if near else "name a YAML file."))


def with_place(plan: BenchPlan, place: str, work: Callable[[], Any]) -> None:
    """Do ``work``; an InputError names the file and the place in it."""
    try:
        work()
    except InputError as error:
        raise InputError(f"{plan.file}: {place}: {error}") from None
