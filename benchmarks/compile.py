"""How much faster is a training step with `train.compile=true`? Plain training, eager and compiled in turns.

    python benchmarks/compile.py [--network unet] [--size 128 128] [--batch 8] [--width 16] [--steps 10] [--device cpu]

Both learn the same made images from the same weights. The time of a step is the median of so many, of either in turns;
compiling is told by itself, with the number of steps after which it has paid. On a CPU, a step's time is processor time
of all threads, so that other work on the machine does not count; that of compiling is wall clock. Set OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

from maskmend.engine.compiled import compile_networks
from maskmend.engine.update import OptimConfig, Updater
from maskmend.engine.world import World
from maskmend.functional.rng import seed_all
from maskmend.methods import Method, find
from maskmend.networks import NetworkConfig, build
from maskmend.types import Batch, Progress, Trust


def learner(asked: argparse.Namespace, compiled: bool) -> tuple[Method, Callable[[], None]]:
    """A method and its next step."""
    device, size = torch.device(asked.device), tuple(asked.size)
    seed_all(0)
    cls, settings = find("supervised")
    network = NetworkConfig(name=asked.network, width=asked.width)
    method = cls(partial(build, network, 1, 2, len(size)), settings()).to(device).train()
    image = torch.randn(asked.batch, 1, *size, device=device)
    label = (image[:, 0] > 0.5).long()
    trust = torch.full((asked.batch,), int(Trust.NOISY), device=device)
    batch = Batch(image, label, trust, torch.arange(asked.batch, device=device))
    update, at = Updater(method, OptimConfig(), World(device=device), scaled=False), Progress(0, 1, 0, 100)
    if compiled:
        compile_networks(method, device)

    def step() -> None:
        update.begin(at)
        method.step(batch, at, update)

    return method, step


def seconds(step: Callable[[], None], clock: Callable[[], float]) -> float:
    begun = clock()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--size", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    (eager_method, eager), (compiled_method, compiled) = (learner(asked, choice) for choice in (False, True))
    clock = time.process_time if asked.device == "cpu" else time.perf_counter
    first = seconds(compiled, time.perf_counter)
    seconds(eager, clock)
    apart = max(
        float((a.detach() - b.detach()).abs().max())
        for a, b in zip(eager_method.parameters(), compiled_method.parameters(), strict=True)
    )
    pairs = [(seconds(eager, clock), seconds(compiled, clock)) for _ in range(asked.steps)]
    slow, fast = (median(times) for times in zip(*pairs, strict=True))
    name = f"{asked.network}, width {asked.width}, {asked.batch} x {' x '.join(map(str, asked.size))}, {asked.device}"
    print(f"{name}, {torch.get_num_threads()} threads")
    print(f"weights after the first step differ by at most {apart:.1e}")
    print(f"a step: eager {1000 * slow:.0f} ms, compiled {1000 * fast:.0f} ms, ratio {fast / slow:.2f}")
    pays = f"{(first - fast) / (slow - fast):.0f} steps" if fast < slow else "no number of steps"
    print(f"compiling took {first - fast:.0f} s, which {pays} pay for")


if __name__ == "__main__":
    main()
