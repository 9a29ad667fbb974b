"""What does a training step of each method cost over its bound? A table of docs/results.md.

    python benchmarks/step_cost.py [--device cuda] [--repeats 5] [--precision fp32] [--bare] [--only METHOD...]

The bound of a step is its passes through a network, counted while it runs, times what a pass of that kind of the plain
network, of as many rows of that size and in the same precision, costs in the same process: no loss, no optimiser. A
step and its passes are timed in turns, and the ratio is the median over turns, so that a busy machine slows both sides
alike. With --bare the network is two 1×1 convolutions, and instead of a ratio comes what a step takes beyond its
passes, in milliseconds: the method's own work, by the lower quartile over turns.

On the CPU it is the processor time of one thread, and peak memory is what making the method and its first steps add to
the resident memory of a process of their own; on a GPU it is the time between two CUDA events, and the most memory that
PyTorch had allocated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, jvp

from maskmend import methods
from maskmend.data.fusion import SOFT
from maskmend.data.phantom import render_2d, render_3d
from maskmend.data.sidemaps import SIDEMAPS, SideMapConfig
from maskmend.engine.update import OptimConfig, Updater
from maskmend.engine.world import World
from maskmend.functional.rng import seed_all
from maskmend.methods import Method
from maskmend.networks import Network, NetworkConfig, build
from maskmend.networks.base import CONV
from maskmend.types import Batch, Progress, Trust

GOAL = 1.10
AT = Progress(epoch=50, epochs=100, step=5000, steps=100)
KINDS = {
    "gradient": "forward and backward",
    "forward": "forward without a graph",
    "tangent": "forward mode: logits and their slope",
}
"""Kinds of passes that a bound counts."""
CHOSEN: list[str] = []
"""Methods that ``--only`` names; all if there are none."""
BARE: list[bool] = []
"""Whether ``--bare`` was asked for."""
VARIANTS: dict[str, dict[str, dict[str, object]]] = {
    "confident_learning": {"": {}, ", teachers": {"teacher_share": 0.9}},
    "elr": {"": {}, ", target=weights": {"target": "weights"}},
    "gsd_net": {"": {}, ", before refine_from": {"refine_from": 100}},
}
"""Methods whose steps differ: what is added to the name, and the parameters. Of the others, the defaults."""


@dataclass(frozen=True)
class Setting:
    """Images (B, C, *S), by the U-Net of GSD-Net."""

    count: int
    channels: int
    size: tuple[int, ...]
    precision: torch.dtype = torch.float32

    @property
    def layout(self) -> torch.memory_format:
        """As the engine has it."""
        return torch.channels_last if len(self.size) == 2 else torch.contiguous_format

    def __str__(self) -> str:
        size = "×".join(map(str, self.size))
        return f"{self.count}×{self.channels}×{size}, {'fp32' if self.precision == torch.float32 else 'bf16'}"


SETTINGS = {
    "cpu": [Setting(4, 3, (128, 128)), Setting(2, 1, (32, 32, 32))],
    "cuda": [Setting(16, 3, (256, 256)), Setting(2, 1, (96, 96, 96))],
}
PRECISIONS = {"fp32": [torch.float32], "bf16": [torch.bfloat16], "both": [torch.float32, torch.bfloat16]}


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
    tensors["refined"] = torch.from_numpy(np.stack(labels))
    tensors |= {f"{name}_1": tensors["refined"].float() / 2 for name in ("target", *SOFT)}
    batch = Batch(
        torch.from_numpy(np.stack(images)).contiguous(memory_format=setting.layout),
        torch.from_numpy(np.stack(labels)),
        trust,
        torch.arange(setting.count),
        tensors,
    )
    return batch.to(device)


class Bare(Network):
    """Two 1×1 convolutions: next to nothing beside what a method does with logits."""

    def __init__(self, channels: int, classes: int, dims: int) -> None:
        super().__init__(NetworkConfig(), channels, classes, dims)
        self.body, self.head = CONV[dims](channels, 4, 1), CONV[dims](4, classes, 1)
        self.stride = (1,) * dims

    def encode(self, image: Tensor) -> list[Tensor]:
        return [image]

    def decode(self, stages: list[Tensor]) -> Tensor:
        features: Tensor = self.body(stages[-1])
        return features


def make_network(setting: Setting, device: torch.device) -> Network:
    channels, dims = setting.channels, len(setting.size)
    network = Bare(channels, 2, dims) if any(BARE) else build(NetworkConfig(), channels, 2, dims)
    return network.to(device, memory_format=setting.layout)  # type: ignore[call-overload,no-any-return]


def variants() -> Iterator[tuple[str, str, dict[str, object]]]:
    """(what the row is called, method, parameters)."""
    for name in CHOSEN or methods.names():
        for suffix, parameters in VARIANTS.get(name, {"": {}}).items():
            yield name + suffix, name, parameters


@dataclass(frozen=True)
class Pass:
    """A pass of so many rows (*S) through a network, of one of ``KINDS``; ``autocast``: in the setting's precision."""

    kind: str
    rows: int
    size: tuple[int, ...]
    autocast: bool

    def __str__(self) -> str:
        return f"{self.kind} of {self.rows}"

    def told(self, usual: tuple[int, ...]) -> str:
        """With its size, where that is not the usual one."""
        return str(self) if self.size == usual else f"{self} at {'×'.join(map(str, self.size))}"


