"""What methods write of cases. It comes in generations, so that a run can go back to a checkpoint's.

    folder/000007/<case>.npy           the refined label of a case after the seventh commit, (*S)
    folder/000007/target/<case>.npy    shares of its foreground classes, (K - 1, *S), as ``fixed_point`` numbers

Generation 0 is the given labels themselves and shares of 0, and holds no file; a case that was never written has none
in any generation.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .cache import HEADERS, content_hash, save_array

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
        self._keys: set[str] = set()
        self._pending: dict[str, int] = {}
        self._open = lru_cache(maxsize=256)(self._map)
        self._digests = cache(lambda: {key: content_hash([path]) for key, path in self._paths().items()})

    def read(self, key: str) -> np.ndarray | None:
        """The array of ``key``, read-only and memory-mapped; None if it was never written."""
        return self._open(key) if self.generation else None

    def before(self, key: str) -> np.ndarray | None:
        """The array that ``key`` had in the generation before this one; None if it was not written by then."""
        path = self._at(self.generation - 1) / f"{key}.npy"
        found: np.ndarray | None = np.load(path, allow_pickle=False) if path.exists() else None
        return found

    def write(
        self,
        key: str,
        array: np.ndarray,
        before: np.ndarray | None = None,
        shape: Sequence[int] = (),
        place: tuple[slice, ...] = (),
    ) -> None:
        """Keep ``array`` for the next generation; ``before`` is the label that it replaces, to count what changes.

        ``place``: where it lies in an array whose last axes are ``shape``, every part of which is written.
        """
        path = self._drafts() / f"{key}.npy"
        changed = 0 if before is None else int(np.count_nonzero(array != before))
        if not place:
            save_array(path, array)
            self._pending[key] = changed
            return
        if key not in self._pending:
            save_array(path, np.zeros((*array.shape[: array.ndim - len(shape)], *shape), array.dtype))
        whole = np.load(path, mmap_mode="r+", allow_pickle=False)
        whole[(..., *place)] = array
        whole.flush()
        self._pending[key] = self._pending.get(key, 0) + changed

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
        self._keys = set(self._paths())
        self._pending = {}
        self._open.cache_clear()
        self._digests.cache_clear()

    def remembered(self) -> dict[str, Any]:
        """What a checkpoint remembers: the generation, and a digest of each of its files, by key."""
        return {"generation": self.generation, "refined": self._digests()}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Go to the generation that ``remembered`` said.

        Raises:
            InputError: a file of it is missing, damaged, or of another run.
        """
        self.load_state_dict(state)
        here, there, digests = self._digests(), self._at(self.generation), state.get("refined") or {}
        wrong = [there / f"{key}.npy" for key, digest in digests.items() if here.get(key) != digest]
        if self.generation and (wrong or not digests):
            raise InputError(
                f"{wrong[0] if wrong else there} is missing or not what the run wrote, and without those labels it "
                f"cannot go on; put {self.folder} back as it was, or start a new run."
            )

    def prune(self, keep: set[int]) -> None:
        """Delete every generation but those in ``keep``, the present one, and the one ``before`` each."""
        keep = keep | {self.generation}
        for path in self.folder.glob("[0-9]" * 6):
            if not {int(path.name), int(path.name) + 1} & keep:
                shutil.rmtree(path)

    def _at(self, generation: int) -> Path:
        return self.folder / f"{generation:06d}"

    def _drafts(self) -> Path:
        return self.folder / f"{self.generation + 1:06d}.part"

    def _map(self, key: str) -> np.ndarray | None:
        if key not in self._keys:
            return None
        with HEADERS:
            path = self._at(self.generation) / f"{key}.npy"
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped.view(np.ndarray)

    def _paths(self) -> dict[str, Path]:
        """The files of the present generation, by key."""
        here = self._at(self.generation)
        return {path.relative_to(here).as_posix().removesuffix(".npy"): path for path in sorted(here.rglob("*.npy"))}

    def _inherit(self, drafts: Path, written: set[str]) -> None:
        """Take over every other array from the present generation, and drop what a killed run may have left."""
        files = {drafts / f"{key}.npy" for key in written}
        for path in drafts.rglob("*"):
            if path.is_file() and path not in files:
                path.unlink()
        for key, path in self._paths().items():
            if (draft := drafts / f"{key}.npy") not in files:
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
