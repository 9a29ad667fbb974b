"""A run folder, made and read: config.yaml, plan.json, checkpoints."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from .. import config as settings
from ..config import RunConfig
from ..data.formats import replacing
from ..data.plan import Plan
from ..engine import checkpoint
from ..errors import InputError
from ..functional.rng import fold, seed_all
from ..methods import Method
from ..networks import build


def build_method(run: RunConfig, plan: Plan) -> Method:
    """The method that ``run`` names, with fresh networks for the images of ``plan``; the same for the same seed."""
    cls, parameters = run.method_parts()
    seed_all(fold(run.seed, "networks"))
    return cls(partial(build, run.network, plan.channels, plan.classes, plan.dims), parameters)


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


def write_run(folder: Path, run: RunConfig, plan: Plan) -> None:
    """Make the run folder and write down what determines the run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("config.yaml", settings.dump(run)), ("plan.json", plan.model_dump_json(indent=1) + "\n")):
        with replacing(folder / name) as part:
            part.write_text(text)


def read_plan(folder: Path) -> Plan:
    """How the images of a run were prepared.

    Raises:
        InputError: ``folder`` is no run, or its plan cannot be read.
    """
    path = folder / "plan.json"
    if not path.exists():
        raise InputError(f"{path} does not exist; name a run folder, as `maskmend train -o RUN` makes it.")
    try:
        return Plan.model_validate_json(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not a plan ({str(error).splitlines()[0]}); train again.") from None


def load_run(folder: Path, which: Literal["best", "last"], device: torch.device) -> tuple[Method, Plan, RunConfig]:
    """The trained method of a run, ready to predict, with its plan and settings.

    Raises:
        InputError: the folder or its checkpoint is missing, damaged, or of another method.
    """
    plan, run = read_plan(folder), settings.load_config(folder / "config.yaml")
    method = build_method(run, plan)
    path = folder / f"{which}.ckpt"
    if not path.exists() and checkpoint.previous(path).exists():  # killed between two renames
        path = checkpoint.previous(path)
    state = checkpoint.load(path, run.method_name)
    load_weights(method, state, path)
    return method.to(device).eval(), plan, run


def load_weights(method: Method, state: checkpoint.State, path: Path) -> None:
    """Give ``method`` what a checkpoint saved of it.

    Raises:
        InputError: it is of other networks; ``path`` names it.
    """
    try:
        method.load_state_dict(state["method"])
    except RuntimeError:
        raise InputError(f"{path} does not fit the networks of {path.parent / 'config.yaml'}; train again.") from None