class Step:
    """One training step of a method, as the engine runs it, to be called again and again."""

    def __init__(self, name: str, parameters: dict[str, object], setting: Setting, device: torch.device) -> None:
        cls, config = methods.find(name)
        seed_all(0)
        self.method: Method = cls(partial(make_network, setting, device), config(**parameters)).train()
        self.update = Updater(self.method, OptimConfig(), World(device=device))
        self.batch, self.setting = make_batch(setting, device), setting
        self._begin()
        with self._counting():
            self()

    def _begin(self) -> None:
        """What the method learns of the training set before the epoch, the batch being all of it."""
        self.method.eval()
        with torch.no_grad():
            self.method.begin_epoch(AT, Everything(self.batch))
        self.method.train()

    def __call__(self) -> None:
        self.update.begin(AT)
        with autocast(self.setting, self.batch.image.device):
            self.method.step(self.batch, AT, self.update)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Counts passes by what they are."""
        self.passes: Counter[Pass] = Counter()

        def counted(features: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
            kind = "gradient" if torch.is_grad_enabled() else "forward"
            kind = "tangent" if torch._C._are_functorch_transforms_active() else kind
            some = Pass(kind, len(image), tuple(image.shape[2:]), torch.is_autocast_enabled(image.device.type))
            self.passes[some] += 1
            return features(image)

        networks = [m for m in self.method.modules() if isinstance(m, Network)]
        for network in networks:
            network.features = partial(counted, network.features)  # type: ignore[method-assign]
        yield
        for network in networks:
            del network.features


class Everything:
    """A training set of one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.trust, self.names = batch, batch.trust.cpu(), tuple(map(str, range(len(batch))))
        self.shapes = (tuple(batch.label.shape[1:]),) * len(batch)
        self.sizes = torch.stack([(batch.label == k).flatten(1).sum(1) for k in range(2)], 1).cpu()

    def __len__(self) -> int:
        return len(self.batch)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        for rows in torch.arange(len(self), device=self.batch.image.device).split(batch_size):
            yield self.batch.rows(rows)

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        full = value.new_zeros(len(self), *value.shape[1:])
        full[index] = value
        return full

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        """The batch stays as it is."""


