"""Which masks are wrong, and may a network redraw them? The tables of scores and guards of docs/results.md.

    python benchmarks/audit.py IMAGES OUT run [WORD...]    # all cells whose names hold the words, finished ones kept
    python benchmarks/audit.py IMAGES OUT table [WORD...]  # every score and every guard on every cell, and on average

IMAGES holds a folder a data set, each with images/ and masks/. A cell is a data set, a noise and a seed: two networks
learn plainly, each from half of the cases with the masks given, for at most 60 visits of a case; both then judge all
cases. A cell keeps their probabilities, so that scores and guards are tried without training. What is compared stands
in ``audit_scores.py``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from audit_scores import guards_table, load, scores_table
from evidence_studies import CHEST, CXR, HIPPOCAMPUS, ISIC, MARKOV, MSD, SKIN, VOLUMES, NoiseSpec

from maskmend.audit.checks import look
from maskmend.audit.cross import OPTIM, visits
from maskmend.audit.edges import doubt, off
from maskmend.config import RunConfig, load_config
from maskmend.data.cache import Cache
from maskmend.data.dataset import Case, Dataset, open_dataset
from maskmend.data.formats import read_label, replacing, write_label
from maskmend.data.plan import make_plan
from maskmend.data.trainset import CaseSet
from maskmend.engine.world import World
from maskmend.methods import Method
from maskmend.noise import apply, draw, make
from maskmend.prepare import prepare
from maskmend.runs.folder import build_method
from maskmend.runs.train import make_fit

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Way:
    """A noise, and what is decided of it instead of being drawn."""

    noise: NoiseSpec
    decided: tuple[tuple[str, str], ...] = ()


def ways(markov: dict[str, NoiseSpec], cube: NoiseSpec) -> dict[str, Way]:
    """Seven ways of being wrong."""
    return {
        "wide": Way(markov["S_DE"], (("kind", "dilate"),)),
        "tight": Way(markov["S_DE"], (("kind", "erode"),)),
        "shifted": Way(NoiseSpec("affine")),
        "missing": Way(NoiseSpec("missing")),
        "S_R": Way(markov["S_R"]),
        "S_E": Way(markov["S_E"]),
        "cubes": Way(cube),
    }


FLAT = ways(MARKOV, NoiseSpec("dilate_erode_cube", {"low": 9, "high": 45}))
SOLID = ways(VOLUMES, NoiseSpec("dilate_erode_cube", {"low": 2, "high": 4}))
SIDES = ("wide", "tight")


@dataclass(frozen=True)
class Set:
    """The first cases of a data set by name, how networks learn from it, and the ways of being wrong at its size."""

    source: str
    prefix: str
    cases: int
    rows: int
    settings: tuple[str, ...]
    ways: dict[str, Way]


SETS = {
    "chest": Set(CXR, "CHN", 160, 8, CHEST, FLAT),
    "hippocampus": Set(MSD, "", 60, 2, HIPPOCAMPUS, SOLID),
    "dermoscopy": Set(ISIC, "", 64, 8, SKIN, FLAT),
    "polyps": Set("kvasir_seg_polyps", "", 200, 8, SKIN, FLAT),
}
TUNED = ("chest", "hippocampus", "dermoscopy")
"""Sets that are run with every noise. Scores and guards were chosen on the cells of seed 0, those of polyps too."""
NOISES: dict[str, tuple[float, tuple[str, ...]]] = {  # the share of masks that are wrong, and the ways, in turn
    "mixed40": (0.4, tuple(FLAT)),
    "clean": (0.0, ()),
    "small60": (0.6, ("tight", "S_R")),
    "large60": (0.6, ("wide", "S_E")),
    "sides40": (0.4, SIDES),
    "mixed20": (0.2, tuple(FLAT)),
    "mixed10": (0.1, tuple(FLAT)),
    "all_S_R": (1.0, ("S_R",)),
    "all_S_E": (1.0, ("S_E",)),
    "tight60": (0.6, ("tight",)),  # most are wrong, and all of these alike: what no network can see
}
TUNED_NOISES = tuple(noise for noise in NOISES if noise != "sides40")


def cells(words: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """(data set, noise, seed), those that tell most first."""
    for seed in SEEDS:
        for noise in NOISES:
            for name in SETS:
                known = noise in TUNED_NOISES if name in TUNED else noise in ("sides40", "mixed40", "clean")
                if known and all(word in f"{name}/{noise}/{seed}" for word in words):
                    yield name, noise, seed


def prepare_set(chosen: Set, images: Path, folder: Path) -> Dataset:
    """The cases with their true masks, an nnU-Net data set in ``folder``/truth."""
    if not (folder / "truth").exists():
        there = sorted(p for p in (images / chosen.source / "images").iterdir() if p.name.startswith(chosen.prefix))
        for part in ("images", "masks"):
            (folder / "source" / part).mkdir(parents=True, exist_ok=True)
            for image in there[: chosen.cases]:
                found = next((images / chosen.source / part).glob(image.name.split(".")[0] + ".*"))
                (folder / "source" / part / found.name).symlink_to(found.resolve())
        prepare(folder / "source", folder / "truth")
        shutil.rmtree(folder / "source")
    return open_dataset(folder / "truth")


def corrupted(cases: Sequence[Case], chosen: Set, noise: str, seed: int, folder: Path) -> tuple[list[Case], list[str]]:
    """The cases with the masks given, written to ``folder``; and what was done to each, "" for nothing."""
    share, kinds = NOISES[noise]
    order = np.random.default_rng(seed).permutation(len(cases))
    done = [""] * len(cases)
    for place, case in enumerate(order[: round(share * len(cases))]):
        done[case] = kinds[place % len(kinds)]
    given = []
    folder.mkdir(parents=True, exist_ok=True)
    for place, (case, kind) in enumerate(zip(cases, done, strict=True)):
        given.append(case)
        if kind and case.label is not None:
            truth, way = read_label(case.label), chosen.ways[kind]
            spoiler = make(way.noise.name, way.noise.parameters)
            drawn = draw(truth.array, spoiler, np.random.default_rng((seed, place)))
            label = apply(truth.array, spoiler, {k: {**d, **dict(way.decided)} for k, d in drawn.items()})
            given[-1] = replace(case, label=folder / case.label.name)
            write_label(folder / case.label.name, label, truth.geometry)
    return given, done


def run_cell(images: Path, out: Path, name: str, noise: str, seed: int) -> None:
    """Spoil the masks, train the two networks, and keep what they say of every case."""
    folder, chosen = out / name, SETS[name]
    path = folder / f"{noise}-{seed}.npz"
    if path.exists():
        return
    torch.set_num_threads(1)
    data, scratch = prepare_set(chosen, images, folder), folder / f"{noise}-{seed}"
    given, done = corrupted(data.train, chosen, noise, seed, scratch / "labels")
    half = np.random.default_rng((seed, 1)).permutation(len(given)) % 2
    parts = [[case for case, side in zip(given, half, strict=True) if side != net] for net in (0, 1)]
    nets = [trained(chosen, data, part, seed + 10 * net, scratch) for net, part in enumerate(parts)]
    kept = judged(nets, data, given, folder) | {"edges": by_edges(data, given)}
    with replacing(path) as part:
        np.savez_compressed(part, done=np.array(done), half=half, **kept)
    shutil.rmtree(scratch)


def by_edges(data: Dataset, given: Sequence[Case]) -> np.ndarray:
    """(N,) the Dice that each given mask loses which ends off the edge in its image, at its native size."""
    looks = {case.name: look(case, data) for case in given}
    found = off({name: each.edges for name, each in looks.items()}, data.labels)
    return np.array([doubt(each.edges, found.get(name, {}), len(each.shape)) for name, each in looks.items()])


def settings(chosen: Set, seed: int, *words: str) -> RunConfig:
    """Of plain training."""
    alike = ("network.norm=instance", "data.normalisation=auto", f"seed={seed}", f"train.batch={{any: {chosen.rows}}}")
    return load_config(None, "supervised", (*chosen.settings, *alike, *OPTIM, *words))


def trained(chosen: Set, data: Dataset, cases: Sequence[Case], seed: int, scratch: Path) -> Method:
    """A network that learnt plainly from the masks given."""
    steps, epochs = -(-len(cases) // chosen.rows), visits(len(cases))
    run = settings(chosen, seed, f"train.steps={steps}", f"train.epochs={epochs}")
    plan, cache = make_plan(data, data.train, run.data), Cache(scratch.parent / "cache")
    model = build_method(run, plan)
    sets = [CaseSet(part, data, plan, cache) for part in (cases, ())]
    output = scratch / f"network-{seed}"
    output.mkdir(exist_ok=True)
    make_fit(run, model, sets, plan, output, World(), resume=False).run()
    return model.eval()


@torch.no_grad()
def judged(nets: Sequence[Method], data: Dataset, given: Sequence[Case], folder: Path) -> dict[str, np.ndarray]:
    """prob (2, N, K - 1, *S), of foreground classes by each network; label and truth (N, *S); on the training grid."""
    chosen, cache = SETS[folder.name], Cache(folder / "cache")
    plan = make_plan(data, data.train, settings(chosen, 0).data)
    seen = list(CaseSet(given, data, plan, cache).scan(8))
    truth = torch.cat([batch.label for batch in CaseSet(data.train, data, plan, cache).scan(8)])
    prob = torch.stack([torch.cat([net.predict(batch.image)[:, 1:] for batch in seen]) for net in nets])
    label = torch.cat([batch.label for batch in seen])
    return {"prob": prob.half().numpy(), "label": label.byte().numpy(), "truth": truth.byte().numpy()}


def main(images: Path, out: Path, verb: str, words: list[str]) -> None:
    if verb == "run":
        for name, noise, seed in cells(words):
            print(name, noise, seed, flush=True)
            run_cell(images, out, name, noise, seed)
        return
    done = [(cell, out / cell[0] / f"{cell[1]}-{cell[2]}.npz") for cell in cells(words)]
    loaded = [load(*cell, path) for cell, path in done if path.exists()]
    print(scores_table(loaded), guards_table(loaded), sep="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
