"""How much of what wrong masks cost does each method win back? The tables of docs/results.md.

    python benchmarks/evidence.py IMAGES OUT prepare        # data sets, their noisy copies
    python benchmarks/evidence.py IMAGES OUT run [WORD...]  # all runs whose names hold the words, finished ones kept
    python benchmarks/evidence.py IMAGES OUT table          # Dice on the clean test cases, mean ± sd of the last epochs

IMAGES holds a folder a data set, each with images/ and masks/. Every run of a data set has the same network, budget and
augmentation; "tau" is the true share of wrong pixels, which a practitioner does not know.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch

from maskmend.config import RunConfig, load_config
from maskmend.data.cache import Cache
from maskmend.data.dataset import Dataset, open_dataset
from maskmend.data.plan import make_plan
from maskmend.data.prepare import prepare
from maskmend.data.trainset import CaseSet
from maskmend.engine.events import read_events
from maskmend.engine.world import World
from maskmend.methods import Method
from maskmend.types import Trust
from maskmend.verbs.runs import build_method
from maskmend.verbs.simulate import simulate
from maskmend.verbs.train import make_fit

LAST = 5
"""Epochs that a figure averages."""
LEAST = 5.0
"""Points of Dice below which a gap is too small to speak of shares of it."""


METHODS = ("truth", "supervised", "co_teaching", "gsd_paper", "gsd_released")


@dataclass(frozen=True)
class Study:
    """One data set at one size and budget, and the noises put on it."""

    source: str
    prefix: str
    train: int
    test: int
    epochs: int
    settings: tuple[str, ...]
    noises: dict[str, tuple[str, dict[str, object]]]
    cap: int = 5
    """T of GSD-Net, pixels: 5 at 128² in the paper, scaled with the size."""
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1)


MARKOV = {
    "S_R": ("markov", {"steps": 200, "preference": 0.2, "variance": 0.05}),
    "S_E": ("markov", {"steps": 200, "preference": 0.8, "variance": 0.05}),
    "S_DE": ("dilate_erode", {"low": 9, "high": 11}),
}
AT_384 = {
    "S_R": ("markov", {"steps": 150, "preference": 0.2, "variance": 0.05}),
    "S_E": ("markov", {"steps": 150, "preference": 0.8, "variance": 0.05}),
    "S_DE": ("dilate_erode", {"low": 9, "high": 11}),
}
VOLUMES = {
    "S_R": ("markov", {"steps": 20, "preference": 0.2, "variance": 0.05}),
    "S_E": ("markov", {"steps": 20, "preference": 0.8, "variance": 0.05}),
    "S_DE": ("dilate_erode", {"low": 1, "high": 2}),
}
BUDGET = ("optim.lr=0.02", "train.threads=1", "train.log_every=20", "predict.window_batch=10")
FLAT = (*BUDGET, "train.batch={any: 8}")
FEW_IMAGES = ("network.norm=instance", "optim.name=adam", "optim.lr=0.003", "optim.schedule=poly")
SMALL_3D = (
    "augment.flip=0",
    "network.width=8",
    "network.strides=[2, 2]",
    "network.norm=instance",
    "optim.name=adam",
    "optim.lr=0.005",
)
STUDIES = {
    "cxr64": Study(
        "cxr_lungs_montgomery_shenzhen",
        "CHN",
        160,
        100,
        24,
        (*FLAT, "data.size=[64, 64]"),
        MARKOV,
        cap=3,
        methods=(*METHODS, "gsd_background"),
    ),
    "cxr128": Study(
        "cxr_lungs_montgomery_shenzhen", "CHN", 160, 100, 24, (*FLAT, "data.size=[128, 128]"), {"S_R": MARKOV["S_R"]}
    ),
    "isic64": Study(
        "isic2017_val_dermoscopy", "", 64, 34, 30, (*FLAT, "data.size=[64, 64]", *FEW_IMAGES), AT_384, cap=3
    ),
    "kvasir64": Study(
        "kvasir_seg_polyps",
        "",
        120,
        80,
        30,
        (*FLAT, "data.size=[64, 64]", *FEW_IMAGES),
        {"S_R": MARKOV["S_R"]},
        cap=3,
        methods=("truth", "supervised", "co_teaching", "gsd_paper"),
        seeds=(0,),
    ),
    "hippocampus": Study(
        "msd_hippocampus_3d",
        "",
        24,
        20,
        16,
        (*BUDGET, "train.batch={any: 2}", "data.size=[32, 32, 32]", *SMALL_3D),
        VOLUMES,
        cap=3,
        methods=(*METHODS, "gsd_by_class"),
    ),
}


def prepare_study(study: Study, images: Path, folder: Path) -> None:
    """The first cases by name as an nnU-Net data set with a clean test part, and one noisy copy a noise."""
    chosen = sorted(p for p in (images / study.source / "images").iterdir() if p.name.startswith(study.prefix))
    source = folder / "source"
    for part in ("images", "masks"):
        (source / part).mkdir(parents=True, exist_ok=True)
        for image in chosen[: study.train + study.test]:
            found = next((images / study.source / part).glob(image.name.split(".")[0] + ".*"))
            (source / part / found.name).symlink_to(found.resolve())
    prepare(source, folder / "truth", test=study.test / (study.train + study.test))
    for name, (noise, parameters) in study.noises.items():
        simulate(folder / "truth", folder / name, noise, parameters)


def method_words(name: str, study: Study, noise: str, tau: float) -> tuple[str, ...]:
    """The settings of one row; T and the start of refinement are scaled to our size and budget, ramps are as given."""
    given = (f"method.tau={tau:.4f}",)
    if name in ("truth", "supervised"):
        return ("method.name=supervised", "method.loss=ce")
    if name == "co_teaching":
        return ("method.name=co_teaching", *given)
    if name == "gsd_paper":
        return ("method.name=gsd_net", *given, f"method.weight_cap={study.cap}")
    if name == "gsd_by_class":
        return (*given, f"method.weight_cap={study.cap}", "method.ranking=class")
    if name == "gsd_background":
        return (*given, f"method.weight_cap={study.cap}", "method.transfer=majority", "method.majority=0.1")
    clip = (f"method.weight_cap={study.cap}", f"data.sidemaps.ring_cap={study.cap}")
    start = (f"method.refine_from={0.3 * study.epochs:.0f}", f"method.weight_epochs={study.epochs // study.cap}")
    by_hand = (
        ("method.majority=0.1",) if study.prefix == "CHN" and noise == "S_E" else ()
    )  # as its authors set it there
    return (*given, *clip, *start, *by_hand)


def settings_of(name: str, study: Study, noise: str, tau: float, seed: int) -> RunConfig:
    preset = Path(__file__).parents[1] / "configs/gsd_net/released.yaml" if name == "gsd_released" else None
    alike = ("data.normalisation=auto", "fold=all", f"seed={seed}", f"train.epochs={study.epochs}")
    return load_config(preset, None, (*alike, *study.settings, *method_words(name, study, noise, tau)))


def wrong_share(noisy: CaseSet, truth: CaseSet) -> float:
    """The share of pixels whose given label is not the true one, on the training grid."""
    return mean(float((noisy.whole(i)[1] != truth.whole(i)[1]).float().mean()) for i in range(len(noisy)))


def for_measuring(dataset: Dataset) -> Dataset:
    """The test cases with their true labels, as a set to predict."""
    return replace(dataset, train=tuple(replace(c, label=c.reference, trust=Trust.CLEAN) for c in dataset.test))


def run_one(name: str, study: Study, folder: Path, noise: str, seed: int) -> None:
    """Train one row and measure it on the clean test cases after every epoch."""
    output = folder / "runs" / noise / f"{name}-{seed}"
    if (output / "done.json").exists():
        return
    torch.set_num_threads(1)
    given, true = (open_dataset(folder / place) for place in (noise, "truth"))
    cache, world = Cache(folder / "cache"), World()
    plan = make_plan(true, true.train, settings_of("truth", study, noise, 0, seed).data)
    tau = wrong_share(*(CaseSet(d.train, d, plan, cache) for d in (given, true)))
    run = settings_of(name, study, noise, tau, seed)
    model = build_method(run, plan)
    training = true if name == "truth" else given
    test = for_measuring(true)
    sets = [CaseSet(d.train, d, plan, cache, maps) for d, maps in ((training, model.maps), (test, ()))]
    output.mkdir(parents=True, exist_ok=True)
    fit = make_fit(run, model, sets, plan, output, world, resume=True)
    measure = fit.validate

    def late(method: Method) -> dict[str, float]:
        """Measured in every fourth epoch and in the last ones."""
        epoch = fit.done * study.epochs // (len(fit.data.schedule(seed, 0, run.train.batch, None)) * study.epochs)
        return measure(method) if measure and (epoch % 4 == 0 or epoch > study.epochs - LAST) else {}

    fit.validate = late
    fit.run()
    scores = [event["dice"] for event in read_events(output, "validation") if "dice" in event]
    (output / "done.json").write_text(json.dumps({"tau": tau, "dice": scores}))


def rows(study: Study) -> Iterator[tuple[str, str, int]]:
    """(noise, method, seed) of every run; the truth needs no noise and is run once a seed."""
    for seed in study.seeds:
        for noise in study.noises:
            for method in study.methods:
                once = {"truth": next(iter(study.noises)), "gsd_background": "S_E", "gsd_by_class": "S_R"}
                if once.get(method, noise) == noise:
                    yield noise, method, seed


def table(name: str, study: Study, folder: Path) -> str:
    """Markdown: Dice in percent, mean ± sd over the last epochs of each seed; and the share of the gap won back."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    taus: dict[str, float] = {}
    for noise, method, seed in rows(study):
        path = folder / "runs" / noise / f"{method}-{seed}" / "done.json"
        if path.exists():
            done = json.loads(path.read_text())
            found["" if method == "truth" else noise, method].append([100 * d for d in done["dice"][-LAST:]])
            taus[noise] = done["tau"]
    top = mean(mean(seed) for seed in found["", "truth"])
    lines = [
        "| noise | τ | method | seeds: mean ± sd of the last 5 epochs | mean | gap won back |",
        "|---|---|---|---|---|---|",
    ]
    for (noise, method), seeds in found.items():
        each = "; ".join(f"{mean(s):.1f} ± {stdev(s):.1f}" for s in seeds)
        middle = mean(mean(s) for s in seeds)
        plain = found.get((noise, "supervised"))
        low = mean(mean(s) for s in plain) if plain else middle
        gap = f"{100 * (middle - low) / (top - low):.0f} %" if top - low >= LEAST else f"(gap of {top - low:.1f})"
        won = "" if method in ("truth", "supervised") else gap
        tau = f"{taus[noise]:.3f}" if noise else ""
        lines.append(f"| {noise or 'none'} | {tau} | {method} | {each} | {middle:.1f} | {won} |")
    return f"### {name}\n\n" + "\n".join(lines)


def main(images: Path, out: Path, verb: str, words: list[str]) -> None:
    for name, study in STUDIES.items():
        folder = out / name
        if verb == "prepare" and not folder.exists():
            prepare_study(study, images, folder)
        elif verb == "run":
            for noise, method, seed in rows(study):
                if all(word in f"{name}/{noise}/{method}-{seed}" for word in words):
                    print(name, noise, method, seed, flush=True)
                    run_one(method, study, folder, noise, seed)
        elif verb == "table" and (folder / "runs").exists():
            print(table(name, study, folder), end="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
