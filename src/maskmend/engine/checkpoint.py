"""Checkpoints that survive a kill at any moment, and that hold tensors and numbers only."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError, full_disk, no_room
from ..texts import check_readable
from .precision import finite
from .update import Updater

FORMAT = 1

State = dict[str, Any]
PARTS: Mapping[str, Callable[[Any], bool]] = {
    "method": lambda part: isinstance(part, dict),
    "update": lambda part: isinstance(part, dict),
    "data": lambda part: isinstance(part, dict) and isinstance(part.get("generation"), int),
    "done": lambda part: isinstance(part, int) and part >= 0,
    "best": lambda part: isinstance(part, float) and not math.isnan(part),
    "scores": lambda part: isinstance(part, dict) and all(isinstance(score, float) for score in part.values()),
}
"""What a checkpoint holds besides its format and the method's name."""


def save(path: Path, state: State, *also: Path) -> None:
    """Write ``state`` to ``path``; at every moment ``path`` or the one before it, ``previous(path)``, is whole.

    also: other names that the same content gets, beside ``path`` and before it. Each is whole at every moment.

    Raises:
        InputError: the disk is full.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        for name in also:
            _link(part, name)
    except (OSError, RuntimeError) as error:  # torch.save turns the one into the other
        part.unlink(missing_ok=True)
        if (full := full_disk(error)) is None:
            raise
        raise InputError(f"{path}: {no_room(full)}, and continue with --resume.") from error
    if path.exists():
        path.replace(previous(path))
    part.replace(path)


def _link(path: Path, name: Path) -> None:
    """Make ``name`` a second name of the file at ``path``, or of a copy where the disk has no such thing."""
    part = name.with_name(name.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.link(path, part)
    except OSError:
        shutil.copyfile(path, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    part.replace(name)
    part.unlink(missing_ok=True)  # it is still there where ``name`` was the same file before


def previous(path: Path) -> Path:
    return path.with_name(path.stem + ".previous" + path.suffix)


def newest(path: Path) -> Path:
    """``path``; or the one before it, where a kill between two renames left that alone."""
    return previous(path) if previous(path).exists() and not path.exists() else path


def load(path: Path, method: str) -> State:
    """The state at ``path``, checked.

    Raises:
        InputError: the file is missing, truncated, not a checkpoint, of another method or of a newer MaskMend.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; train first, or name the folder of another run.")
    check_readable(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of strange pickles, which end as an error anyway
            state: State = torch.load(path, map_location="cpu", weights_only=True)
        found, form = str(state["method_name"]), int(state["format"])
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: truncated, or more than tensors in it); "
            "use the other checkpoint of the run, or train again."
        ) from None
    if form > FORMAT:
        raise InputError(f"{path} was written by a newer MaskMend (format {form}); upgrade MaskMend.")
    if found != method:
        raise InputError(f"{path} is a checkpoint of method {found!r}, not of {method!r}; name the run of {method!r}.")
    if wrong := next((name for name, fits in PARTS.items() if not fits(state.get(name))), None):
        raise InputError(f"{path} has no {wrong!r} as a run writes it; use the other checkpoint, or train again.")
    return state


def load_latest(path: Path, method: str) -> State | None:
    """The newest whole state at ``path`` or ``previous(path)``; None where neither exists. Warns of the latter."""
    there = [p for p in (path, previous(path)) if p.exists()]
    for position, candidate in enumerate(there):
        try:
            return load(candidate, method)
        except InputError:
            if position == len(there) - 1:
                raise
            warnings.warn(f"{candidate} is damaged; going on from the one before, {there[1].name}.", stacklevel=2)
    return None


def restore(method: nn.Module, state: State, path: Path) -> None:
    """Give ``method`` what a checkpoint, of this ``path``, saved of it.

    Raises:
        InputError: it is of other networks, or holds weights that are no numbers.
    """
    try:
        method.load_state_dict(state["method"])
    except Exception as error:  # what a spoilt state does to a method's own part of it may be anything
        raise InputError(f"{path} does not fit the networks of {path.parent / 'config.yaml'}; train again.") from error
    if not finite(method):
        raise InputError(
            f"{path} holds weights that are no numbers (NaN, infinity); train again with a lower optim.lr."
        )


def restore_update(update: Updater, state: State, path: Path) -> None:
    """Give ``update`` what a checkpoint saved of the optimisers. Raises InputError where it does not fit."""
    settings = {name: _settings(optimizer) for name, optimizer in update.optimizers.items()}
    try:
        update.load_state_dict(state["update"])
        fits = all(
            torch.broadcast_shapes(value.shape, parameter.shape) == parameter.shape and bool(value.isfinite().all())
            for optimizer in update.optimizers.values()
            for parameter, values in optimizer.state.items()
            for value in values.values()
            if isinstance(value, Tensor)
        ) and settings == {name: _settings(optimizer) for name, optimizer in update.optimizers.items()}
    except Exception:
        fits = False
    if not fits:
        raise InputError(f"{path} does not fit the optimiser of {path.parent / 'config.yaml'}; start a new run.")


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """What an optimiser was made with; each step sets its learning rate anew."""
    return [{key: group[key] for key in optimizer.defaults if key != "lr"} for group in optimizer.param_groups]
