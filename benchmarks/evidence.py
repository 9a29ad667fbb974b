"""How much of what wrong masks cost does each method win back? The tables of docs/results.md.

    python benchmarks/evidence.py IMAGES OUT prepare [STUDY]  # data sets, their noisy copies
    python benchmarks/evidence.py IMAGES OUT run [WORD...]    # all runs whose names hold the words, finished ones kept
    python benchmarks/evidence.py IMAGES OUT table [STUDY]    # Dice on the clean test cases, mean ± sd of last epochs

IMAGES holds a folder a data set, each with images/ and masks/. What is run on what stands in ``evidence_studies.py``.
Every run of a data set has the same network, budget and augmentation, so many steps of so many rows; "tau" is the true
share of wrong pixels, which a practitioner does not know. Methods that need clean cases get every tenth's true mask.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from evidence_studies import ONCE, ROWS, STUDIES, TRUE, Study, Wrong

from maskmend.config import RunConfig, load_config
from maskmend.data.cache import Cache
from maskmend.data.dataset import Dataset, open_dataset
from maskmend.data.plan import make_plan
from maskmend.data.refined import RefinedStore
from maskmend.data.trainset import CaseSet
from maskmend.engine.events import read_events
from maskmend.engine.world import World
from maskmend.methods import Method
from maskmend.prepare import prepare
from maskmend.runs.folder import build_method
from maskmend.runs.train import make_fit
from maskmend.types import Trust
from maskmend.verbs.simulate import simulate

LAST = 5
"""Epochs that a figure averages."""
LEAST = 5.0
"""Points of Dice below which a gap is too small to speak of shares of it."""
CLEAN = 10
"""One case in so many is clean, for the methods that need some."""


def prepare_study(study: Study, images: Path, folder: Path) -> None:
    """The first cases by name as an nnU-Net data set with a clean test part, and two noisy copies a noise: one of all
    cases, one that leaves every tenth as it is."""
    chosen = sorted(p for p in (images / study.source / "images").iterdir() if p.name.startswith(study.prefix))
    source = folder / "source"
    for part in ("images", "masks"):
        (source / part).mkdir(parents=True, exist_ok=True)
        for image in chosen[: study.train + study.test]:
            found = next((images / study.source / part).glob(image.name.split(".")[0] + ".*"))
            (source / part / found.name).symlink_to(found.resolve())
    prepare(source, folder / "truth", test=study.test / (study.train + study.test))
    names = [case.name for case in open_dataset(folder / "truth").train]
    said = folder / "truth" / "supervision.csv"
    for clean in (False, True):
        rows = [f"{name},clean" for name in names[::CLEAN]] if clean else []
        said.write_text("\n".join(["case,supervision", *rows]) + "\n")
        for name, noise in study.noises.items():
            simulate(folder / "truth", folder / place(name, clean), noise.name, noise.parameters, noise.fraction)
    said.unlink()


def place(noise: str, clean: bool) -> str:
    """The folder of a noisy copy."""
    return f"{noise}+clean" if clean else noise


def settings_of(name: str, study: Study, noise: str, wrong: Wrong, seed: int) -> RunConfig:
    row = ROWS[name]
    preset = Path(__file__).parents[1] / "configs" / row.preset if row.preset else None
    alike = ("data.normalisation=auto", "fold=all", f"seed={seed}", f"train.epochs={study.epochs}")
    budget = (f"train.steps={study.steps}", f"train.batch={row.batch(study.rows)}")
    return load_config(preset, None, (*alike, *budget, *study.settings, *row.words(study, noise, wrong)))


def wrong_share(noisy: CaseSet, truth: CaseSet) -> Wrong:
    """The share of pixels whose given label is not the true one, on the training grid."""
    classes = noisy.plan.classes
    table = torch.zeros(classes, classes, dtype=torch.int64)
    for i in range(len(noisy)):
        given, true = noisy.whole(i)[1], truth.whole(i)[1]
        table += torch.bincount((given * classes + true).flatten(), minlength=classes**2).view(classes, classes)
    right, given = table.diagonal(), table.sum(1)
    by_class = 1 - right / given.clamp_min(1)
    return Wrong(float(1 - right.sum() / given.sum()), tuple(by_class.tolist()))


def for_measuring(dataset: Dataset) -> Dataset:
    """The test cases with their true labels, as a set to predict."""
    return replace(dataset, train=tuple(replace(c, label=c.reference, trust=Trust.CLEAN) for c in dataset.test))


def run_one(name: str, study: Study, folder: Path, noise: str, seed: int) -> None:
    """Train one row and measure it on the clean test cases after every epoch."""
    output = folder / "runs" / noise / f"{name}-{seed}"
    if (output / "done.json").exists():
        return
    torch.set_num_threads(1)
    given, true = (open_dataset(folder / where) for where in (place(noise, ROWS[name].clean), "truth"))
    cache, world = Cache(folder / "cache"), World()
    plan = make_plan(true, true.train, settings_of("truth", study, noise, Wrong(0, ()), seed).data)
    wrong = wrong_share(*(CaseSet(d.train, d, plan, cache) for d in (given, true)))
    run = settings_of(name, study, noise, wrong, seed)
    model = build_method(run, plan)
    plan = plan.model_copy(update={"sidemaps": run.data.sidemaps})
    training = true if name in TRUE else given
    test = for_measuring(true)
    store = RefinedStore(output / "refined")
    sets = [CaseSet(training.train, training, plan, cache, model.maps, store), CaseSet(test.train, test, plan, cache)]
    model.check(sets[0])
    output.mkdir(parents=True, exist_ok=True)
    fit = make_fit(run, model, sets, plan, output, world, resume=True)
    measure, steps = fit.validate, len(sets[0].schedule(seed, 0, run.train.batch, run.train.steps))

    def late(method: Method) -> dict[str, float]:
        """Measured in every fourth epoch, in the last ones, and where the method ends by itself."""
        epoch = fit.done // steps
        due = epoch % 4 == 0 or epoch > study.epochs - LAST or method.finished()
        return measure(method) if measure and due else {}

    fit.validate = late
    fit.run()
    scores = [event["dice"] for event in read_events(output, "validation") if "dice" in event]
    (output / "done.json").write_text(
        json.dumps({"tau": wrong.share, "by_class": wrong.by_class, "dice": scores, "epochs": fit.done / steps})
    )


def rows(study: Study) -> Iterator[tuple[str, str, int]]:
    """(noise, method, seed) of every run; what needs no noise is run once a seed."""
    for seed in study.seeds:
        for noise in study.noises:
            for method in study.methods:
                if method in ONCE and noise != next(iter(study.noises)):
                    continue
                if noise in study.under.get(method, study.noises):
                    yield noise, method, seed


def last(done: dict[str, Any], study: Study) -> list[float]:
    """Dice in percent: of the last epochs, or at the end of a run that ended by itself."""
    return [100 * d for d in done["dice"][-(LAST if done["epochs"] == study.epochs else 1) :]]


def table(name: str, study: Study, folder: Path) -> str:
    """Markdown: Dice in percent, mean ± sd over the last epochs of each seed; and the share of the gap won back."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    taus: dict[str, float] = {}
    for noise, method, seed in rows(study):
        path = folder / "runs" / noise / f"{method}-{seed}" / "done.json"
        if path.exists():
            done = json.loads(path.read_text())
            found["" if method in ONCE else noise, method].append(last(done, study))
            if not ROWS[method].clean:
                taus[noise] = done["tau"]
    top = mean(mean(seed) for seed in found["", "truth"])
    lines = [
        "| noise | τ | method | seeds: mean ± sd of the last 5 epochs | mean | gap won back |",
        "|---|---|---|---|---|---|",
    ]
    order = ["", *study.noises]
    for (noise, method), seeds in sorted(found.items(), key=lambda item: order.index(item[0][0])):
        each = "; ".join(f"{mean(s):.1f} ± {stdev(s):.1f}" if len(s) > 1 else f"{s[0]:.1f}" for s in seeds)
        middle = mean(mean(s) for s in seeds)
        plain = found.get((noise, "supervised"))
        low = mean(mean(s) for s in plain) if plain else middle
        gap = f"{100 * (middle - low) / (top - low):.0f} %" if top - low >= LEAST else f"(gap of {top - low:.1f})"
        won = "" if method == "supervised" or method in ONCE or not plain else gap
        tau = f"{taus[noise]:.3f}" if noise in taus else ""
        clean = " *" if ROWS[method].clean else ""
        lines.append(f"| {noise or 'none'} | {tau} | {method}{clean} | {each} | {middle:.1f} | {won} |")
    return f"### {name}\n\n" + "\n".join(lines)


def main(images: Path, out: Path, verb: str, words: list[str]) -> None:
    for name, study in STUDIES.items():
        folder = out / name
        chosen = not words or any(word in name for word in words)
        if verb == "prepare" and chosen and not folder.exists():
            prepare_study(study, images, folder)
        elif verb == "run":
            for noise, method, seed in rows(study):
                if all(word in f"{name}/{noise}/{method}-{seed}" for word in words):
                    print(name, noise, method, seed, flush=True)
                    run_one(method, study, folder, noise, seed)
        elif verb == "table" and chosen and (folder / "runs").exists():
            print(table(name, study, folder), end="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
