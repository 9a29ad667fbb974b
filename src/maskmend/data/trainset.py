"""The training set: prepared once, kept on disk, read as memory maps; so it may be larger than memory.

Given labels never change. Refined ones lie in a ``RefinedStore`` beside them and come as ``batch.maps["refined"]``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache as memoised
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..functional.rng import fold
from ..progress import track
from ..types import IGNORE, Batch
from .cache import Cache, Stored, content_hash, digest
from .dataset import Case, Dataset, case_arrays
from .order import order, share
from .patches import Window, draw_window, foreground_points, whole_window
from .preprocess import Plan, preprocess_image, preprocess_label
from .refined import RefinedStore
from .sidemaps import SIDEMAPS

REFINED = "refined"


class World(Protocol):
    """This process among its peers."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def gather_object(self, value: Any) -> list[Any]:
        """``value`` of every rank, in the order of ranks, on every rank."""
        ...


@dataclass(frozen=True)
class Alone:
    """A single process."""

    rank: int = 0
    size: int = 1

    def gather_object(self, value: Any) -> list[Any]:
        return [value]


@dataclass(frozen=True)
class Prepared:
    """Where the arrays of one case lie."""

    image: Stored
    label: Stored
    foreground: Stored
    maps: Mapping[str, Stored]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.label.shape

    def exists(self) -> bool:
        return all(s.path.exists() for s in (self.image, self.label, self.foreground, *self.maps.values()))


