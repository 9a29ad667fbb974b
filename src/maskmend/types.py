"""The nouns every other module speaks: Batch, Trust, Progress. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Protocol, get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from torch import Tensor

IGNORE = -1
"""Label value of a pixel nobody annotated."""

Region = int | tuple[int, ...]
"""What is scored as one: a label value, or the values that one of nnU-Net's regions unites."""

Logs = dict[str, float | Tensor]


def members(region: Region) -> tuple[int, ...]:
    """The label values in it."""
    return region if isinstance(region, tuple) else (region,)


class Config(BaseModel):
    """Base of every settings object: frozen; an unknown key, infinity, NaN and numbers no machine counts are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = cls._kinds_of(info)
        if kinds & {int, float} and bool not in kinds and any(isinstance(p, bool) for p in _parts(value)):
            raise ValueError("it should be a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _countable(cls, value: Any, info: ValidationInfo) -> Any:
        parts = [*_parts(value)] if cls._kinds_of(info) & {int, float} else []  # a tree of settings is yet to be read
        for kind, most, words in ((int, 2**63, "2 ** 63"), (float, 1e38, "1e38, which single precision still holds")):
            if any(isinstance(part, kind) and abs(part) >= most for part in parts):
                raise ValueError(f"it should be below {words}")
        return value

    @classmethod
    def _kinds_of(cls, info: ValidationInfo) -> set[Any]:
        return {*_kinds(cls.model_fields[str(info.field_name)].annotation)}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a field's type is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _parts(value: Any) -> Iterator[Any]:
    """What a value is made of, however lists and groups lie in each other."""
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(part)
    else:
        yield value


class Trust(IntEnum):
    """How far a case's *given* label may be believed."""

    CLEAN = 0
    NOISY = 1
    UNLABELED = 2


@dataclass(frozen=True)
class Batch:
    """Cases, or patches of cases, on one device. ``*S`` is (H, W) or (D, H, W).

    image: (B, C, *S) float.
    label: (B, *S) int64 as given, never changed; ``IGNORE`` where nobody annotated.
    trust: (B,) int64 ``Trust`` values. index: (B,) int64 position in the training set.
    maps: (B, *S) each, warped with the image: "superpixel", "distance", "refined", ...
    place, inside: of a window of one large case, where the voxels lie that are its own, along each axis of the case and
    of the window; the others are there to be seen around them. Empty of what is whole.
    The truth of a simulated-noise experiment is deliberately not here.
    """

    image: Tensor
    label: Tensor
    trust: Tensor
    index: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    place: tuple[slice, ...] = ()
    inside: tuple[slice, ...] = ()

    def __len__(self) -> int:
        return len(self.image)

    def rows(self, pick: Tensor) -> Batch:
        """The cases that ``pick`` selects: (B,) bool or int64 positions."""
        return self.each(lambda t: t[pick])

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same change made to every tensor."""
        return replace(
            self,
            image=change(self.image),
            label=change(self.label),
            trust=change(self.trust),
            index=change(self.index),
            maps={name: change(value) for name, value in self.maps.items()},
        )

    def to(self, device: torch.device) -> Batch:
        return self.each(lambda t: t.to(device, non_blocking=True))

    @property
    def large(self) -> bool:
        """Whether it is one case too large for networks to see at once."""
        return False

    def parts(self, around: bool = True) -> Iterable[Batch]:
        """What networks can see at once: itself, or of a large case its windows, which share its voxels out among them.
        They can be read again and again; without ``around`` each shows its own voxels only."""
        return (self,)

    def own(self, value: Tensor) -> Tensor:
        """Of a map (B, ..., *S) over this batch, the voxels that are its own."""
        at: tuple[Any, ...] = (..., *self.inside)
        return value[at] if self.inside else value

    @property
    def core(self) -> Batch:
        """This batch without what is only seen around its own voxels."""
        if not self.inside:
            return self
        maps = {name: self.own(value) for name, value in self.maps.items()}
        return replace(self, image=self.own(self.image), label=self.own(self.label), maps=maps, inside=())

    @property
    def clean(self) -> Batch:
        return self.rows(self.trust == Trust.CLEAN)

    @property
    def imperfect(self) -> Batch:
        return self.rows(self.trust != Trust.CLEAN)


@dataclass(frozen=True)
class Progress:
    """Where training is. Schedules are functions of this and of nothing else.

    ``step`` counts optimisation steps since the start of the run, ``steps`` is their number in one epoch.
    """

    epoch: int
    epochs: int
    step: int
    steps: int


class Update(Protocol):
    """Backward, average over ranks, clip, step: the only way a method changes weights."""

    def __call__(self, loss: Tensor, group: str = "main") -> None: ...


class TrainSet(Protocol):
    """The whole training set, as ``Method.begin_epoch`` sees it."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the background's first."""
        ...

    @property
    def trust(self) -> Tensor:
        """(N,) int64 ``Trust`` values."""
        ...

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape (*S) that ``scan`` gives each case."""
        ...

    @property
    def steps(self) -> tuple[float, ...]:
        """How far apart pixels are along each axis of *S, over the axis where they are nearest; 1 where unknown."""
        ...

    @property
    def sizes(self) -> Tensor:
        """Pixels of each class in each given label, (N, K) int64."""
        ...

    def __len__(self) -> int: ...

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        """This rank's share of the cases, each once, whole, unaugmented, in a fixed order.

        A case too large for networks to see at once comes alone, is read where it is asked for, and has ``parts``.
        """
        ...

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        """Rows (M, ...) computed by every rank for cases ``index`` -> one (N, ...) tensor, the same on every rank."""
        ...

    def write(self, name: str, index: Tensor, value: Tensor, *place: slice) -> None:
        """Store maps (M, *S) of cases ``index``; after the hook every rank's batches carry them as ``maps[name]``.

        ``place``: of a window, whose every fellow is written too, where it lies in its case.

        "refined" is a label. "target" holds shares in [0, 1] of the foreground classes, (M, K - 1, *S), which come as
        ``maps["target_1"]``, ``maps["target_2"]``, ..., each (B, *S), 0 before the first write.
        """
        ...

    def undo(self) -> None:
        """Write what every "refined" label was before the hook that last wrote any."""
        ...
