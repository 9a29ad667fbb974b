"""Is a run that was killed and resumed the run that was never killed, to the last bit? A table of docs/results.md.

    python benchmarks/kill_and_resume.py [--trials 20] [--method gsd_net] [--seed 0]

Each trial starts `maskmend train`, which saves a checkpoint after every step here, and ends the process with SIGKILL at
a random moment of the loop, half of the time while a checkpoint is being written; resumes with `--resume`, often to be
killed again; and lets the last one finish. Then both checkpoints, the events and the table of cases must equal those of
a run without a kill: tensors bit for bit, files byte for byte. CPU, fp32, one thread.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskmend.data.phantom import write_phantom

EPOCHS = 8
WORDS = (
    f"train.epochs={EPOCHS}",
    "train.batch={any: 4}",
    "train.save_every=1",
    "train.log_every=1",
    "train.precision=fp32",
    "train.threads=1",
    "network.width=4",
    "network.strides=[2, 2]",
    "optim.name=adam",
    "optim.lr=0.005",
)
KILLS = 2
"""Most kills of one trial."""
AIM = 0.5
"""Chance that a kill waits for the next checkpoint and falls while it is written."""
SAVE_SECONDS = 0.01


@dataclass(frozen=True)
class Trial:
    """What happened to one run: the steps that were safe at each kill, how many fell into a save, what differs."""

    steps: tuple[int, ...]
    torn: int
    differences: tuple[str, ...]


def start(data: Path, run: Path, method: str, *more: str) -> subprocess.Popen[bytes]:
    command = ["train", str(data), "--method", method, "-o", str(run), "--device", "cpu", *WORDS, *more]
    places = os.environ | {"MASKMEND_CACHE": str(data.parent / "cache")}
    with (data.parent / "said.txt").open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "maskmend", *command], stdout=said, stderr=said, env=places)


def began(process: subprocess.Popen[bytes], run: Path, before: int) -> float:
    """Waits until the process opens its events, which is where the loop begins, and says when that was."""
    while process.poll() is None and inode(run / "events.jsonl") == before:
        time.sleep(0.001)
    return time.perf_counter()


def inode(path: Path) -> int:
    """Another number whenever the file is written anew; 0 without one."""
    return path.stat().st_ino if path.exists() else 0


def reference(data: Path, run: Path, method: str) -> float:
    """A run that nobody kills; how long its loop took, in seconds."""
    process = start(data, run, method)
    since = began(process, run, 0)
    if process.wait():
        raise SystemExit((data.parent / "said.txt").read_text())
    return time.perf_counter() - since


def kill_once(data: Path, run: Path, method: str, delay: float, aim: float | None) -> tuple[bool, bool]:
    """Go on with the run and kill it ``delay`` seconds into the loop, or ``aim`` seconds into the save after that.

    Returns whether it was still alive then, and whether it was writing a checkpoint.
    """
    before, since = inode(run / "events.jsonl"), time.time()
    process = start(data, run, method, *["--resume"] * run.exists())
    moment = began(process, run, before) + delay
    while process.poll() is None and time.perf_counter() < moment:
        time.sleep(0.0005)
    while aim is not None and process.poll() is None and not saving(run, since):
        pass
    time.sleep(aim or 0)
    alive = process.poll() is None
    process.kill()
    process.wait()
    if not alive and process.returncode:
        raise SystemExit((data.parent / "said.txt").read_text())
    return alive, saving(run, since)


def saving(run: Path, since: float) -> bool:
    """Whether a checkpoint that was begun after the time ``since`` is not complete."""
    parts = (run / "last.ckpt.part", run / "best.ckpt.part")
    try:
        return any(part.exists() and part.stat().st_mtime > since for part in parts)
    except FileNotFoundError:  # completed just now
        return False


def trial(data: Path, straight: Path, run: Path, method: str, span: float, seed: int) -> Trial:
    """One run killed once or twice and then finished; ``span`` is how long the loop takes unkilled, in seconds."""
    chance, steps, torn = random.Random(seed), list[int](), 0
    kills = chance.randint(1, KILLS)
    while len(steps) < kills:
        aim = chance.uniform(0, SAVE_SECONDS) if chance.random() < AIM else None
        alive, amid = kill_once(data, run, method, chance.uniform(0, span / kills), aim)
        if alive:
            steps.append(saved_steps(run))
            torn += amid
        elif steps:
            break  # it finished: there is nothing left to kill
        else:
            shutil.rmtree(run)
    if start(data, run, method, "--resume").wait():
        return Trial(tuple(steps), torn, ("it does not resume",))
    return Trial(tuple(steps), torn, tuple(differences(straight, run)))


def saved_steps(run: Path) -> int:
    """The step that a resume goes on from."""
    for name in ("last.ckpt", "last.previous.ckpt"):
        if (run / name).exists():
            return int(torch.load(run / name, weights_only=True)["done"])
    return 0


def differences(left: Path, right: Path) -> Iterator[str]:
    """What two run folders do not share."""
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (torch.load(folder / name, weights_only=True) for folder in (left, right))
        yield from (f"{name}: {key}" for key in sorted(a.keys() | b.keys()) if not same(a.get(key), b.get(key)))
    for name in ("events.jsonl", "cases.csv"):
        if (left / name).read_bytes() != (right / name).read_bytes():
            yield name


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit: trees of dictionaries, lists, tensors and plain values."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def trials(folder: Path, count: int, method: str, seed: int = 0) -> Iterator[Trial]:
    """``count`` trials on phantoms made in ``folder``."""
    data, straight = folder / "data", folder / "straight"
    write_phantom(data, train=15, test=0, size=48)
    span = reference(data, straight, method)
    for number in range(count):
        yield trial(data, straight, folder / f"trial{number}", method, span, seed + number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--method", default="gsd_net")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"{asked.method}, {EPOCHS} epochs of 3 steps, a checkpoint after every step\n")
    print("| trial | kills | safe steps at each | kills during a save | equal |\n|---|---|---|---|---|")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, found in enumerate(trials(Path(folder), asked.trials, asked.method, asked.seed), start=1):
            safe = ", ".join(map(str, found.steps))
            verdict = f"no: {'; '.join(found.differences)}" if found.differences else "yes"
            print(f"| {number} | {len(found.steps)} | {safe} | {found.torn} | {verdict} |", flush=True)
            failed += bool(found.differences)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
