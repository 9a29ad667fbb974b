"""Networks trained to judge labels: a cross-fit on the given ones, and, once some are reviewed, on those alone.

Each network learns from its folds, briefly: at most ``VISITS`` visits of a case, before it knows wrong labels by heart.
All of them then judge every case together: their mean ranked wrong labels better than out-of-fold answers alone.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from .. import config as configs
from ..data.cache import content_hash, digest
from ..data.dataset import Dataset
from ..data.formats import Picture, replacing, write_json, write_label
from ..data.layout import nearest, read_json_object
from ..data.splits import k_fold
from ..data.stack import read_volumes
from ..engine import checkpoint
from ..errors import InputError
from ..runs.execute import EngineName, execute
from ..runs.train import train
from ..texts import read_rows
from ..types import IGNORE, Config, Trust
from .rank import counted
from .sources import Several, network

VISITS = 60
"""Of a case in training, at most: beyond, networks know wrong labels by heart."""
LOOKS = 1000
"""At cases, that a network takes in all, within these numbers of visits. With five times as many, labels that all err
to one side were learnt: AUROC .76 -> .48 on chest X-rays."""
FEWEST = 12
"""Visits of a case, at least."""
OPTIM = ("optim.name=adam", "optim.lr=0.003", "optim.schedule=poly")
"""How a network learns in so few steps; by SGD, as methods do by default, it ranked wrong labels worse."""
PLAIN = ("method.loss=both", "network.norm=instance")
"""Of the default method and network, as measured."""
BELIEVED = 3
"""How much longer networks of reviewed labels learn: these may be known by heart."""
CLEAN = 0.25
"""Share of each batch that reviewed cases have."""
ENOUGH = 8
"""Reviewed cases from which networks learn from them alone."""


class CrossConfig(Config):
    """How the judging networks are trained."""

    folds: int = Field(2, ge=2, description="networks, each of which learns from all folds but one")
    method: str | None = Field(None, description="how they learn; by default plainly, by cross-entropy and Dice")
    overrides: tuple[str, ...] = Field((), description="further settings, as of train")
    engine: str = Field("local", description="local, ray or slurm")
    jobs: int | None = Field(None, ge=0, description="trainings at a time")
    options: Mapping[str, Any] = Field({}, description="of the engine")
    device: str = Field("auto", description="auto, cpu or cuda")


Reviewed = Mapping[str, Picture]
"""Case -> the label that a person is done with, IGNORE where nobody annotated."""


@dataclass(frozen=True)
class Training:
    """One network, a task of ``runs.execute``. data: the data set it learns from, by its fold. words: its settings."""

    out: Path
    key: str
    data: Path
    method: str
    words: tuple[str, ...]
    device: str = "auto"
    threads: int | None = None

    @property
    def folder(self) -> Path:
        return self.out / self.key

    @property
    def name(self) -> str:
        return self.key.replace("_", " ")

    def run(self) -> None:
        """Train it, from its last checkpoint if there is one."""
        if self.threads:
            torch.set_num_threads(self.threads)
        begun = (self.folder / "config.yaml").exists()
        train(self.data, self.folder, self.method, None, self.words, resume=begun, device=self.device)

    def failure(self) -> str | None:
        return None

    def settings(self) -> configs.RunConfig:
        return configs.load_config(None, self.method, self.words)

    def over(self) -> bool:
        """Whether it is trained already."""
        state, how = checkpoint.load_latest(self.folder / "last.ckpt", self.method), self.settings().train
        return state is not None and how.steps is not None and state["done"] >= how.epochs * how.steps


@dataclass(frozen=True)
class Crossing:
    """What networks for a data set are made from. folder: where they go. usable: the cases whose labels can be learnt
    from, and the values that each holds."""

    dataset: Dataset
    folder: Path
    config: CrossConfig
    usable: Mapping[str, frozenset[int]]

    def given(self, reviewed: Reviewed) -> Several:
        """The cross-fit on the given labels, those of ``reviewed`` put in; every network judges every case.

        Raises:
            InputError: fewer cases, or patients, than folds; folds that lack a class; or a training that failed.
        """
        every = frozenset(self.usable)
        folds = dealt(self.dataset, sorted(every), self.config.folds)
        parts = [every - fold for fold in folds]
        self._check_classes(parts)
        what = "to judge the masks" + (", the reviewed ones put in" if reviewed else "")
        return self._trained(Plan("cross", tuple(parts), (every,) * len(parts), False, what), reviewed)

    def halves(self, reviewed: Reviewed) -> Several:
        """Two networks that learn from the reviewed labels alone; each judges the half that it did not see."""
        every = frozenset(reviewed)
        folds = dealt(self.dataset, sorted(every), 2)
        what = "to see whether the reviewed masks alone can judge the rest"
        return self._trained(
            Plan("reviewed", tuple(every - fold for fold in folds), tuple(folds), True, what), reviewed
        )

    def of_reviewed(self, reviewed: Reviewed) -> Several:
        """One network of all reviewed labels, which judges every case."""
        what = "to judge the rest by all reviewed masks"
        return self._trained(Plan("reviewed", (frozenset(reviewed),), (frozenset(self.usable),), False, what), reviewed)

    def _check_classes(self, parts: Sequence[frozenset[str]]) -> None:
        for number, part in enumerate(parts):
            held = frozenset[int]().union(*(self.usable[name] for name in part))
            for name, value in self.dataset.labels.items():
                if value not in held:
                    where = [case for case, values in self.usable.items() if value in values]
                    seen = f"only in {', '.join(where[:3])}" if where else "in no usable label"
                    raise InputError(
                        f"{self.dataset.root}: network {number} of --cross {self.config.folds} would see no {name!r}, "
                        f"which is {seen}; {'give a larger' if len(where) > 1 else 'audit without'} --cross, or take "
                        "the class out of dataset.json."
                    )

    def _trained(self, plan: Plan, reviewed: Reviewed) -> Several:
        """The networks of a plan, trained as far as they are not, and ready to judge."""
        cfg = self.config
        method = cfg.method or "supervised"
        often = BELIEVED if plan.kind == "reviewed" else 1
        words = [self._words(number, part, reviewed, often) for number, part in enumerate(plan.parts)]
        key = digest([plan.kind, method, words, self._learnt(plan, reviewed)])[:12]
        data = self._write_data(self.folder / key / "data", plan.parts, reviewed)
        tasks = [Training(data.parent, f"network_{n}", data, method, each) for n, each in enumerate(words)]
        if not all(task.over() for task in tasks):
            print(_announced(plan, tasks[0].settings().train.epochs), file=sys.stderr, flush=True)
        jobs = cfg.jobs if cfg.jobs is not None or cfg.engine != "local" else _at_once(len(tasks), cfg.device)
        ended = execute(tasks, cast(EngineName, cfg.engine), jobs, cfg.device, cfg.options)
        for place, why in ended.items():
            raise InputError(f"{data.parent / place}: {why.rstrip('.')}.")
        device = torch.device("cuda" if cfg.device != "cpu" and torch.cuda.is_available() else "cpu")
        judges = [
            network(task.folder, cases, device, which="last", kind=plan.kind, held_out=plan.held_out)
            for task, cases in zip(tasks, plan.judged, strict=True)
        ]
        return Several(tuple(judges))

    def _words(self, fold: int, part: frozenset[str], reviewed: Reviewed, often: int) -> tuple[str, ...]:
        """The settings of a network: its fold, how long (``often`` times as long as a network of given labels), and a
        share of each batch for what may be believed."""
        how = self.config.overrides if self.config.method else (*PLAIN, *self.config.overrides)
        run = configs.load_config(None, self.config.method or "supervised", how)
        rows, cases = max(1, sum(run.train.batch.values())), len(self.usable)
        learns = cases - cases // self.config.folds  # as many steps for every network, of however few labels
        words = [*OPTIM, f"fold={fold}", f"train.epochs={often * visits(learns)}", f"train.steps={-(-learns // rows)}"]
        clean = {case.name for case in self.dataset.train if case.trust is Trust.CLEAN} | set(reviewed)
        if rows > 1 and part & clean and part - clean:
            trusted = max(1, round(CLEAN * rows))
            words.append(f"train.batch={{any: 0, clean: {trusted}, imperfect: {rows - trusted}}}")
        return (*words, *how)

    def _learnt(self, plan: Plan, reviewed: Reviewed) -> dict[str, Any]:
        """Everything that the networks learn, by content."""
        names = sorted(frozenset[str]().union(*plan.parts))
        cases = {case.name: case for case in self.dataset.train}
        labels = {
            name: hashlib.sha256(reviewed[name].array.tobytes()).hexdigest()
            if name in reviewed
            else content_hash([cast(Path, cases[name].label)])
            for name in names
        }
        return {"images": [_seen(path) for name in names for path in cases[name].images], "labels": labels,
                "parts": [sorted(part) for part in plan.parts]}  # fmt: skip

    def _write_data(self, folder: Path, parts: Sequence[frozenset[str]], reviewed: Reviewed) -> Path:
        """A data set that names images where they lie, and the given or the reviewed labels; a fold for each part."""
        about = read_json_object(self.dataset.root / "dataset.json")
        names, entries, trust = frozenset[str]().union(*parts), {}, ["case,supervision"]
        for case in (case for case in self.dataset.train if case.name in names):
            label = cast(Path, case.label).resolve()
            if case.name in reviewed:
                label = folder.resolve() / "reviewed" / f"{case.name}{self.dataset.file_ending}"
                picture = reviewed[case.name]
                array = picture.array if self.dataset.ignore is None else _ignored(picture.array, self.dataset.ignore)
                label.parent.mkdir(parents=True, exist_ok=True)
                write_label(label, array, picture.geometry)
            entries[case.name] = {"images": [str(path.resolve()) for path in case.images], "label": str(label)}
            said = Trust.CLEAN if case.name in reviewed else case.trust
            trust.append(f"{case.name},{said.name.lower()}")
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "supervision.csv") as file:
            file.write_text("\n".join(trust) + "\n", encoding="utf-8")
        write_json(folder / "splits_final.json", [{"train": sorted(part), "val": []} for part in parts])
        about |= {"dataset": entries, "numTraining": len(entries)}
        write_json(folder / "dataset.json", about)
        return folder


@dataclass(frozen=True)
class Plan:
    """Networks to train: the cases that each learns from, and those that it judges. what: for, in words."""

    kind: str
    parts: tuple[frozenset[str], ...]
    judged: tuple[frozenset[str], ...]
    held_out: bool
    what: str


def _announced(plan: Plan, epochs: int) -> str:
    """What a person is told before networks are trained."""
    number = len(plan.parts)
    are, each = ("is", "") if number == 1 else ("are", " each")
    return (
        f"{counted(number, 'network')} {are} trained now, {plan.what}, {counted(epochs, 'epoch')}{each}: minutes for "
        "small pictures, hours for large volumes; stop and go on at any time by the same command."
    )


def visits(cases: int) -> int:
    """How often a network of so many cases sees each."""
    return min(VISITS, max(FEWEST, round(LOOKS / cases)))


def _ignored(label: NDArray[Any], value: int) -> NDArray[Any]:
    return np.where(label == IGNORE, value, label)


def _seen(path: Path) -> tuple[str, int, int]:
    """An image as far as it is known without reading it."""
    about = path.stat()
    return str(path.resolve()), about.st_size, about.st_mtime_ns


def _at_once(tasks: int, device: str) -> int:
    """How many trainings at a time: one a core, or one a GPU."""
    if device != "cpu" and torch.cuda.is_available():
        return max(1, torch.cuda.device_count())
    return min(tasks, len(os.sched_getaffinity(0)))


def dealt(dataset: Dataset, names: Sequence[str], folds: int) -> list[frozenset[str]]:
    """``names`` in so many folds, those of a patient (``patients.csv``: case,patient) or volume in one.

    Raises:
        InputError: there are fewer of them than folds, or patients.csv is wrong.
    """
    groups: dict[str, list[str]] = {}
    of = patients(dataset) or {
        case: volume.name for volume in read_volumes(dataset.root, names) for case in volume.places
    }
    for name in names:
        groups.setdefault(of.get(name, name), []).append(name)
    if len(groups) < folds:
        kind = "patients or volumes" if len(groups) < len(names) else "case" if len(names) == 1 else "cases"
        raise InputError(
            f"{dataset.root} has {len(groups)} {kind} with a usable label, too few for {folds} folds; "
            f"{'give a smaller --cross, or ' if folds > 2 else ''}audit without --cross."
        )
    together = [groups[key] for key in sorted(groups)]
    return [frozenset(name for place in run for name in together[place]) for run in k_fold(len(together), folds)]


def patients(dataset: Dataset) -> dict[str, str]:
    """Case -> patient, from patients.csv beside dataset.json; empty without one.

    Raises:
        InputError: it cannot be read, or names a case that is not there.
    """
    path = dataset.root / "patients.csv"
    if not path.exists():
        return {}
    names, found = {case.name for case in (*dataset.train, *dataset.test)}, {}
    for place, row in read_rows(path, ("case", "patient"), "begin it with the line case,patient"):
        if row["case"] not in names:
            raise InputError(f"{place}, names the case {row['case']}, which is not there{nearest(row['case'], names)}.")
        found[row["case"]] = row["patient"]
    return found
