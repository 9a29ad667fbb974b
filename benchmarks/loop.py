"""Audit, review, mend, retrain: what the loop wins back, by the package's own verbs. The tables of docs/results.md.

    python benchmarks/loop.py IMAGES OUT run [WORD...]    # all cells whose names hold the words, as chest/clean/0/two/;
                                                          # finished ones are kept
    python benchmarks/loop.py IMAGES OUT table [WORD...]

IMAGES is as for ``audit.py``, which spoils the masks in the same ways. A cell is a data set, a noise, a seed and a way
of using the masks; each ends with plain training on what it left, for equal steps, and Dice on true test masks.
``loop-doubt-10``: audit --cross 2, a simulated person reviews 10 % of the masks, those most doubtful, audit --again,
mend --accept automatic. ``loop-regret-10``: she takes those of most regret; ``loop-random-10``: at random. Other uses
of the same reviewed masks: training on them only (``alone``), putting them in with the rest (``put``), or as the clean
masks of ``alc``, ``mtcl``, ``mlb_seg``, ``robust``. Nobody reviews anything with ``robust``, the default method, and
``two``, which is plain training of two networks.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from audit import OPTIM, SETS, Set, corrupted, prepare_set
from maskmend.audit.store import Audit, open_audit
from maskmend.data.dataset import Dataset, open_dataset, write_dataset
from maskmend.data.formats import read_label, write_json
from maskmend.metrics import dice, mean_sd, overlap
from maskmend.prepare import prepare
from maskmend.review.simulated import simulated_review
from maskmend.verbs.audit import audit
from maskmend.verbs.evaluate import evaluate
from maskmend.verbs.mend import mend
from maskmend.verbs.predict import predict
from maskmend.verbs.train import train

TESTS = {"chest": "MCU", "hippocampus": "", "dermoscopy": "", "polyps": ""}
"""Which images are for testing: of another hospital, or those after the training cases."""
WAYS = (
    "truth",
    "given",
    "two",
    "robust",
    "loop-regret-10",
    "automatic",
    "loop-random-10",
    "alone-random-10",
    "loop-regret-5",
    "loop-regret-20",
    "alone-regret-10",
    "put-regret-10",
    "alc-regret-10",
    "mtcl-regret-10",
    "mlb_seg-regret-10",
    "loop-random-5",
    "loop-random-20",
    "loop-doubt-10",
    *(f"{use}-random-{percent}" for percent in (10, 5, 20) for use in ("robust", "alc", "mtcl")),
    *(f"alone-random-{percent}" for percent in (5, 20)),
)
NOISES = ("small60", "mixed40", "all_S_R", "all_S_E", "large60", "clean")
LOOKS = 4000
"""At cases, that the last training takes, but no more than 60 at each."""
MOST = 60
"""Test cases."""


def cells(words: Sequence[str]) -> Iterator[tuple[str, str, int, str]]:
    for seed in (0, 1, 2):
        for name in TESTS:
            for noise in NOISES:
                for way in WAYS:
                    if all(word in f"{name}/{noise}/{seed}/{way}/" for word in words):
                        yield name, noise, seed, way


def made(name: str, noise: str, seed: int, images: Path, out: Path) -> Path:
    """The data set with the masks given, the true ones beside them, and the test cases."""
    chosen, root = SETS[name], out / name / f"{noise}-{seed}" / "Dataset001_Given"
    if (root / "dataset.json").exists():
        return root
    truth = prepare_set(chosen, images, out / name)
    tests = test_set(name, chosen, images, out / name)
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("imagesTr", "labelsTr", "labelsTr_truth", "imagesTs", "labelsTs"):
        (root / folder).mkdir(parents=True)
    given, done = corrupted(truth.train, chosen, noise, seed, root / "spoilt")
    for case, true in zip(given, truth.train, strict=True):
        assert case.label is not None
        assert true.label is not None
        shutil.copy(case.label, root / "labelsTr" / case.label.name)
        shutil.copy(true.label, root / "labelsTr_truth" / case.label.name)
        for image in case.images:
            (root / "imagesTr" / image.name).symlink_to(image.resolve())
    for case in tests.train:
        assert case.label is not None
        (root / "labelsTs" / case.label.name).symlink_to(case.label.resolve())
        for image in case.images:
            (root / "imagesTs" / image.name).symlink_to(image.resolve())
    write_json(root / "done.json", done)
    write_dataset(root, truth.channel_names, truth.labels, truth.file_ending, len(given))
    return root


def test_set(name: str, chosen: Set, images: Path, folder: Path) -> Dataset:
    if not (folder / "test").exists():
        there = sorted(p for p in (images / chosen.source / "images").iterdir() if p.name.startswith(TESTS[name]))
        there = there if TESTS[name] else there[chosen.cases :]
        for part in ("images", "masks"):
            (folder / "test_source" / part).mkdir(parents=True, exist_ok=True)
            for image in there[:MOST]:
                found = next((images / chosen.source / part).glob(image.name.split(".")[0] + ".*"))
                (folder / "test_source" / part / found.name).symlink_to(found.resolve())
        prepare(folder / "test_source", folder / "test")
        shutil.rmtree(folder / "test_source")
    return open_dataset(folder / "test")


def alike(chosen: Set, *words: str) -> list[str]:
    """Settings of every network here."""
    own = [word for word in chosen.settings if not word.startswith(("train.epochs", "train.steps", "train.batch"))]
    return [*own, "network.norm=instance", "data.normalisation=auto", f"train.batch={{any: {chosen.rows}}}", *words]


def audited(name: str, root: Path) -> Path:
    """audit --cross 2, once for a data set and noise."""
    folder = root.parent / "audit"
    if not (folder / "audit.json").exists():
        audit(root, folder, cross=2, overrides=alike(SETS[name]), device="cpu", jobs=0)
    return folder


def looped(name: str, root: Path, way: str, seed: int) -> Path:
    """The data set that a way of the loop leaves."""
    output = root.parent / way / "Dataset002_Mended"
    if (output / "dataset.json").exists():
        return output
    first = audited(name, root)
    if way == "automatic":
        left = mend(first, output, accept="automatic").output
        return left or root
    use, order, percent = way.split("-")
    folder = root.parent / f"audit_{way}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(first, folder)
    opened = open_audit(folder)
    simulated_review(folder, root / "labelsTr_truth", chosen_cases(opened, order, int(percent), seed))
    if use == "loop":
        again = audit(root, folder, again=True, overrides=alike(SETS[name]), device="cpu", jobs=0)
        print("\n".join(again.audit.about.sentences), flush=True)
    mend(folder, output, accept="automatic" if use == "loop" else "reviewed")
    return output


def chosen_cases(opened: Audit, order: str, percent: int, seed: int) -> list[str]:
    names = [row.case for row in opened.rows]
    count = max(4, round(len(names) * percent / 100))
    if order == "doubt":
        return names[:count]
    if order == "regret":
        regret = {row.case: row.scores.get("regret", 0.0) for row in opened.rows}
        return sorted(names, key=regret.__getitem__, reverse=True)[:count]
    return [sorted(names)[i] for i in np.random.default_rng((seed, 2)).permutation(len(names))[:count]]


def run_cell(images: Path, out: Path, name: str, noise: str, seed: int, way: str) -> None:
    path = out / name / f"{noise}-{seed}" / f"{way}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    start, root, chosen = time.monotonic(), made(name, noise, seed, images, out), SETS[name]
    use = way.split("-")[0]
    plain = way in ("given", "two", "robust")
    data = with_truth(root) if use == "truth" else root if plain else looped(name, root, way, seed)
    method = "supervised" if use in ("truth", "given", "two", "automatic", "loop", "put", "alone") else use
    more = ["method.networks=2"] if use == "two" else []
    batch, quarter = {"any": chosen.rows}, chosen.rows // 4
    if use == "alone":
        batch = {"any": 0, "clean": chosen.rows}
    elif method not in ("supervised", "robust"):
        batch = {"any": 0, "clean": quarter, "imperfect": chosen.rows - quarter}
    cases = len(open_dataset(root).train)
    steps = [
        f"train.epochs={min(60, round(LOOKS / cases))}",
        f"train.steps={-(-cases // chosen.rows)}",
        "fold=all",
        f"seed={seed}",
        "train.batch={" + ", ".join(f"{pool}: {rows}" for pool, rows in batch.items()) + "}",
    ]
    run = root.parent / f"run_{way}"
    train(data, run, method, overrides=[*alike(chosen), *OPTIM, *steps, *more], device="cpu",
          resume=(run / "config.yaml").exists())  # fmt: skip
    predict(run, root / "imagesTs", root.parent / f"pred_{way}", checkpoint="last", device="cpu")
    summary = evaluate(root.parent / f"pred_{way}", root / "labelsTs", dataset=root)
    values = [mean_sd(dice(c) for c in r.counts.values() if not c.empty)[0] for r in summary.cases]
    test = float(np.nanmean(values))
    write_json(path, {"test": test, "masks": of_masks(root, data), "seconds": round(time.monotonic() - start)})
    print(name, noise, seed, way, json.loads(path.read_text()), flush=True)


def with_truth(root: Path) -> Path:
    target = root.parent / "Dataset002_Truth"
    if not target.exists():
        shutil.copytree(root, target, symlinks=True)
        shutil.rmtree(target / "labelsTr")
        shutil.copytree(root / "labelsTr_truth", target / "labelsTr")
    return target


def of_masks(root: Path, data: Path) -> dict[str, float]:
    """Dice with the truth of the masks that a network learns from: of those that were wrong (below .95), and right."""
    found: dict[str, list[float]] = {"wrong": [], "right": [], "all": []}
    for true in sorted((root / "labelsTr_truth").iterdir()):
        truth = read_label(true).array
        given, now = (mean_dice(read_label(place / "labelsTr" / true.name).array, truth) for place in (root, data))
        found["wrong" if given < 0.95 else "right"].append(now)
        found["all"].append(now)
    return {key: float(np.mean(values)) if values else float("nan") for key, values in found.items()}


def mean_dice(label: np.ndarray, truth: np.ndarray) -> float:
    return mean_sd(dice(c) for c in overlap(label, truth, range(1, int(truth.max()) + 1)).values() if not c.empty)[0]


def table(out: Path, words: Sequence[str]) -> str:
    lines = [
        "| data, noise, seed | way | masks wrong | masks right | masks all | test Dice | gap won back |",
        "|" + "---|" * 7,
    ]
    for name, noise, seed, way in cells(words):
        folder = out / name / f"{noise}-{seed}"
        if not (folder / f"{way}.json").exists():
            continue
        row, low, high = (json.loads((folder / f"{w}.json").read_text()) if (folder / f"{w}.json").exists() else None
                          for w in (way, "given", "truth"))  # fmt: skip
        gap = ""
        if low and high and way not in ("given", "truth") and high["test"] > low["test"]:
            gap = f"{(row['test'] - low['test']) / (high['test'] - low['test']):.0%}"
        masks = " | ".join(f"{row['masks'][k]:.3f}" for k in ("wrong", "right", "all"))
        lines.append(f"| {name} {noise} {seed} | {way} | {masks} | {row['test']:.3f} | {gap} |")
    return "\n".join(lines)


def main(images: Path, out: Path, verb: str, words: list[str]) -> None:
    if verb == "table":
        print(table(out, words))
        return
    for cell in cells(words):
        run_cell(images, out, *cell)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
