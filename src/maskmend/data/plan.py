"""How cases are brought to a common grid and intensity: settled once, from the training cases, in a ``Plan``.

The plan is kept with the run and used for every later image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ..errors import InputError
from ..types import Config
from .cache import Cache
from .dataset import Case, Dataset
from .formats import Picture
from .fusion import Choice, Fusion
from .memory import check_memory, floats
from .normalisation import Asked, Normalisation, schemes_of, statistics
from .sidemaps import SideMapConfig
from .sides import told
from .slices import Slices, sliced
from .survey import looks

MULTIPLE = 16
"""Patches are multiples of this in every axis: the total stride of a network with four poolings."""
Length = Annotated[int, Field(ge=1)]
Spacing = Annotated[float, Field(gt=0)]
LeftRight = int | Literal["across", "unknown"]
Annotation = Literal["given", "sampled"] | Fusion | Choice


class DataConfig(Config):
    """How cases are brought to a common grid and intensity."""

    size: tuple[Length, ...] | None = None
    """Resize every case to this many pixels, in array order, e.g. [256, 256]. None: as they are; but pictures without
    physical spacing (PNG) that differ in shape are resized to 256 x 256."""
    spacing_mm: tuple[Spacing, ...] | Literal["median"] | None = None
    """Resample every case to this spacing, in array order (depth, height, width). None: the cases' own if they agree,
    else their median."""
    patch: tuple[Length, ...] | None = None
    """Pixels of one training patch, rounded up to a multiple of 16. None: the whole image in 2D if all have one shape,
    else the median shape, at most 256 in 2D and 96 in 3D."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 1 / 3
    """Share of patches centred on a labelled structure (nnU-Net: 1/3)."""
    normalisation: Asked = "auto"
    """Of intensities, for every channel; "auto" goes by each channel's name, as nnU-Net does."""
    annotation: Annotation = "given"
    """Which label a case is trained with: the one in labelsTr; or, of what labelsTr_raters/RATER holds of it, the
    majority; what STAPLE makes of all; one rater's, drawn once (random_rater) or in turn (cycle); or any rater's, each
    time anew (sampled). A case called clean keeps its own."""
    annotation_seed: Annotated[int, Field(ge=0)] = 0
    """Of random_rater: the same seed and name of a case, the same rater."""
    slices: Slices | None = None
    """Train 2D networks on the slices of volumes. Cases stay volumes: what is predicted, scored, audited and mended.
    ``size``, ``spacing_mm`` and ``patch`` are of a slice then; volumes keep their slices."""
    sidemaps: SideMapConfig = SideMapConfig()


