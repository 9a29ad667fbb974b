"""Are the labels better after a method has refined them? A table of docs/results.md.

    python benchmarks/mended.py IMAGES OUT [WORD...] [--seeds 0 1]  # after evidence.py IMAGES OUT run

For every finished run of these seeds (0, if none is given): the Dice with the truth of the training labels as given, of
what the method makes of them at the end, and of its plain prediction on the training images. Over the cases that are
not clean; of all foreground, over all cases together / in the mean of the cases. "Makes of them" is what each method
learns from: the stored labels (SP-guided, Self-cleansing), the vote on dropped pixels (GSD-Net), the teacher's fused
passes (ALC), the mean of all views (MLB-Seg).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch
from evidence import place, settings_of
from evidence_studies import ROWS, STUDIES, Wrong
from torch import Tensor

from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset
from maskmend.data.plan import make_plan
from maskmend.data.refined import RefinedStore
from maskmend.data.trainset import CaseSet
from maskmend.engine import checkpoint
from maskmend.functional.losses import ce, sym_kl
from maskmend.functional.rng import seed_all
from maskmend.functional.select import believed
from maskmend.functional.teacher import fuse
from maskmend.functional.views import apply, draw_views, ensemble
from maskmend.methods.alc import ALC
from maskmend.methods.gsd_net import GSDNet
from maskmend.methods.mlb_seg import MLBSeg
from maskmend.runs.folder import build_method
from maskmend.types import Batch, Trust


def dice(found: Tensor, truth: Tensor) -> float:
    """Of all foreground together, over all cases."""
    overlap = ((found == truth) & (truth > 0)).sum()
    return float(2 * overlap / ((found > 0).sum() + (truth > 0).sum()).clamp_min(1))


def both(found: Tensor, truth: Tensor) -> str:
    """Over all cases together, and in the mean of the cases."""
    cases = [dice(f, t) for f, t in zip(found, truth, strict=True)]
    return f"{dice(found, truth):.3f} / {mean(cases):.3f}"


def gsd_votes(method: GSDNet, batch: Batch) -> Tensor:
    z1, z2 = method.net1(batch.image), method.net2(batch.image)
    loss = ce(z1, batch.label) + ce(z2, batch.label) + method.config.agreement * sym_kl(z1, z2)
    kept = believed(loss, method.config.tau, batch.label, z1.shape[1], method.config.ranking)
    return method.refined(z1, z2, batch, kept, torch.tensor(0.5))


def alc_labels(method: ALC, batch: Batch) -> Tensor:
    method.teacher.train()
    passes = method.passes(batch.image)
    method.teacher.eval()
    return method.refined(fuse(passes), passes)


def mlb_labels(method: MLBSeg, batch: Batch) -> Tensor:
    views = draw_views(method.config.views, len(batch), batch.image.ndim - 2)
    image = apply(batch.image.repeat(len(views), *[1] * (batch.image.ndim - 1)), views)
    return ensemble(method.student(image).float().softmax(1), views, method.outside).argmax(1)


MAKES: dict[type, Callable[..., Tensor]] = {GSDNet: gsd_votes, ALC: alc_labels, MLBSeg: mlb_labels}


@torch.no_grad()
def measure(run: Path, study_name: str, folder: Path, noise: str) -> str:
    """One row of the table."""
    study, name, seed = STUDIES[study_name], *run.name.rsplit("-", 1)
    done = json.loads((run / "done.json").read_text())
    wrong = Wrong(done["tau"], tuple(done.get("by_class", ())))
    config = settings_of(name, study, noise, wrong, int(seed))
    given, true = (open_dataset(folder / where) for where in (place(noise, ROWS[name].clean), "truth"))
    plan = make_plan(true, true.train, config.data)
    method = build_method(config, plan)
    state = checkpoint.load(run / "last.ckpt", config.method_name)
    method.load_state_dict(state["method"])
    method.eval()
    seed_all(0)
    store = RefinedStore(run / "refined")
    store.load_state_dict(state["data"])
    noisy = CaseSet(given.train, given, plan, Cache(folder / "cache"), method.maps, store)
    clean = CaseSet(true.train, true, plan, Cache(folder / "cache"))
    parts = []
    for batch, truth in zip(noisy.scan(8), clean.scan(8), strict=True):
        makes = MAKES.get(type(method))
        made = makes(method, batch) if makes else batch.maps["refined"]
        doubtful = batch.trust != Trust.CLEAN
        rows = (batch.label, truth.label, made, method.predict(batch.image).argmax(1))
        parts.append([row[doubtful] for row in rows])
    label, truth, made, predicted = (torch.cat(part) for part in zip(*parts, strict=True))
    before, after, plain = (both(found, truth) for found in (label, made, predicted))
    return f"| {study_name} | {noise} | {name} | {seed} | {before} | {after} | {plain} |"


def main(out: Path, words: list[str], seeds: list[str]) -> None:
    print("| data | noise | method | seed | given labels | refined | predicted |\n|---|---|---|---|---|---|---|")
    for name in STUDIES:
        for run in sorted((out / name / "runs").glob("*/*-*")):
            plain = run.name.startswith(("truth", "supervised", "co_teaching"))
            chosen = all(word in f"{name}/{run.parent.name}/{run.name}" for word in words)
            wanted = run.name.rsplit("-", 1)[1] in seeds
            if chosen and wanted and not plain and (run / "done.json").exists():
                print(measure(run, name, out / name, run.parent.name), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("places", nargs="+", metavar="IMAGES OUT [WORD]")
    parser.add_argument("--seeds", nargs="+", default=["0"])
    given = parser.parse_args()
    main(Path(given.places[1]), given.places[2:], given.seeds)
