"""What does confident learning cost, and does its memory grow with the number of cases?

    python benchmarks/confident.py [--classes 4] [--size 256] [--cases 8 32 128]

Each row runs in a process of its own, on cases that are drawn one at a time and thrown away: the streamed joint (three
readings), the exact one in memory, and cleanlab's ``find_label_issues(filter_by="both", n_jobs=1)``; where cleanlab is
not installed, its algorithm in plain numpy. Seconds are without drawing; memory is the largest resident size, less what
the process had before its first case.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from maskmend.functional import confident
from maskmend.functional.confident import Evidence


class Clock:
    """Seconds spent inside ``with``."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.start


def draw(case: int, classes: int, size: int) -> tuple[Tensor, Tensor]:
    """Probabilities (1, K, H, W) and labels (1, H, W) of which a tenth is wrong."""
    rng = torch.Generator().manual_seed(case)
    truth = torch.randint(0, classes, (1, size, size), generator=rng)
    logits = torch.randn((1, classes, size, size), generator=rng)
    prob = (logits + 3 * torch.nn.functional.one_hot(truth, classes).movedim(-1, 1)).softmax(1)
    wrong = torch.rand(truth.shape, generator=rng) < 0.1
    return prob, torch.where(wrong, (truth + 1) % classes, truth)


def streamed(cases: int, classes: int, size: int, clock: Clock) -> int:
    def readings() -> Iterator[tuple[Tensor, Tensor]]:
        return (draw(case, classes, size) for case in range(cases))

    sums, flat, found = torch.zeros(2, classes).double(), Evidence.none(classes).flat(), 0
    for prob, label in readings():
        with clock:
            sums += confident.self_confidence(prob, label)
    threshold = confident.thresholds(sums)
    for prob, label in readings():
        with clock:
            flat += confident.evidence(prob, label, threshold).flat()
    with clock:
        limit = confident.limits(Evidence.of(flat, classes), "both")
    for prob, label in readings():
        with clock:
            found += int(confident.flagged(prob, label, limit, "both").sum())
    return found


def exact(cases: int, classes: int, size: int, clock: Clock) -> int:
    parts = [draw(case, classes, size) for case in range(cases)]
    prob, label = (torch.cat(each) for each in zip(*parts, strict=True))
    del parts
    with clock:
        return int(confident.find(prob, label).sum())


def theirs(cases: int, classes: int, size: int, clock: Clock) -> int:
    parts = [draw(case, classes, size) for case in range(cases)]
    prob = np.concatenate([p.movedim(1, -1).reshape(-1, classes).numpy() for p, _ in parts])
    label = np.concatenate([y.flatten().numpy() for _, y in parts])
    del parts
    find = cleanlab_find()
    with clock:
        return int(find(label, prob).sum())


def cleanlab_find() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return in_numpy
    return lambda label, prob: find_label_issues(label, prob, filter_by="both", n_jobs=1)


def in_numpy(label: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """The algorithm, with the sorts that cleanlab does."""
    classes = prob.shape[1]
    limit = np.array([prob[label == k, k].mean(dtype=float) for k in range(classes)]) - 1e-6
    sure = prob >= limit
    many = sure.sum(1)
    guess = np.where(many > 1, prob.argmax(1), sure.argmax(1))
    joint = np.zeros((classes, classes))
    np.add.at(joint, (label[many > 0], guess[many > 0]), 1)
    size = np.bincount(label, minlength=classes)
    count = np.round(joint / joint.sum(1, keepdims=True) * size[:, None]).astype(int)
    own, other = np.zeros(len(label), dtype=bool), np.zeros(len(label), dtype=bool)
    for i in range(classes):
        here = np.flatnonzero(label == i)
        mine = prob[here]
        own[here[np.argsort(mine[:, i])[: size[i] - count[i, i]]]] = True
        for j in (j for j in range(classes) if j != i):
            other[here[np.argsort(mine[:, i] - mine[:, j])[: count[i, j]]]] = True
    return own & other & (prob.argmax(1) != label)


WAYS = {"streamed": streamed, "exact": exact, "cleanlab": theirs}


def measure(way: str, cases: int, classes: int, size: int) -> dict[str, float]:
    """One row, in this process."""
    streamed(1, classes, size, Clock())  # what is loaded once
    before, clock = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Clock()
    found = WAYS[way](cases, classes, size, clock)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"found": found, "seconds": clock.seconds, "mib": grown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--only", choices=WAYS, help="one row of one number of cases, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        print(json.dumps(measure(args.only, args.cases[0], args.classes, args.size)))
        return
    name = {"cleanlab": "cleanlab" if cleanlab_find() is not in_numpy else "cleanlab's algorithm in numpy"}
    print(f"{args.classes} classes, {args.size}² pixels, one thread")
    print("| cases | way | s | million pixels/s | MiB | flagged |\n|---|---|---|---|---|---|")
    for cases in args.cases:
        for way in WAYS:
            words = ["--classes", str(args.classes), "--size", str(args.size), "--cases", str(cases), "--only", way]
            run = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
            row = json.loads(run.stdout.splitlines()[-1])
            speed = cases * args.size**2 / row["seconds"] / 1e6
            cells = (
                cases,
                name.get(way, way),
                f"{row['seconds']:.2f}",
                f"{speed:.1f}",
                f"{row['mib']:.0f}",
                row["found"],
            )
            print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
