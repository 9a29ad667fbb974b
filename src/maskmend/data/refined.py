"""What methods write of cases. It comes in generations, so that a run can go back to a checkpoint's.

    folder/000007/<case>.npy           the refined label of a case after the seventh commit, (*S)
    folder/000007/target/<case>.npy    shares of its foreground classes, (K - 1, *S), as ``fixed_point`` numbers

Generation 0 is the given labels themselves and shares of 0, and holds no file; a case that was never written has none
in any generation.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .cache import HEADERS, save_array

REFINED, TARGET = "refined", "target"
"""The maps that methods may write: a label, and a share of each pixel for each foreground class."""
FULL = np.iinfo(np.uint16).max
"""The number of a share of 1."""


def target_maps(classes: int) -> tuple[str, ...]:
    """The side maps that ``TARGET`` stands for, one of each class but the background.

    >>> target_maps(3)
    ('target_1', 'target_2')
    """
    return tuple(f"{TARGET}_{value}" for value in range(1, classes))


def target_part(name: str) -> int | None:
    """The class of one of ``target_maps``, None of any other map."""
    return int(name[len(TARGET) + 1 :]) if name.startswith(f"{TARGET}_") else None


def fixed_point(share: np.ndarray) -> np.ndarray:
    """Shares in [0, 1] as uint16, in steps of 1 / ``FULL``, rounded down: what summed to 1 never sums to more."""
    numbers: np.ndarray = (share.clip(0, 1) * FULL).astype(np.uint16)
    return numbers


def shares(numbers: np.ndarray) -> np.ndarray:
    """The inverse of ``fixed_point``, float32."""
    return numbers.astype(np.float32) / np.float32(FULL)


class RefinedStore:
    """Arrays by key, which is a case's name, with a folder before it for all but refined labels: "target/anna".

    ``write`` collects on disk; ``commit`` makes all of it visible at once. Several processes may write different cases
    into one folder; then one of them commits, with the ``pending`` of all, and the others follow with
    ``load_state_dict``. Given labels are never touched.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0
        self._pending: dict[str, int] = {}
        self._open = lru_cache(maxsize=256)(self._map)

    def read(self, key: str) -> np.ndarray | None:
        """The array of ``key``, read-only and memory-mapped; None if it was never written."""
        return self._open(key) if self.generation else None

    def write(self, key: str, array: np.ndarray, before: np.ndarray | None = None) -> None:
        """Keep ``array`` for the next generation; ``before`` is the label that it replaces, to count what changes."""
        save_array(self._drafts() / f"{key}.npy", array)
        self._pending[key] = 0 if before is None else int(np.count_nonzero(array != before))

    def pending(self) -> dict[str, int]:
        """Labels that change with the next ``commit``, in pixels, by key written since the last."""
        return dict(self._pending)

    def commit(self, written: Mapping[str, int] | None = None) -> int:
        """Make what was written the next generation; how many pixels of labels changed.

        What was not written stays as it is. Without a single write there is no new generation.
        ``written``: the ``pending`` of every process together, where there are several.
        """
        written = self._pending if written is None else written
        drafts, final = self._drafts(), self._at(self.generation + 1)
        if written:
            self._inherit(drafts, set(written))
            _replace_folder(drafts, final)
            self.load_state_dict({"generation": self.generation + 1})
        return sum(written.values())

    def state_dict(self) -> dict[str, Any]:
        return {"generation": self.generation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a generation that was committed before; what was written since the last commit is dropped."""
        self.generation = int(state["generation"])
        self._pending = {}
        self._open.cache_clear()

    def prune(self, keep: set[int]) -> None:
        """Delete every generation that is neither in ``keep`` nor the present one."""
        for path in self.folder.glob("[0-9]" * 6):
            if int(path.name) not in keep | {self.generation}:
                shutil.rmtree(path)

    def _at(self, generation: int) -> Path:
        return self.folder / f"{generation:06d}"

    def _drafts(self) -> Path:
        return self.folder / f"{self.generation + 1:06d}.part"

    def _map(self, key: str) -> np.ndarray | None:
        path = self._at(self.generation) / f"{key}.npy"
        if not path.exists():
            return None
        with HEADERS:
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped.view(np.ndarray)

    def _inherit(self, drafts: Path, written: set[str]) -> None:
        """Take over every other array from the present generation, and drop what a killed run may have left."""
        files = {drafts / f"{key}.npy" for key in written}
        for path in drafts.rglob("*"):
            if path.is_file() and path not in files:
                path.unlink()
        here = self._at(self.generation)
        for path in here.rglob("*.npy"):
            if (draft := drafts / path.relative_to(here)) not in files:
                _link(path, draft)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _replace_folder(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; what was there, from a future that a resumed run does not share, goes."""
    old = target.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    source.rename(target)
    shutil.rmtree(old, ignore_errors=True)