class CaseSet:
    """Cases of a data set, prepared by a plan, with the side maps named in ``maps``. Implements ``types.TrainSet``.

    Making one reads and checks what is not in ``cache`` yet, each rank its share; all ranks see one file system.
    A patch larger than its case is filled up: the image with its minimum, the label with ``IGNORE``, so that the margin
    is not learnt, superpixels with an id of their own, distances with 0.

    Raises:
        InputError: a file cannot be read or does not fit the plan, or the disk is full.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        dataset: Dataset,
        plan: Plan,
        cache: Cache,
        maps: Sequence[str] = (),
        refined: RefinedStore | None = None,
        world: World = Alone(),
    ) -> None:
        self.cases, self.dataset, self.plan, self.cache = tuple(cases), dataset, plan, cache
        self.maps, self.refined, self.world = tuple(maps), refined, world
        self.trust = torch.tensor([int(case.trust) for case in cases], dtype=torch.int64)
        self._prepared = self._prepare_all()
        self._floor = memoised(self._minimum)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(case.name for case in self.cases)

    # ---------------------------------------------------------------------------------------------- preparation

    def _prepare_all(self) -> list[Prepared]:
        share = range(self.world.rank, len(self), self.world.size)
        pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        try:
            done = pool.map(self._prepare, share)
            mine = dict(zip(share, track(done, "preparing cases", total=len(share)), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
        found = {i: prepared for part in self.world.gather_object(mine) for i, prepared in part.items()}
        return [found[i] if found[i].exists() else self._prepare(i) for i in range(len(self))]

    def _prepare(self, i: int) -> Prepared:
        """Image, label and maps of a case, each under a key of what it depends on and nothing else."""
        case, plan, cache = self.cases[i], self.plan, self.cache
        read = memoised(lambda: case_arrays(case, self.dataset))
        spacing = case.images[0].with_name(f"{case.name}.json")  # a TIFF's spacing lies beside it
        look = content_hash((*case.images, *([spacing] if spacing.exists() else [])))
        grid = plan.model_dump(mode="json", include={"size", "spacing_mm"})
        image = cache.store(
            {"image": look, **grid, **plan.model_dump(mode="json", include={"normalisation"})},
            lambda: preprocess_image(read()[0], plan, str(case.images[0])),
        )

        def make_label() -> np.ndarray:
            picture, given = read()
            return preprocess_label(replace(given, geometry=picture.geometry), plan)

        label = cache.store(
            {
                "label": content_hash([case.label]) if case.label else None,
                "image": look if plan.spacing_mm or case.label is None else None,
                "values": [plan.classes, self.dataset.ignore],
                **grid,
            },
            make_label,
        )
        if label.shape != image.shape[1:]:
            raise InputError(
                f"{case.label} has the shape {label.shape} and {case.images[0]} {image.shape[1:]} (after resampling); "
                "they must be equal: correct the label."
            )
        foreground = cache.store(
            {"foreground": label.key}, lambda: foreground_points(label.open(), fold(0, "foreground", label.key))
        )
        return Prepared(image, label, foreground, self._side_maps(image, label))

    def _side_maps(self, image: Stored, label: Stored) -> dict[str, Stored]:
        config = self.plan.sidemaps

        def stored(name: str) -> Stored:
            side = SIDEMAPS[name]
            source = image if side.of == "image" else label
            return self.cache.store(side.key(name, source.key, config), lambda: side.make(source.open(), config))

        return {name: stored(name) for name in self.maps if name != REFINED}

    def _minimum(self, i: int) -> np.ndarray:
        image = self._prepared[i].image.open()
        lowest: np.ndarray = image.min(tuple(range(1, image.ndim)), keepdims=True)
        return lowest

    def schedule(self, seed: int, epoch: int, batch: Mapping[str, int], steps: int | None = None) -> list[Tensor]:
        """This rank's cases (B,) for every step of an epoch, int64: ``batch`` says how many of each pool (``POOLS``).

        R ranks together take what one process with R times the counts would. ``steps``: None is one pass over the
        largest pool.

        Raises:
            InputError: an unknown or an empty pool.
        """
        everywhere = {name: count * self.world.size for name, count in batch.items()}
        mine = self.share(batch)
        return [rows[mine] for rows in order(self.trust, everywhere, seed, epoch, steps)]

    def share(self, batch: Mapping[str, int]) -> Tensor:
        """Positions (B,) of this rank's rows among those of all ranks in a step, the same for any number of ranks."""
        return share(batch, self.world.rank, self.world.size)

    # ---------------------------------------------------------------------------------------------- the batches

    def load(self, index: Tensor, seeds: Sequence[int]) -> Batch:
        """One patch of each case in ``index`` (B,), row b drawn from ``seeds[b]`` alone; on the CPU."""
        rows: list[int] = index.tolist()
        windows = [self._draw(i, seed) for i, seed in zip(rows, seeds, strict=True)]
        return self._read(rows, windows, self.plan.patch)

    def _draw(self, i: int, seed: int) -> Window:
        case, plan = self._prepared[i], self.plan
        return draw_window(case.shape, plan.patch, case.foreground.open, plan.foreground, seed)

    def _read(self, rows: Sequence[int], windows: Sequence[Window], shape: Sequence[int]) -> Batch:
        # torch aligns its memory and numpy does not; by alignment, some matrix products round differently.
        tensors = {name: torch.empty(len(rows), *shape, dtype=_dtype(name)) for name in ("label", *self.maps)}
        images = torch.empty(len(rows), self.plan.channels, *shape)
        image, maps = images.numpy(), {name: tensor.numpy() for name, tensor in tensors.items()}
        label = maps.pop("label")
        for b, (i, part) in enumerate(zip(rows, windows, strict=True)):
            prepared = self._prepared[i]
            if not part.full:
                image[b] = self._floor(i)
                label[b] = IGNORE
            image[b][:, *part.target] = prepared.image.open()[:, *part.source]
            label[b][part.target] = prepared.label.open()[part.source]
            for name, out in maps.items():
                values = (self._refined(i) if name == REFINED else prepared.maps[name].open())[part.source]
                if not part.full:
                    out[b] = {REFINED: IGNORE, "superpixel": values.max() + 1}.get(name, 0)
                out[b][part.target] = values
        index = torch.tensor(rows, dtype=torch.int64)
        return Batch(images, tensors.pop("label"), self.trust[index], index, tensors)

    def _refined(self, i: int) -> np.ndarray:
        mended = self.refined.read(self.cases[i].name) if self.refined else None
        return self._prepared[i].label.open() if mended is None else mended

    def whole(self, i: int) -> tuple[Tensor, Tensor]:
        """Case ``i`` as prepared, not padded: image (C, *S') float32 and label (*S') int64."""
        prepared = self._prepared[i]
        return torch.tensor(prepared.image.open()), torch.tensor(prepared.label.open(), dtype=torch.int64)

    # -------------------------------------------------------------------------------------- for ``begin_epoch``

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        """This rank's cases, each once, whole and in order; consecutive ones of one shape together.

        A shape that networks do not take is filled up to the next that they do, as patches are.
        """
        mine = range(self.world.rank, len(self), self.world.size)
        for shape, group in groupby(mine, key=lambda i: self.plan.padded(self._prepared[i].shape)):
            rows = list(group)
            for start in range(0, len(rows), batch_size):
                some = rows[start : start + batch_size]
                yield self._read(some, [whole_window(self._prepared[i].shape, shape) for i in some], shape)

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        """Rows (M, ...) of the cases ``index`` (M,) from every rank -> (N, ...), 0 where no rank has one."""
        parts = [(i, v) for i, v in self.world.gather_object((index.cpu(), value.cpu())) if len(i)]
        first = parts[0][1] if parts else value
        full = first.new_zeros(len(self), *first.shape[1:])
        for i, v in parts:
            full[i] = v
        return full.to(value.device)

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        """Keep the refined labels (M, *S) of cases ``index``, of the shape ``scan`` gave them, for ``commit``."""
        if name != REFINED or self.refined is None:
            raise ValueError(f"cannot write the map {name!r}: a training set stores {REFINED!r}, if it has a store")
        for i, label in zip(index.tolist(), value.cpu().numpy(), strict=True):
            given = self._prepared[i].label
            inside = whole_window(given.shape, self.plan.padded(given.shape)).target
            self.refined.write(self.cases[i].name, label[inside].astype(given.dtype), self._refined(i))

    def commit(self) -> int:
        """Make every rank's writes visible on every rank; how many pixels changed."""
        if self.refined is None:
            return 0
        written = {case: n for part in self.world.gather_object(self.refined.pending()) for case, n in part.items()}
        changed = self.refined.commit(written) if self.world.rank == 0 else sum(written.values())
        self.refined.load_state_dict(self.world.gather_object(self.refined.state_dict())[0])
        return changed

    def prune(self, keep: set[int]) -> None:
        """Delete refined labels of generations that are neither in ``keep`` nor the present one."""
        if self.refined is not None:
            self.refined.prune(keep)

    @property
    def content(self) -> str:
        """One digest of every image and label, as prepared."""
        return digest([[case.image.key, case.label.key] for case in self._prepared])

    def state_dict(self) -> dict[str, Any]:
        """The generation of the refined labels, and what they refine."""
        return {"generation": self.refined.generation if self.refined else 0, "content": self.content}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a generation of refined labels.

        Raises:
            InputError: the images or labels are not those that the state was saved with.
        """
        if state["content"] != self.content:
            raise InputError(f"{self.dataset.root}: images or labels changed since the run began; start a new run.")
        if self.refined:
            self.refined.load_state_dict(state)


def _dtype(name: str) -> torch.dtype:
    """Of a label or a map in a batch."""
    return torch.float32 if name in SIDEMAPS and SIDEMAPS[name].dtype is np.float32 else torch.int64