class Plan(Config):
    """Everything that turns a picture into an input, settled once for a run. Lengths are in array order.

    With ``slices``, ``dims`` is 2 and a prepared volume is (C, N, *S) of N slices; its label is (N, *S).
    """

    dims: Literal[2, 3]
    channel_names: tuple[str, ...] = Field(min_length=1)
    classes: int = Field(ge=1)
    labels: dict[str, int]
    size: tuple[Length, ...] | None
    spacing_mm: tuple[Spacing, ...] | None
    patch: tuple[Length, ...]
    normalisation: tuple[Normalisation, ...]
    foreground: float = Field(ge=0, le=1)
    annotation: Annotation = "given"
    annotation_seed: int = 0
    sidemaps: SideMapConfig
    slices: Slices | None = None
    left_right: LeftRight = "unknown"
    """The axis of a patch that runs from the patient's right to left; "across": none does."""
    multiple: tuple[Length, ...]
    """What the networks need every length to be a multiple of."""
    notes: tuple[str, ...] = ()
    """What was decided without being asked for, a sentence each."""

    @model_validator(mode="after")
    def _agree(self) -> Plan:
        lengths = [value for value in (self.size, self.spacing_mm, self.patch, self.multiple) if value is not None]
        if any(len(value) != self.dims for value in lengths):
            raise ValueError(f"size, spacing_mm, patch and multiple should have {self.dims} numbers, as dims says")
        if len(self.normalisation) != self.channels or sorted(self.labels.values()) != [*range(self.classes)]:
            raise ValueError("normalisation should be one of each channel, and labels should count the classes from 0")
        return self

    @property
    def channels(self) -> int:
        return len(self.channel_names)

    @property
    def axes(self) -> int:
        """How many a case has."""
        return 3 if self.slices else self.dims

    @property
    def shown(self) -> tuple[int, ...]:
        """What a patch shows of a prepared case: one slice, where the networks see slices."""
        return (1, *self.patch) if self.slices else self.patch

    def padded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """``shape`` rounded up to what the networks take."""
        return tuple(-(-int(n) // k) * k for n, k in zip(shape, self.multiple, strict=True))

    def for_stride(self, stride: Sequence[int]) -> Plan:
        """The plan for networks of this total stride: the patch is rounded up to it.

        Raises:
            InputError: the networks would shrink a patch to a single pixel.
        """
        if all(n <= s for n, s in zip(self.patch, stride, strict=True)):
            raise InputError(
                f"network.strides shrink {' × '.join(map(str, stride))}-fold and leave one pixel of a patch of "
                f"{' × '.join(map(str, self.patch))}; give fewer strides, or a larger data.patch or data.size."
            )
        plan = self.model_copy(update={"multiple": tuple(np.lcm(self.multiple, stride).tolist())})
        return plan.model_copy(update={"patch": plan.padded(self.patch)})

    def check_grid(self, shape: Sequence[int], spacing_mm: Sequence[float], arrays: int, source: str) -> None:
        """Refuse a picture of this shape and spacing, if memory does not hold ``arrays`` of float32 on its grid.

        Raises:
            InputError: ``source`` names the picture.
        """
        if not all(0 < step < math.inf for step in spacing_mm):
            raise InputError(f"{source} has the spacing {by(spacing_mm)} mm, which no image has; correct its header.")
        grid, cure = self.grid(shape, spacing_mm), "crop it, or take a larger machine"
        what = f"{source} of {by(shape)} pixels"
        if self.size is not None:
            what, cure = f"{what}, resized to {by(grid)} by data.size,", "set a smaller one"
        elif grid != tuple(shape):
            steps = f"{by(spacing_mm)} mm to {by(self.spacing_mm or spacing_mm)} mm"
            what = f"{what}, resampled from a spacing of {steps} to {by(grid)} pixels,"
            cure = "correct the spacing or its unit in the file, or train with a larger data.spacing_mm"
        check_memory(floats(arrays, grid), what, cure)

    def grid(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """The shape that a picture of this shape and spacing is brought to; of a volume of slices, these come first."""
        number, shape, spacing_mm = tuple(shape[: -self.dims]), shape[-self.dims :], spacing_mm[-self.dims :]
        if self.size is not None:
            return (*number, *self.size)
        if self.spacing_mm is None or np.allclose(spacing_mm, self.spacing_mm, rtol=1e-3):
            return (*number, *shape)
        scaled = np.asarray(shape) * np.asarray(spacing_mm) / np.asarray(self.spacing_mm)
        return (*number, *(max(1, int(n)) for n in np.rint(scaled)))


def takes_intensities(dataset: Dataset, config: DataConfig) -> bool:
    """Whether a plan needs the intensities of all training cases: that of "ct" normalisation does."""
    return "ct" in schemes_of(dataset, config.normalisation)


def make_plan(dataset: Dataset, cases: Sequence[Case], config: DataConfig, cache: Cache | None = None) -> Plan:
    """Look at ``cases``, of which those that ``cache`` knows are not read, and settle how they are prepared.

    Raises:
        InputError: a length in ``config`` does not fit the images, the images are of different kinds, or
            "ct" normalisation finds no foreground.
    """
    schemes = schemes_of(dataset, config.normalisation)
    _check_asked(dataset, cases, config)
    seen = [*looks(cases, dataset, cache, ct="ct" in schemes)]
    dims = _dims(cases, [each.shape for each in seen], config)
    seen = [sliced(each, config.slices) for each in seen]
    _check_lengths(config, dims, dataset.root)
    notes: list[str] = []
    steps = [each.spacing_mm and each.spacing_mm[-dims:] for each in seen]
    size, spacing_mm = _target(config, [each.shape[-dims:] for each in seen], steps, notes)
    left_right = _left_right([each.axes for each in seen])
    notes += told(dataset.labels, left_right)
    plan = Plan(
        dims=dims,
        channel_names=tuple(dataset.channel_names),
        classes=dataset.classes,
        labels=dict(dataset.labels),
        size=size,
        spacing_mm=spacing_mm,
        patch=(MULTIPLE,) * dims,
        multiple=(MULTIPLE,) * dims,
        normalisation=statistics(schemes, dataset, cases, cache),
        foreground=config.foreground,
        annotation=config.annotation,
        annotation_seed=config.annotation_seed,
        sidemaps=config.sidemaps,
        slices=config.slices,
        left_right=left_right,
    )
    kinds = [(each.shape, each.spacing_mm or (1.0,) * plan.axes) for each in seen]
    first = dict(zip(reversed(kinds), reversed(cases), strict=True))
    for kind in dict.fromkeys(kinds):
        plan.check_grid(*kind, plan.channels, str(first[kind].images[0]))
    grid = {kind: plan.grid(*kind) for kind in first}
    grids = [grid[kind] for kind in kinds]
    asked = _patch(config.patch, [each[-dims:] for each in grids])
    if config.patch is not None and plan.padded(asked) != asked:
        notes.append(f"The patch {list(asked)} is rounded up to {list(plan.padded(asked))}, multiples of {MULTIPLE}.")
    return plan.model_copy(update={"patch": plan.padded(asked), "notes": tuple(notes)})


def _check_asked(dataset: Dataset, cases: Sequence[Case], config: DataConfig) -> None:
    """What can be told before an image is read."""
    if config.annotation != "given" and not any(case.opinions for case in cases):
        raise InputError(
            f"data.annotation={config.annotation}, but {dataset.root / 'labelsTr_raters'} holds no rater's labels of "
            "noisy cases; put them into labelsTr_raters/RATER/, or set data.annotation=given."
        )
    if not cases:
        raise InputError(f"{dataset.root} has no training case; add images and labels, or choose another fold.")
    if config.slices and config.sidemaps.features:
        raise InputError("data.sidemaps.features and data.slices are both set, and features of slices cannot be used.")


def _dims(cases: Sequence[Case], shapes: Sequence[tuple[int, ...]], config: DataConfig) -> Literal[2, 3]:
    """Axes that the networks see of the images, which must be of one kind."""
    dims = len(shapes[0])
    if other := next((n for n, shape in enumerate(shapes) if len(shape) != dims), None):
        raise InputError(
            f"{cases[other].images[0]} is {len(shapes[other])}D, {cases[0].images[0]} is {dims}D; "
            "give each kind a data set of its own."
        )
    if config.slices and dims != 3:
        raise InputError(f"data.slices={config.slices}, but {cases[0].images[0]} is 2D; leave data.slices out.")
    return 2 if config.slices or dims == 2 else 3


def _check_lengths(config: DataConfig, dims: int, root: Path) -> None:
    for name in ("size", "spacing_mm", "patch"):
        value = getattr(config, name)
        if isinstance(value, tuple) and len(value) != dims:
            raise InputError(
                f"data.{name}={list(value)} does not fit {root}, whose images are {dims}D; give {dims} numbers."
            )
    if config.size is not None and config.spacing_mm is not None:
        raise InputError("data.size and data.spacing_mm are both set, but only one can hold; leave one out.")


def _target(
    config: DataConfig,
    shapes: Sequence[tuple[int, ...]],
    spacings: Sequence[tuple[float, ...] | None],
    notes: list[str],
) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
    """The common size, or the common spacing, or neither."""
    known = [spacing for spacing in spacings if spacing is not None]
    if len(known) < len(spacings):
        if config.spacing_mm is not None:
            raise InputError(
                "data.spacing_mm is set, but some images carry no physical spacing; set data.size instead."
            )
        if config.size is None and len(shapes[0]) == 2 and len(set(shapes)) > 1:
            notes.append("The images differ in shape and have no physical spacing: all are resized to 256 x 256.")
            return (256, 256), None
        return config.size, None
    if config.size is not None:
        return config.size, None
    if isinstance(config.spacing_mm, tuple):
        return None, config.spacing_mm
    median = tuple(float(s) for s in np.median(known, axis=0))
    if config.spacing_mm is None and not np.allclose(known, median, rtol=1e-3):
        notes.append(f"The images differ in spacing: all are resampled to the median, {list(median)} mm.")
    return None, median


def _left_right(axes: Sequence[tuple[int | None, ...] | None]) -> LeftRight:
    """The axis of all images that runs from the patient's right to left."""
    found: set[LeftRight | None] = {each[0] if each else "unknown" for each in axes}
    if len(found) != 1:
        return "unknown"
    axis = found.pop()
    return "across" if axis is None else axis


def _patch(asked: tuple[int, ...] | None, grids: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    dims = len(grids[0])
    wanted: Sequence[int]
    if asked is not None:
        wanted = asked
    elif dims == 2 and len(set(grids)) == 1:
        wanted = grids[0]
    else:
        most = 256 if dims == 2 else 96
        wanted = [min(most, int(n)) for n in np.median(grids, axis=0)]
    return tuple(wanted)


def by(lengths: Sequence[float]) -> str:
    """ "24 × 32 × 16"."""
    return " × ".join(f"{length:g}" for length in lengths)


def check_channels(image: Picture, channels: int, source: str) -> None:
    if len(image.array) != channels:
        raise InputError(
            f"{source} has {len(image.array)} channel(s) where {channels} are expected; "
            "convert the image, or correct channel_names in dataset.json and train anew."
        )
