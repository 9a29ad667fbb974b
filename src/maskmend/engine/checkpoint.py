"""Checkpoints that survive a kill at any moment, and that hold tensors and numbers only."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, full_disk

FORMAT = 1

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write ``state`` to ``path``; at every moment ``path`` or the one before it, ``previous(path)``, is whole.

    Raises:
        InputError: the disk is full.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch.save turns the one into the other
        part.unlink(missing_ok=True)
        if not full_disk(error):
            raise
        raise InputError(f"{path}: the disk is full; free some space and continue with --resume.") from error
    if path.exists():
        path.replace(previous(path))
    part.replace(path)


def previous(path: Path) -> Path:
    return path.with_name(path.stem + ".previous" + path.suffix)


def load(path: Path, method: str) -> State:
    """The state at ``path``, checked.

    Raises:
        InputError: the file is missing, truncated, not a checkpoint, of another method or of a newer MaskMend.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; train first, or name the folder of another run.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of strange pickles, which end as an error anyway
            state: State = torch.load(path, map_location="cpu", weights_only=True)
        found, form = state["method_name"], state["format"]
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: truncated, or more than tensors in it); "
            "use the other checkpoint of the run, or train again."
        ) from None
    if form > FORMAT:
        raise InputError(f"{path} was written by a newer MaskMend (format {form}); upgrade MaskMend.")
    if found != method:
        raise InputError(f"{path} is a checkpoint of method {found!r}, not of {method!r}; name the run of {method!r}.")
    return state


def load_latest(path: Path, method: str) -> State | None:
    """The newest whole state at ``path`` or ``previous(path)``; None where neither exists."""
    there = [p for p in (path, previous(path)) if p.exists()]
    for position, candidate in enumerate(there):
        try:
            return load(candidate, method)
        except InputError:
            if position == len(there) - 1:
                raise
    return None
