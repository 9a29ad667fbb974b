"""The training set: prepared once, kept on disk, read as memory maps; so it may be larger than memory.

Given labels never change. Refined ones lie in a ``RefinedStore`` beside them and come as ``batch.maps["refined"]``; so
do the shares of classes that a method writes as "target", which come as ``target_1``, ``target_2``, ...
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache as memoised
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..functional.rng import fold
from ..progress import track
from ..types import IGNORE, Batch
from .cache import Cache, digest
from .dataset import Case, Dataset
from .fusion import choose, soft_part
from .masks import fit_superpixels, removed
from .order import order, share
from .patches import Window, draw_window, part_window, whole_window
from .peers import ALONE, World
from .plan import Plan
from .prepared import Labelled, Prepared, add_map, prepare_case
from .refined import REFINED, TARGET, RefinedStore, fixed_point, shares, target_part
from .sidemaps import SUPERPIXEL, map_parts, map_type
from .survey import AT_ONCE
from .threads import in_threads
from .windows import WHOLE, LargeCase


class CaseSet:
    """Cases of a data set, prepared by a plan, with the side maps named in ``maps``. Implements ``types.TrainSet``.

    Making one reads and checks what is not in ``cache`` yet, each rank its share; all ranks see one file system.
    The size of superpixels, where the plan leaves it open, is settled by the masks: ``plan`` says how.
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
        world: World = ALONE,
    ) -> None:
        self.cases, self.dataset, self.plan, self.cache = tuple(cases), dataset, plan, cache
        self.maps = tuple(part for name in maps for part in map_parts(name, plan.classes))
        self.refined, self.world = refined, world
        self.trust = torch.tensor([int(case.trust) for case in cases], dtype=torch.int64)
        if self.world.rank == 0 and any(map(soft_part, self.maps)) and not any(case.opinions for case in cases):
            said = f"{dataset.root / 'labelsTr_raters'} holds no rater's labels of noisy cases"
            warnings.warn(f"{said}: every share is 0 or 1, by the given label.", stacklevel=2)
        self._keep(self._shared(self._prepare, "preparing cases"))
        if SUPERPIXEL in self.maps:
            self.plan = fit_superpixels(plan, self.sizes)
            self._keep(self._shared(self._divide, "making superpixels"))
        self._floor = memoised(self._minimum)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(case.name for case in self.cases)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the background's first."""
        return tuple(sorted(self.plan.labels, key=self.plan.labels.__getitem__))

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape (*S) that ``scan`` gives each case."""
        return tuple(self.plan.padded(prepared.shape) for prepared in self._prepared)

    @property
    def steps(self) -> tuple[float, ...]:
        """How far apart pixels are along each axis of *S, over the axis where they are nearest; 1 where unknown."""
        spacing_mm = self.plan.spacing_mm or (1.0,) * self.plan.dims
        return tuple(step / min(spacing_mm) for step in spacing_mm)

    @property
    def sizes(self) -> Tensor:
        """Pixels of each class in each given label, (N, K) int64."""
        return torch.tensor([prepared.sizes for prepared in self._prepared])

    @property
    def removed(self) -> Mapping[str, str]:
        """Classes that the plan's grid takes out of given labels, with a sentence each."""
        given, sizes = (torch.tensor(each) for each in zip(*((p.given, p.sizes) for p in self._prepared), strict=True))
        return removed(self.plan, given, sizes)

    # ---------------------------------------------------------------------------------------------- preparation

    def _shared(self, work: Callable[[int], Labelled], said: str) -> list[Labelled]:
        """``work`` on every case, each rank its share; ``said`` beside the bar."""
        share = range(self.world.rank, len(self.cases), self.world.size)
        done = in_threads(work, share, AT_ONCE)
        mine = dict(zip(share, track(done, said, total=len(share)), strict=True))
        found = {i: made for part in self.world.gather_object(mine) for i, made in part.items()}
        return [found[i] if i in mine or found[i].exist() else work(i) for i in range(len(self.cases))]

    def _keep(self, labels: list[Labelled]) -> None:
        self._labels, self._prepared = labels, [each.fixed for each in labels]

    def _divide(self, i: int) -> Labelled:
        """The case with its superpixels, whose size the masks of all settle."""
        add = partial(add_map, SUPERPIXEL, self.cases[i].name, plan=self.plan, cache=self.cache)
        labels = self._labels[i]
        return Labelled(add(labels.given), add(labels.fixed), tuple(map(add, labels.drawn)))

    def _prepare(self, i: int) -> Labelled:
        """The case with its given label, and with what ``plan.annotation`` makes of its raters'."""
        case, rule = self.cases[i], self.plan.annotation
        wanted = [name for name in self.maps if name not in (REFINED, SUPERPIXEL) and not target_part(name)]
        prepare = partial(prepare_case, dataset=self.dataset, plan=self.plan, cache=self.cache)
        if rule == "given" or rule == "sampled" or not case.opinions:
            given = prepare(case, maps=wanted)
            others = case.opinions if rule == "sampled" else ()
            return Labelled(given, given, tuple(prepare(replace(case, label=path), maps=wanted) for path in others))
        given = prepare(case, maps=())
        if rule == "majority" or rule == "staple":
            return Labelled(given, prepare(case, maps=wanted, fused=rule))
        chosen = choose(case, self.dataset, rule, self.plan.annotation_seed)
        return Labelled(given, prepare(replace(case, label=chosen), maps=wanted))

    def _minimum(self, i: int) -> np.ndarray:
        image = self._prepared[i].image.open()
        return np.asarray(image.min(tuple(range(1, image.ndim)), keepdims=True))

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
        cases = [self._annotated(i, seed) for i, seed in zip(rows, seeds, strict=True)]
        windows = [self._draw(case, seed) for case, seed in zip(cases, seeds, strict=True)]
        return self._read(rows, cases, windows, self.plan.patch)

    def _annotated(self, i: int, seed: int) -> Prepared:
        """The case with the label of a rater drawn anew each time, or with the given one."""
        raters = self._labels[i].drawn
        return raters[fold(seed, "rater") % len(raters)] if raters else self._prepared[i]

    def _draw(self, case: Prepared, seed: int) -> Window:
        return draw_window(case.shape, self.plan.shown, case.points, self.plan.foreground, seed)

    def _read(
        self, rows: Sequence[int], cases: Sequence[Prepared], windows: Sequence[Window], shape: Sequence[int]
    ) -> Batch:
        # torch aligns its memory and numpy does not; by alignment, some matrix products round differently.
        tensors = {name: torch.empty(len(rows), *shape, dtype=map_type(name)) for name in ("label", *self.maps)}
        images = torch.empty(len(rows), self.plan.channels, *shape)
        image, maps = images.numpy(), {name: tensor.numpy() for name, tensor in tensors.items()}
        label = maps.pop("label")
        for b, (i, prepared, part) in enumerate(zip(rows, cases, windows, strict=True)):
            if not part.full:
                image[b] = self._floor(i)
                label[b] = IGNORE
            image[b][:, *part.target] = prepared.image.open()[:, *part.source]
            label[b][part.target] = prepared.label.open()[part.source]
            for name, out in maps.items():
                values = self._values(name, i, prepared, part)
                if not part.full:
                    out[b] = {REFINED: IGNORE, SUPERPIXEL: values.max(initial=-1) + 1}.get(name, 0)
                out[b][part.target] = values
        index = torch.tensor(rows, dtype=torch.int64)
        return Batch(images, tensors.pop("label"), self.trust[index], index, tensors)

    def _values(self, name: str, i: int, prepared: Prepared, part: Window) -> np.ndarray:
        """What the window shows of a map."""
        if value := target_part(name):
            target = self.refined.read(f"{TARGET}/{self.cases[i].name}") if self.refined else None
            return np.zeros((1,), np.float32) if target is None else shares(target[value - 1][part.source])
        values = self._refined(i, prepared) if name == REFINED else prepared.maps[name].open()
        shown: np.ndarray = values[part.source]
        return shown

    def _refined(self, i: int, prepared: Prepared) -> np.ndarray:
        mended = self.refined.read(self.cases[i].name) if self.refined else None
        return prepared.label.open() if mended is None else mended

    def whole(self, i: int) -> tuple[Tensor, Tensor]:
        """Case ``i`` with its given label, as prepared, not padded: image (C, *S') float32 and label (*S') int64."""
        prepared = self._labels[i].given
        return torch.tensor(prepared.image.open()), torch.tensor(prepared.label.open(), dtype=torch.int64)

    # -------------------------------------------------------------------------------------- for ``begin_epoch``

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        """This rank's cases, each once, whole and in order; consecutive ones of one shape together, large ones alone.

        A shape that networks do not take is filled up to the next that they do, as patches are.
        """
        mine = range(self.world.rank, len(self), self.world.size)
        for shape, group in groupby(mine, key=lambda i: self.shapes[i]):
            rows = list(group)
            if math.prod(shape) > WHOLE:
                yield from (self._large(i, shape) for i in rows)
                continue
            for start in range(0, len(rows), batch_size):
                some = rows[start : start + batch_size]
                cases = [self._prepared[i] for i in some]
                yield self._read(some, cases, [whole_window(case.shape, shape) for case in cases], shape)

    def _large(self, i: int, shape: Sequence[int]) -> Batch:
        """One case, padded to ``shape``, that is read part by part."""
        case = self._prepared[i]

        def read(shown: tuple[slice, ...]) -> Batch:
            return self._read([i], [case], [part_window(case.shape, shape, shown)], [s.stop - s.start for s in shown])

        return LargeCase(read, shape, self.plan, torch.tensor([i]), self.trust[i : i + 1])

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        """Rows (M, ...) of the cases ``index`` (M,) from every rank -> (N, ...), 0 where no rank has one."""
        parts = [(i, v) for i, v in self.world.gather_object((index.cpu(), value.cpu())) if len(i)]
        first = parts[0][1] if parts else value
        full = first.new_zeros(len(self), *first.shape[1:])
        for i, v in parts:
            full[i] = v
        return full.to(value.device)

    def write(self, name: str, index: Tensor, value: Tensor, *place: slice) -> None:
        """Keep for ``commit`` what is "refined" (M, *S) or the "target" (M, K - 1, *S) of cases ``index``, of the shape
        ``scan`` gave them; or that part of one which lies at ``place``."""
        if name not in (REFINED, TARGET) or self.refined is None:
            raise ValueError(f"cannot write {name!r}: a training set with a store keeps {REFINED!r} and {TARGET!r}")
        for i, array in zip(index.tolist(), value.cpu().numpy(), strict=True):
            case, key = self._prepared[i], self.cases[i].name
            padded = self.plan.padded(case.shape)
            part = part_window(case.shape, padded, place or tuple(slice(0, n) for n in padded))
            array, at = array[(..., *part.target)], part.source if place else ()
            if name == TARGET:
                self.refined.write(f"{TARGET}/{key}", fixed_point(array), None, case.shape, at)
            else:
                array = array.astype(case.label.dtype)
                self.refined.write(key, array, self._refined(i, case)[part.source], case.shape, at)

    def undo(self) -> None:
        """Keep for ``commit`` the refined labels of this rank's cases as they were before the last one."""
        if self.refined is None:
            raise ValueError("cannot undo: this training set stores nothing")
        for i in range(self.world.rank, len(self.cases), self.world.size):
            case, key = self._prepared[i], self.cases[i].name
            before = self.refined.before(key)
            self.refined.write(key, case.label.open() if before is None else before, self._refined(i, case))

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
        soft = [name for name in self.maps if soft_part(name)]
        keys = [[c.image.key, c.label.key, *(c.maps[name].key for name in soft)] for c in self._prepared]
        raters = ([rater.label.key for rater in labels.drawn] for labels in self._labels if labels.drawn)
        return digest([*keys, *raters])

    def state_dict(self) -> dict[str, Any]:
        """The generation of the refined labels, what is in it, and what they refine."""
        return {**(self.refined.remembered() if self.refined else {"generation": 0}), "content": self.content}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a generation of refined labels.

        Raises:
            InputError: the images or labels, given or refined, are not those that the state was saved with.
        """
        if state.get("content") != self.content:
            raise InputError(f"{self.dataset.root}: images or labels changed since the run began; start a new run.")
        if self.refined:
            self.refined.recall(state)
