"""A training set of volumes for networks that see slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..types import Batch
from .patches import Window, part_window, whole_window
from .prepared import Prepared, class_sizes
from .refined import REFINED, TARGET, fixed_point
from .trainset import CaseSet


def training_set(*args: Any, **more: Any) -> CaseSet:
    """What a plan's networks learn from, made with the arguments of ``CaseSet``: cases, or their slices."""
    plan = args[2]
    return SliceSet(*args, **more) if plan.slices else CaseSet(*args, **more)


class SliceSet(CaseSet):
    """Slices of cases, which methods see as if each were a case: it has an index, a name, its volume's trust, sizes.

    What is kept of a case is of the volume: its files, what methods write, ``whole`` and ``undo``. An epoch takes as
    many slices as there are, each volume as often as it has slices; which of its slices comes is drawn as patches are
    (``Plan.foreground``), so that those without a structure do not prevail.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.trust = self.trust[torch.tensor(self._volume, dtype=torch.int64)]

    def __len__(self) -> int:
        return len(self._volume)

    @cached_property
    def _first(self) -> list[int]:
        """The index of each volume's first slice."""
        return [0, *accumulate(prepared.shape[0] for prepared in self._prepared)]

    @cached_property
    def _volume(self) -> list[int]:
        """Which volume each slice is of."""
        return [i for i, prepared in enumerate(self._prepared) for _ in range(prepared.shape[0])]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.cases[i].name}, slice {row - self._first[i]}" for row, i in enumerate(self._volume))

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.plan.padded(p.shape[1:]) for p in self._prepared for _ in range(p.shape[0]))

    @property
    def sizes(self) -> Tensor:
        return torch.cat([torch.tensor(self._sizes(prepared)) for prepared in self._prepared])

    def _sizes(self, prepared: Prepared) -> Any:
        """Pixels of each class in each slice of a label."""
        classes = self.plan.classes
        return self.cache.note(
            f"sizes of slices {prepared.label.key} {classes}",
            lambda: [class_sizes(one, classes).tolist() for one in prepared.label.open()],
        )

    # ---------------------------------------------------------------------------------------------- the batches

    def load(self, index: Tensor, seeds: Sequence[int]) -> Batch:
        """One patch of a slice of each volume that ``index`` (B,) has a slice of, row b drawn from ``seeds[b]``."""
        volumes = [self._volume[row] for row in index.tolist()]
        cases = [self._annotated(i, seed) for i, seed in zip(volumes, seeds, strict=True)]
        drawn = [self._draw(case, seed) for case, seed in zip(cases, seeds, strict=True)]
        places = [one.source[0].start for one in drawn]
        windows = [replace(one, source=one.source[1:], target=one.target[1:]) for one in drawn]
        return self._slices(volumes, cases, places, windows, self.plan.patch)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        """The slices of this rank's volumes, each once, whole and in order, those of one volume together."""
        for i in range(self.world.rank, len(self.cases), self.world.size):
            case = self._prepared[i]
            shape = self.plan.padded(case.shape[1:])
            for start in range(0, case.shape[0], batch_size):
                places = range(start, min(start + batch_size, case.shape[0]))
                n = len(places)
                yield self._slices([i] * n, [case] * n, places, [whole_window(case.shape[1:], shape)] * n, shape)

    def _slices(
        self,
        volumes: Sequence[int],
        cases: Sequence[Prepared],
        places: Sequence[int],
        windows: Sequence[Window],
        shape: Sequence[int],
    ) -> Batch:
        """Windows of slices, each of its volume and at its place there."""
        there = [replace(w, source=(z, *w.source)) for z, w in zip(places, windows, strict=True)]
        batch = self._read(volumes, cases, there, shape)
        index = torch.tensor([self._first[i] + z for i, z in zip(volumes, places, strict=True)], dtype=torch.int64)
        return replace(batch, index=index, trust=self.trust[index])

    # -------------------------------------------------------------------------------------- for ``begin_epoch``

    def write(self, name: str, index: Tensor, value: Tensor, *place: slice) -> None:
        """As ``CaseSet.write``, of slices; those that are not written stay as they are."""
        if name not in (REFINED, TARGET) or self.refined is None:
            raise ValueError(f"cannot write {name!r}: a training set with a store keeps {REFINED!r} and {TARGET!r}")
        for row, array in zip(index.tolist(), value.cpu().numpy(), strict=True):
            i = self._volume[row]
            case, key, z = self._prepared[i], self.cases[i].name, row - self._first[i]
            padded = self.plan.padded(case.shape[1:])
            part = part_window(case.shape[1:], padded, place or tuple(slice(0, n) for n in padded))
            array, at = array[(..., None, *part.target)], (slice(z, z + 1), *part.source)
            if name == TARGET:
                self._begin(f"{TARGET}/{key}", self.refined.read(f"{TARGET}/{key}"))
                self.refined.write(f"{TARGET}/{key}", fixed_point(array), None, case.shape, at)
            else:
                now = self._refined(i, case)
                self._begin(key, now)
                self.refined.write(key, array.astype(case.label.dtype), now[at], case.shape, at)

    def _begin(self, key: str, now: np.ndarray | None) -> None:
        """Have what is there as the draft of the next generation, before the first slice of it is replaced."""
        assert self.refined is not None
        if now is not None and key not in self.refined.pending():
            self.refined.write(key, now)
