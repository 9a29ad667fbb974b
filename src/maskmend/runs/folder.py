"""A run folder, made and read: config.yaml, plan.json, checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .. import config as settings
from ..config import RunConfig
from ..data.augment import check_axes
from ..data.formats import replacing
from ..data.memory import check_memory
from ..data.plan import Plan
from ..engine import checkpoint
from ..errors import InputError
from ..functional.rng import fold, seed_all
from ..methods import Method
from ..networks import Network, build, total_stride
from ..texts import read_object

AGAIN = "name the folder of a whole run, or train again"


def build_method(run: RunConfig, plan: Plan, begin: Callable[[Network], Network] = lambda net: net) -> Method:
    """The method that ``run`` names, with fresh networks for the images of ``plan``; the same for the same seed.

    begin: what each gets before the method sees it, such as weights to start from.
    """
    cls, parameters = run.method_parts()
    seed_all(fold(run.seed, "networks"))
    return cls(lambda: begin(build(run.network, plan.channels, plan.classes, plan.dims)), parameters)


def check_folder(folder: Path) -> None:
    """Refuse, before time is spent, a folder that cannot be made or written.

    Raises:
        InputError: a file is in the way, or it is not allowed.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file, so {folder} cannot be a folder; choose another with -o.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there} cannot be written (permission denied); choose another folder with -o.")


def check_size(run: RunConfig, plan: Plan, device: torch.device) -> None:
    """Refuse a network, patch or batch that cannot fit into memory, before any of it is made, and flips that do not fit
    the axes.

    It is counted on tensors without content, and from below: the weights and gradients of one network, and, of one
    pool's patches, what its convolutions give, which the backward pass needs; in half precision where it may be.

    Raises:
        InputError: it needs more than there is, or the patch does not fit the network.
    """
    check_axes(run.augment, plan.dims)
    rows = max(run.train.batch.values())
    half = run.train.precision not in ("auto", "fp32") or (run.train.precision == "auto" and device.type == "cuda")
    try:
        with torch.device("meta"):
            network = build(run.network, plan.channels, plan.classes, plan.dims)
            patch = plan.for_stride(total_stride(network, plan.dims)).patch
            kept = _convolved(network, torch.empty(rows, plan.channels, *patch))
        needed = 2 * sum(map(_bytes, network.parameters())) + kept / (2 if half else 1)
    except (RuntimeError, OverflowError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        patch, needed = plan.patch, math.inf
    check_memory(
        needed,
        f"network.name={run.network.name} with {rows} patches (train.batch) of {' × '.join(map(str, patch))}",
        "take a smaller network (network.width, network.strides), batch or patch (data.patch, data.size)",
        device,
    )


@torch.no_grad()
def _convolved(network: nn.Module, image: Tensor) -> int:
    """Bytes of what all convolutions of a network give for ``image`` (B, C, *S)."""
    found: list[int] = []
    for module in network.modules():
        if isinstance(module, _ConvNd):
            module.register_forward_hook(lambda _, __, out: found.append(_bytes(out)))
    network(image)
    return sum(found)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def write_run(folder: Path, run: RunConfig, plan: Plan) -> None:
    """Make the run folder and write down what determines the run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("config.yaml", settings.dump(run)), ("plan.json", plan.model_dump_json(indent=1) + "\n")):
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8")


def read_plan(folder: Path) -> Plan:
    """How the images of a run were prepared.

    Raises:
        InputError: ``folder`` is no run, or its plan cannot be read.
    """
    path = folder / "plan.json"
    if not path.exists():
        raise InputError(f"{path} does not exist; name a run folder, as `maskmend train -o RUN` makes it.")
    content = read_object(path, AGAIN)
    try:
        return settings.parse(Plan, content)
    except InputError as error:
        raise InputError(f"{path} is not a plan ({str(error).rstrip('.')}); {AGAIN}.") from None


def load_run(folder: Path, which: Literal["best", "last"], device: torch.device) -> tuple[Method, Plan, RunConfig]:
    """The trained method of a run, ready to predict, with its plan and settings.

    Raises:
        InputError: the folder or its checkpoint is missing, damaged, or of another method.
    """
    plan, run = read_plan(folder), settings.load_config(folder / "config.yaml")
    method = build_method(run, plan)
    path = checkpoint.newest(folder / f"{which}.ckpt")
    checkpoint.restore(method, checkpoint.load(path, run.method_name), path)
    return method.to(device).eval(), plan, run
