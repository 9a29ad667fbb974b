"""What does confident learning cost beside cleanlab, and does its memory grow with the number of cases?

    OMP_NUM_THREADS=1 python benchmarks/confident.py [--classes 2 4] [--wrong 0.1 0.02] [--cases 8 32 128]

The streamed joint (three readings), the exact one in memory, and cleanlab's ``find_label_issues(filter_by="both",
n_jobs=1)`` on the same drawn probabilities, one thread each. Every run has a process of its own; the ways take turns,
and a row holds the median of ``--repeats`` runs. Cases are drawn one at a time and, streamed, thrown away. Seconds are
without drawing; memory is the largest resident size (of Linux), less what the process had before its first case: what
is not streamed counts the probabilities it holds. ``other`` counts the flags that are not cleanlab's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Drawn:
    """How cases are drawn: of ``size``² pixels each, and labels of which a share is ``wrong``."""

    classes: int
    wrong: float
    cases: int
    size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.case(number) for number in range(self.cases))

    def case(self, number: int) -> tuple[Tensor, Tensor]:
        """Probabilities (1, K, H, W) and labels (1, H, W)."""
        rng = torch.Generator().manual_seed(number)
        truth = torch.randint(0, self.classes, (1, self.size, self.size), generator=rng)
        logits = torch.randn((1, self.classes, self.size, self.size), generator=rng)
        prob = (logits + 3 * torch.nn.functional.one_hot(truth, self.classes).movedim(-1, 1)).softmax(1)
        wrong = torch.rand(truth.shape, generator=rng) < self.wrong
        return prob, torch.where(wrong, (truth + 1) % self.classes, truth)


def streamed(drawn: Drawn, clock: Clock) -> Iterator[Tensor]:
    sums, flat = torch.zeros(2, drawn.classes).double(), Evidence.none(drawn.classes).flat()
    for prob, label in drawn:
        with clock:
            sums += confident.self_confidence(prob, label)
    threshold = confident.thresholds(sums)
    for prob, label in drawn:
        with clock:
            flat += confident.evidence(prob, label, threshold).flat()
    with clock:
        limit = confident.limits(Evidence.of(flat, drawn.classes), "both")
    for prob, label in drawn:
        with clock:
            found = confident.flagged(prob, label, limit, "both")
        yield found


def exact(drawn: Drawn, clock: Clock) -> Iterator[Tensor]:
    size = (drawn.size, drawn.size)
    prob = torch.empty(drawn.cases, drawn.classes, *size)
    label = torch.empty(drawn.cases, *size, dtype=torch.int64)
    for number, (p, y) in enumerate(drawn):
        prob[number], label[number] = p[0], y[0]
    with clock:
        found = confident.find(prob, label)
    yield found


def theirs(drawn: Drawn, clock: Clock) -> Iterator[Tensor]:
    from cleanlab.filter import find_label_issues

    pixels = drawn.size**2
    prob = np.empty((drawn.cases * pixels, drawn.classes), dtype=np.float32)
    label = np.empty(drawn.cases * pixels, dtype=np.int64)
    for number, (p, y) in enumerate(drawn):
        rows = slice(number * pixels, (number + 1) * pixels)
        prob[rows], label[rows] = p[0].flatten(1).T.numpy(), y.flatten().numpy()
    with clock:
        found = find_label_issues(label, prob, filter_by="both", n_jobs=1)
    yield torch.from_numpy(found)


WAYS = {"cleanlab": theirs, "streamed": streamed, "exact": exact}


def measure(way: str, drawn: Drawn, path: Path) -> dict[str, float]:
    """One run, in this process; the flags are written to a file, as bits."""
    for _ in WAYS[way](Drawn(drawn.classes, 0.1, 1, 16), Clock()):
        pass  # what is loaded once
    before, clock = largest(), Clock()
    with path.open("wb") as file:
        for found in WAYS[way](drawn, clock):
            file.write(np.packbits(found.numpy()).tobytes())
    return {"seconds": clock.seconds, "mib": largest() - before}


def largest() -> float:
    """The largest resident size so far, in MiB; unlike ``getrusage``, not that of the process that started this one."""
    (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare(drawn: Drawn, repeats: int) -> Iterator[str]:
    """The rows of all ways."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        paths = {way: Path(folder, way) for way in WAYS}
        for way in list(WAYS) * repeats:
            words = [sys.executable, __file__, "--only", way, json.dumps(asdict(drawn)), str(paths[way])]
            run = subprocess.run(words, capture_output=True, text=True, check=True)
            runs[way].append(json.loads(run.stdout.splitlines()[-1]))
        bits = {way: np.frombuffer(path.read_bytes(), dtype=np.uint8) for way, path in paths.items()}
    seconds = {way: statistics.median(run["seconds"] for run in runs[way]) for way in WAYS}
    for way in WAYS:
        cells = (
            drawn.classes,
            f"{100 * drawn.wrong:g} %",
            drawn.cases,
            way,
            f"{seconds[way]:.2f}",
            f"{drawn.cases * drawn.size**2 / seconds[way] / 1e6:.1f}",
            f"{seconds['cleanlab'] / seconds[way]:.1f}",
            f"{statistics.median(run['mib'] for run in runs[way]):.0f}",
            np.bitwise_count(bits[way]).sum(),
            np.bitwise_count(bits[way] ^ bits["cleanlab"]).sum(),
        )
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--wrong", type=float, nargs="+", default=[0.1, 0.02], help="share of the labels")
    parser.add_argument("--size", type=int, default=256, help="a multiple of 4")
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs=3, metavar=("WAY", "DRAWN", "FLAGS"), help="one run, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        way, drawn, path = args.only
        print(json.dumps(measure(way, Drawn(**json.loads(drawn)), Path(path))))
        return
    print(f"{args.size}² pixels a case, one thread, median of {args.repeats}\n")
    print("| classes | wrong | cases | way | s | million pixels/s | × cleanlab | MiB | flagged | other |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for drawn in (Drawn(k, wrong, n, args.size) for k in args.classes for wrong in args.wrong for n in args.cases):
        for row in compare(drawn, args.repeats):
            print(row, flush=True)


if __name__ == "__main__":
    main()