class Plain:
    """A pass of the plain network."""

    def __init__(self, setting: Setting, device: torch.device, what: Pass) -> None:
        seed_all(0)
        self.network, self.setting, self.what = make_network(setting, device).train(), setting, what
        image = make_batch(replace(setting, size=what.size), device).image
        some = image[torch.arange(what.rows, device=device) % len(image)]
        self.image = some.contiguous(memory_format=setting.layout)
        self.gradient = torch.randn(what.rows, 2, *what.size, device=device) / image[:, 0].numel()
        self.parameters = list(self.network.parameters())

    def __call__(self) -> None:
        kind, device = self.what.kind, self.image.device
        if kind == "tangent":  # in full precision: forward mode and autocast do not mix
            params = {name: p.detach() for name, p in self.network.named_parameters()}
            with torch.no_grad():
                jvp(self._logits, (params,), (params,))
            return
        with torch.set_grad_enabled(kind == "gradient"), autocast(self.setting, device, self.what.autocast):
            logits = self.network(self.image)
        if kind == "gradient":
            for p in self.parameters:
                p.grad = None
            logits.float().backward(self.gradient, inputs=self.parameters)

    def _logits(self, params: dict[str, Tensor]) -> Tensor:
        buffers = {name: value.clone() for name, value in self.network.named_buffers()}
        logits: Tensor = functional_call(self.network, {**params, **buffers}, (self.image,))
        return logits


def autocast(setting: Setting, device: torch.device, wanted: bool = True) -> AbstractContextManager[object]:
    enabled = wanted and setting.precision != torch.float32
    return torch.autocast(device.type, dtype=setting.precision, enabled=enabled)


def milliseconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.thread_time()
        run()
        return 1e3 * (time.thread_time() - start)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    run()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after))


def peak_mib(make: Callable[[], Callable[[], None]], device: torch.device) -> float:
    """What making it and two calls of it add to memory at the worst moment."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run = make()
        run()
        run()
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe(duplex=False)

    def child() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = make()
        run()
        run()
        send.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)

    process = fork.Process(target=child)
    process.start()
    found: float = receive.recv()
    process.join()
    return found


def makers(setting: Setting, device: torch.device) -> dict[str, Callable[[], Step]]:
    """What makes a step of each method."""
    return {label: partial(Step, name, parameters, setting, device) for label, name, parameters in variants()}


def rows(setting: Setting, device: torch.device, repeats: int, peaks: dict[str, float]) -> Iterator[str]:
    """The rows of one setting."""
    for label, make in makers(setting, device).items():
        step = make()
        plain = {what: Plain(setting, device, what) for what in step.passes}
        turns = []
        for _ in range(repeats + 1):
            bound = sum(step.passes[what] * milliseconds(run, device) for what, run in plain.items())
            turns.append((bound, milliseconds(step, device)))
        bounds, spent = zip(*turns[1:], strict=True)  # the first turn warms up
        ratio = median(s / b for b, s in turns[1:])
        passes = " + ".join(f"{count} × {what.told(setting.size)}" for what, count in step.passes.items())
        told = f"{ratio:.2f}" + " (missed)" * (ratio > GOAL + 0.005)
        if any(BARE):
            told = f"{np.quantile([s - b for b, s in turns[1:]], 0.25):.1f} ms"
        took = f"{median(bounds):.0f} | {median(spent):.0f} | {told}"
        yield f"| {setting} | {label} | {passes} | {took} | {peaks[label]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=PRECISIONS, default="both")
    parser.add_argument("--bare", action="store_true", help="what a step takes beyond its passes")
    parser.add_argument("--only", nargs="*", default=[], help="methods; by default all")
    asked = parser.parse_args()
    CHOSEN.extend(asked.only)
    BARE.append(asked.bare)
    device = torch.device(asked.device)
    torch.set_num_threads(1)
    machine = f"one thread, {torch.backends.cpu.get_cpu_capability()}"
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else machine}, PyTorch {torch.__version__}\n")
    print(
        "| setting | method | passes | bound, ms | step, ms | ratio | peak memory, MiB |\n|---|---|---|---|---|---|---|"
    )
    settings = [replace(s, precision=p) for s in SETTINGS[asked.device] for p in PRECISIONS[asked.precision]]
    peaks = [{label: peak_mib(make, device) for label, make in makers(s, device).items()} for s in settings]
    for setting, peak in zip(settings, peaks, strict=True):
        for row in rows(setting, device, asked.repeats, peak):
            print(row, flush=True)


if __name__ == "__main__":
    main()
