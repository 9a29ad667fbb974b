"""Mended labels, beside the given ones. They come in generations, so that a run can go back to a checkpoint's.

    folder/000007/<case>.npy    the refined label of a case after the seventh refinement, (*S)

Generation 0 is the given labels themselves and holds no file; a case that was never mended has none in any generation.
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


class RefinedStore:
    """Refined label maps by case. ``write`` collects on disk; ``commit`` makes all of it visible at once.

    Several processes may write different cases into one folder; then one of them commits, with the ``pending`` of all,
    and the others follow with ``load_state_dict``. Given labels are never touched.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0
        self._pending: dict[str, int] = {}
        self._open = lru_cache(maxsize=256)(self._map)

    def read(self, case: str) -> np.ndarray | None:
        """The refined label of ``case``, (*S), read-only and memory-mapped; None if it was never mended."""
        return self._open(case) if self.generation else None

    def write(self, case: str, label: np.ndarray, before: np.ndarray) -> None:
        """Keep ``label`` (*S) for the next generation; ``before`` is what it replaces, to count what changes."""
        save_array(self._drafts() / f"{case}.npy", label)
        self._pending[case] = int(np.count_nonzero(label != before))

    def pending(self) -> dict[str, int]:
        """Pixels that change with the next ``commit``, by case written since the last."""
        return dict(self._pending)

    def commit(self, written: Mapping[str, int] | None = None) -> int:
        """Make what was written the next generation; how many pixels changed.

        Cases that were not written keep their label. Without a single write there is no new generation.
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

    def _map(self, case: str) -> np.ndarray | None:
        path = self._at(self.generation) / f"{case}.npy"
        if not path.exists():
            return None
        with HEADERS:
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped.view(np.ndarray)

    def _inherit(self, drafts: Path, written: set[str]) -> None:
        """Take over every other case from the present generation, and drop what a killed run may have left."""
        for path in drafts.iterdir():
            if path.stem not in written or path.suffix != ".npy":
                path.unlink()
        for path in self._at(self.generation).glob("*.npy"):
            if path.stem not in written:
                _link(path, drafts / path.name)


def _link(source: Path, target: Path) -> None:
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
