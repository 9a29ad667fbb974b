"""The runs of a benchmark. A run is known by a key: the hash of everything that determines it, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import RunConfig
from ..data.cache import digest
from ..errors import InputError
from .data import Material, Most, Wrong, deal
from .plan import NONE, BenchPlan, Labels, combinations, settings

IDLE = {"train": ("threads", "save_every", "log_every"), "events": ("tensorboard", "mlflow")}
"""Settings that change how a run is made or told, not what comes out."""


@dataclass(frozen=True)
class Run:
    """One cell of the grid, with all that a process needs to run it. ``oracle``: what it was told that a practitioner
    does not know: truth, clean, tau. ``device``, ``threads``: where, not what."""

    out: Path
    key: str
    dataset: str
    noise: str
    method: str
    preset: str
    network: str
    seed: int
    config: RunConfig
    words: tuple[str, ...]
    oracle: tuple[str, ...]
    true: Path
    given: Path
    labels: Labels
    clean: float
    fold: int | None
    most: Most
    every: int
    last: int
    device: str = "auto"
    threads: int | None = None

    @property
    def folder(self) -> Path:
        return self.out / "runs" / self.key

    @property
    def name(self) -> str:
        """As a person calls it."""
        part = "" if self.fold is None else f" fold {self.fold}"
        return f"{self.dataset}/{self.noise}/{self.method}/{self.network} seed {self.seed}{part}"

    def done(self) -> dict[str, Any] | None:
        """How it ended; None where it did not."""
        path = self.folder / "done.json"
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        return found

    def about(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        names = ("dataset", "noise", "method", "preset", "network", "seed", "words", "oracle", "key")
        more = {"method_name": self.config.method_name, "labels": self.labels, "clean": self.clean, "fold": self.fold}
        return {name: getattr(self, name) for name in names} | more | {"version": __version__, "last": self.last}


def runs_of(plan: BenchPlan, materials: Mapping[str, Material], out: Path) -> list[Run]:
    """Every run that the plan asks for, the first seed's first.

    Raises:
        InputError: two rows are the same run.
    """
    runs = [
        run for seed in plan.seeds for row in combinations(plan) for run in _of_row(plan, materials, out, row, seed)
    ]
    seen: dict[str, Run] = {}
    for run in runs:
        if run.key in seen:
            raise InputError(
                f"{plan.file}: {seen[run.key].name} and {run.name} are the same run; take one of them out."
            )
        seen[run.key] = run
    return runs


def _of_row(
    plan: BenchPlan, materials: Mapping[str, Material], out: Path, row: tuple[str, str, str], seed: int
) -> Iterator[Run]:
    """The runs of (data set, method, network) with one seed: one a noise and fold; one a fold if it meets no noise."""
    dataset, name, network = row
    method, data, labels = plan.methods[name], materials[dataset], plan.methods[name].given()
    most = (plan.datasets[dataset].train_cases, plan.datasets[dataset].test_cases)
    untouched = labels in ("truth", "clean")
    noises = [NONE] if untouched else [noise for noise in plan.noises if noise in (method.noises or plan.noises)]
    for noise in noises:
        wanted = plan.noise_on(dataset, noise) if noise != NONE else None
        for fold in plan.datasets[dataset].folds or (None,):
            train, _ = deal(data.true, data.given(noise), labels, plan.clean, fold, most)
            tau = _tau(plan, row, data.wrong(noise, train)) if plan.tau else None
            config, words = settings(plan, row, seed, fold, tau)
            kept = plan.clean if labels in ("given_and_clean", "clean") else 0.0
            given = {"data": data.digest, "noise": wanted and wanted.model_dump(mode="json"), "labels": labels}
            measured = {"most": most, "every": plan.budget.every, "last": plan.last, "version": __version__}
            yield Run(
                out=out,
                key=digest({"config": trimmed(config), "clean": kept, **given, **measured})[:16],
                dataset=dataset,
                noise=noise,
                method=name,
                preset=method.preset,
                network=network,
                seed=seed,
                config=config,
                words=words,
                oracle=_oracle(labels, tau),
                true=data.true.root.resolve(),
                given=data.given(noise).root.resolve(),
                labels=labels,
                clean=kept,
                fold=fold,
                most=most,
                every=plan.budget.every,
                last=plan.last,
            )


def _oracle(labels: Labels, tau: str | None) -> tuple[str, ...]:
    """What a run was told that a practitioner does not know, or had to pay for."""
    told = {"truth": ("truth",), "clean": ("clean",), "given_and_clean": ("clean",)}.get(labels, ())
    return (*told, *(("tau",) if tau else ()))


def trimmed(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what comes out."""
    tree = config.model_dump(mode="json")
    for group, names in IDLE.items():
        tree[group] = {name: value for name, value in tree[group].items() if name not in names}
    return tree


def _tau(plan: BenchPlan, row: tuple[str, str, str], wrong: Wrong) -> str | None:
    """The true share of wrong pixels as a word, by class where the settings have one a class; None without a tau.

    A row whose own words name a tau keeps that.
    """
    config, words = settings(plan, row, 0)
    if "tau" not in config.method or any(word.startswith("method.tau=") for word in words):
        return None
    by_class = isinstance(config.method["tau"], list | tuple)
    return f"method.tau={[round(share, 4) for share in wrong.by_class] if by_class else round(wrong.share, 4)}"
