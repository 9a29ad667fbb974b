"""What does a training step of each method cost over its bound? A table of docs/results.md.

    python benchmarks/step_cost.py [--device cuda] [--repeats 9]

The bound of a step is its passes through a network, counted while it runs, times what a pass of the plain network costs
in the same process: forward and backward, no loss, no optimiser. Everything is timed in turns and the medians compared,
so that a busy machine slows both sides alike. On the CPU it is the processor time of one thread, and peak memory is the
resident memory that three steps of the method add to a process of their own; on a GPU, time between two CUDA events and
the most memory that PyTorch had allocated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch

from maskmend import methods
from maskmend.data.phantom import render_2d, render_3d
from maskmend.data.sidemaps import SIDEMAPS, SideMapConfig
from maskmend.engine.update import OptimConfig, Updater
from maskmend.engine.world import World
from maskmend.functional.rng import seed_all
from maskmend.methods import Method
from maskmend.networks import Network, NetworkConfig, build
from maskmend.types import Batch, Progress, Trust

GOAL = 1.10
AT = Progress(epoch=50, epochs=100, step=5000, steps=100)
VARIANTS: dict[str, dict[str, dict[str, object]]] = {"gsd_net": {"": {}, ", before refine_from": {"refine_from": 100}}}
"""Methods whose steps differ: what is added to the name, and the parameters. Of the others, the defaults."""


@dataclass(frozen=True)
class Setting:
    """Images (B, C, *S), by the U-Net of GSD-Net."""

    count: int
    channels: int
    size: tuple[int, ...]
    precision: torch.dtype = torch.float32

    def __str__(self) -> str:
        size = "×".join(map(str, self.size))
        return f"{self.count}×{self.channels}×{size}, {'fp32' if self.precision == torch.float32 else 'bf16'}"


CPU = [Setting(8, 1, (128, 128)), Setting(8, 3, (128, 128)), Setting(2, 1, (32, 48, 32))]
GPU = [Setting(16, 1, (256, 256)), Setting(16, 3, (256, 256)), Setting(2, 1, (96, 96, 96))]


def make_batch(setting: Setting, device: torch.device) -> Batch:
    """Phantoms with their true masks and every side map there is."""
    images, labels = [], []
    for seed in range(setting.count):
        drawn, label = render_2d(seed, setting.size[0]) if len(setting.size) == 2 else render_3d(seed, setting.size)
        grey = drawn.astype(np.float32)
        images.append(np.repeat((grey - grey.mean())[None] / grey.std(), setting.channels, axis=0))
        labels.append((label > 0).astype(np.int64))
    settings = SideMapConfig()
    maps = {
        name: np.stack([m.make(source, settings).astype(m.dtype) for source in (images if m.of == "image" else labels)])
        for name, m in SIDEMAPS.items()
    }
    trust = torch.tensor([Trust.CLEAN if i < setting.count / 2 else Trust.NOISY for i in range(setting.count)])
    tensors = {name: torch.from_numpy(value) for name, value in maps.items()}
    batch = Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(labels)),
        trust,
        torch.arange(setting.count),
        tensors,
    )
    return batch.to(device)


def make_network(setting: Setting) -> Network:
    return build(NetworkConfig(), setting.channels, 2, len(setting.size))


def variants() -> Iterator[tuple[str, str, dict[str, object]]]:
    """(what the row is called, method, parameters)."""
    for name in methods.names():
        for suffix, parameters in VARIANTS.get(name, {"": {}}).items():
            yield name + suffix, name, parameters


class Step:
    """One training step of a method, as the engine runs it, to be called again and again."""

    def __init__(self, name: str, parameters: dict[str, object], setting: Setting, device: torch.device) -> None:
        cls, config = methods.find(name)
        seed_all(0)
        self.method: Method = cls(partial(make_network, setting), config(**parameters)).to(device).train()
        self.update = Updater(self.method, OptimConfig(), World(device=device))
        self.batch, self.setting = make_batch(setting, device), setting
        with self._counting():
            self()

    def __call__(self) -> None:
        self.update.begin(AT)
        with autocast(self.setting, self.batch.image.device):
            self.method.step(self.batch, AT, self.update)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Counts ``passes`` with a gradient, and ``looks`` without."""
        self.passes = self.looks = 0

        def count(*_: object) -> None:
            self.passes += torch.is_grad_enabled()
            self.looks += not torch.is_grad_enabled()

        hooks = [m.register_forward_pre_hook(count) for m in self.method.modules() if isinstance(m, Network)]
        yield
        for hook in hooks:
            hook.remove()


class Plain:
    """A pass through the network, and back where ``learn``."""

    def __init__(self, setting: Setting, device: torch.device, learn: bool = True) -> None:
        seed_all(0)
        self.network, self.setting, self.learn = make_network(setting).to(device).train(), setting, learn
        self.image = make_batch(setting, device).image
        self.gradient = torch.randn(setting.count, 2, *setting.size, device=device) / self.image[:, 0].numel()
        self.parameters = list(self.network.parameters())

    def __call__(self) -> None:
        with torch.set_grad_enabled(self.learn), autocast(self.setting, self.image.device):
            logits = self.network(self.image)
        if self.learn:
            for p in self.parameters:
                p.grad = None
            logits.float().backward(self.gradient, inputs=self.parameters)


def autocast(setting: Setting, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, dtype=setting.precision, enabled=setting.precision != torch.float32)


def milliseconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.thread_time()
        run()
        return 1e3 * (time.thread_time() - start)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop))


def peak_mib(make: Callable[[], Callable[[], None]], device: torch.device) -> float:
    """What making and three calls of it add to memory at the worst moment."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run = make()
        for _ in range(3):
            run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe(duplex=False)

    def child() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = make()
        for _ in range(3):
            run()
        send.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)

    process = fork.Process(target=child)
    process.start()
    found: float = receive.recv()
    process.join()
    return found


def measure(setting: Setting, device: torch.device, repeats: int) -> Iterator[str]:
    """The rows of one setting."""
    make = {label: partial(Step, name, parameters, setting, device) for label, name, parameters in variants()}
    peaks = {"plain": peak_mib(partial(Plain, setting, device), device)}
    peaks |= {label: peak_mib(step, device) for label, step in make.items()}
    steps = {label: step() for label, step in make.items()}
    plain, look = Plain(setting, device), Plain(setting, device, learn=False)
    runs: dict[str, Callable[[], None]] = {"plain": plain, "look": look, **steps}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            spent = milliseconds(run, device)
            if repeat:  # the first warms up
                times[name].append(spent)
    took = {name: median(values) for name, values in times.items()}
    yield f"| {setting} | one plain pass | 1 | | {took['plain']:.1f} | | {peaks['plain']:.0f} |"
    for label, step in steps.items():
        bound = step.passes * took["plain"] + step.looks * took["look"]
        passes = f"{step.passes}" + f" + {step.looks} forward" * bool(step.looks)
        ratio = f"{took[label] / bound:.2f}" + " (missed)" * (took[label] / bound > GOAL + 0.005)
        yield f"| | {label} | {passes} | {bound:.1f} | {took[label]:.1f} | {ratio} | {peaks[label]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else machine}, PyTorch {torch.__version__}\n")
    print("| setting | method | passes | bound, ms | step, ms | ratio | peak memory, MiB |\n|---|---|---|---|---|---|---|")
    for setting in CPU if device.type == "cpu" else GPU:
        for precision in (torch.float32, torch.bfloat16):
            for row in measure(Setting(setting.count, setting.channels, setting.size, precision), device, asked.repeats):
                print(row, flush=True)


if __name__ == "__main__":
    main()
