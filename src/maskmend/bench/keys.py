"""The runs of a benchmark. A run is known by a key: the hash of everything that determines it, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import RunConfig
from ..data.cache import digest
from ..errors import InputError
from ..texts import read_object
from .data import Material, Wrong
from .deal import Deal
from .plan import NONE, BenchPlan, DataSpec, Labels, MethodSpec, Reported, combinations, settings

IDLE = {"train": ("threads", "prefetch", "compile", "save_every", "log_every"), "events": ("tensorboard", "mlflow")}
"""Settings that change how a run is made or told, not what comes out."""


@dataclass(frozen=True)
class Measuring:
    """Dice ``every`` so many epochs and after each of the ``last`` ones; in the end all ``metrics``. Against the label,
    or against that of each of the ``raters``; of whole ``volumes`` where cases are slices."""

    every: int
    last: int
    metrics: tuple[str, ...]
    raters: bool
    volumes: bool = False


@dataclass(frozen=True)
class Run:
    """One cell of the grid, with all that a process needs to run it. ``oracle``: what it was told that a practitioner
    does not know: truth, clean, tau. ``known``: whether the true masks of training cases are known. ``device``,
    ``threads``: where, not what."""

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
    reported: Reported
    true: Path
    given: Path
    deal: Deal
    measuring: Measuring
    known: bool = True
    device: str = "auto"
    threads: int | None = None

    @property
    def folder(self) -> Path:
        return self.out / "runs" / self.key

    @property
    def name(self) -> str:
        """As a person calls it."""
        part = "" if self.deal.fold is None else f" fold {self.deal.fold}"
        return f"{self.dataset}/{self.noise}/{self.method}/{self.network} seed {self.seed}{part}"

    def done(self) -> dict[str, Any] | None:
        """How it ended; None where it did not."""
        with suppress(InputError):  # it was being written, or was spoilt: the run ends once more
            found = read_object(self.folder / "done.json")
            return found if isinstance(found.get("failed", 0), str | None) else None
        return None

    def failure(self) -> str | None:
        """Why it failed; None where it did not, or did not end."""
        return (self.done() or {}).get("failed")

    def run(self) -> None:
        """Train and measure, as ``run.run_one``."""
        from .run import run_one

        run_one(self)

    def about(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        names = ("dataset", "noise", "method", "preset", "network", "seed", "words", "oracle", "key")
        more = {"method_name": self.config.method_name, "reported": self.reported, "version": __version__}
        return {name: getattr(self, name) for name in names} | more | asdict(self.deal) | asdict(self.measuring)


def runs_of(plan: BenchPlan, materials: Mapping[str, Material], out: Path) -> list[Run]:
    """Every run that the plan asks for, the first seed's first. Of a row that no noise reaches, one run may stand under
    several noises: its key is the same.

    Raises:
        InputError: two rows are the same run.
    """
    runs = [
        run for seed in plan.seeds for row in combinations(plan) for run in _of_row(plan, materials, out, row, seed)
    ]
    seen: dict[str, Run] = {}
    for run in runs:
        if (other := seen.setdefault(run.key, run)).noise == run.noise and other is not run:
            raise InputError(f"{plan.file}: {other.name} and {run.name} are the same run; take one of them out.")
    return runs


def _of_row(
    plan: BenchPlan, materials: Mapping[str, Material], out: Path, row: tuple[str, str, str], seed: int
) -> Iterator[Run]:
    """The runs of (data set, method, network) with one seed: one a noise and fold; one a fold if it meets no noise."""
    dataset, name, network = row
    method, data, spec = plan.methods[name], materials[dataset], plan.datasets[dataset]
    for noise, fold in product(_noises(plan, method, dataset), spec.folds or (None,)):
        deal = _deal(plan, spec, method, noise, fold)
        wanted = plan.noise_on(dataset, noise) if deal.labels in ("given", "given_and_clean") else None
        train, test = deal.cases(data.true, data.given(noise))
        volumes = bool(deal.volumes(data.true, test, spec.volumes))
        measuring = Measuring(plan.budget_on(dataset).every, plan.last, plan.metrics, spec.raters, volumes)
        tau = _tau(plan, row, noise, data.wrong(noise, train)) if plan.tau and data.known else None
        config, words = settings(plan, row, seed, fold, tau, noise)
        given = {
            "data": data.digest,
            "noise": wanted.of_masks() if wanted and wanted.noise else None,
            "deal": asdict(deal),
            **({} if data.known else {"truth": "unknown"}),
        }
        how = {"config": trimmed(config), "measured": asdict(measuring), "version": __version__}
        yield Run(
            out=out,
            key=digest({**how, **given})[:16],
            dataset=dataset,
            noise=noise,
            method=name,
            preset=method.preset,
            network=network,
            seed=seed,
            config=config,
            words=words,
            oracle=_oracle(deal.labels, tau),
            reported=method.reported,
            true=data.true.root.resolve(),
            given=data.given(noise).root.resolve(),
            deal=deal,
            measuring=measuring,
            known=data.known,
        )


def _noises(plan: BenchPlan, method: MethodSpec, dataset: str) -> list[str]:
    """The noises a row is run under: none for what no noise reaches, but those whose share of clean cases differs."""
    if method.given() == "truth" or (method.given() == "clean" and not _clean_differs(plan)):
        return [NONE]
    return plan.noises_of(method, dataset)


def _clean_differs(plan: BenchPlan) -> bool:
    return len({plan.clean_under(noise) for noise in plan.noises} | {plan.clean}) > 1


def _deal(plan: BenchPlan, spec: DataSpec, method: MethodSpec, noise: str, fold: int | None) -> Deal:
    """What a run is given; only what makes a difference to it."""
    wanted, labels = plan.noises.get(noise), method.given()
    unlabeled = wanted.unlabeled if wanted and labels in ("given", "given_and_clean") else 0.0
    clean = plan.clean_under(noise) if unlabeled or labels in ("given_and_clean", "clean") else 0.0
    return Deal(labels, clean, unlabeled, fold, spec.train_cases, spec.test_cases)


def _oracle(labels: Labels, tau: str | None) -> tuple[str, ...]:
    """What a run was told that a practitioner does not know, or had to pay for."""
    told = {"truth": ("truth",), "clean": ("clean",), "given_and_clean": ("clean",)}.get(labels, ())
    return (*told, *(("tau",) if tau else ()))


def trimmed(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what comes out."""
    tree = config.model_dump(mode="json")
    if config.start is None:
        del tree["start"]
    for group, names in IDLE.items():
        tree[group] = {name: value for name, value in tree[group].items() if name not in names}
    return tree


def _tau(plan: BenchPlan, row: tuple[str, str, str], noise: str, wrong: Wrong) -> str | None:
    """The true share of wrong pixels as a word, by class where the settings have one a class; None without a tau.

    A row whose own words name a tau keeps that.
    """
    config, words = settings(plan, row, 0, noise=noise)
    if "tau" not in config.method or any(word.startswith("method.tau=") for word in words):
        return None
    by_class = isinstance(config.method["tau"], list | tuple)
    return f"method.tau={[round(share, 4) for share in wrong.by_class] if by_class else round(wrong.share, 4)}"
