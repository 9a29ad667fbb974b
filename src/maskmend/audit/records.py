"""The nouns of an audit: finding, row, judge, and what is said of the whole data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator

from ..types import Config

FORMAT = 1
"""Raised when an audit would be read differently."""
MOST = 250
"""Findings of one case at most; the least sure and smallest are left out beyond."""
FAINT = 0.1
"""Confidence below which a finding is kept, and not told: on chest X-rays one in a hundred was, on dermoscopy, where
networks are unsure, eight."""

Kind = Literal[
    "missing", "spurious", "too_wide", "too_tight", "swap",
    "hole", "island", "slice_gap", "left_right", "absent", "unexpected", "outlier", "border", "edge", "file",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
BY_MODEL: tuple[str, ...] = KINDS[:5]


class Record(Config):
    model_config = ConfigDict(populate_by_name=True)


class Finding(Record):
    """One place in one label that is doubted.

    number: its value in ``numbers/CASE.ending``; 0 if it has no voxels of its own.
    box: [first, last + 1] along each axis; slice: its voxel (*S) to look at, the deepest. Both count from 0, while
    what a person reads counts from 1.
    """

    id: str
    number: int
    kind: Kind
    class_: str = Field(alias="class")
    other: str | None = None
    source: Literal["model", "check"] = Field(alias="from")
    box: tuple[tuple[int, int], ...] | None = None
    slice: tuple[int, ...] | None = None
    voxels: int = 0
    volume_ml: float | None = None
    depth_mm: float | None = None
    confidence: float = Field(ge=0, le=1)
    suggested: bool = False
    text: str


class Row(Record):
    """One case in ``audit.csv``; ``scores`` are its further columns.

    doubt: in [0, 1], higher is worse; None where nothing judged. quality: 1 - doubt.
    hint: "redraw" (automatic mending takes the judge's mask), "review", "fine", or "reviewed" (a person is done).
    """

    case: str
    rank: int
    doubt: float | None
    hint: Literal["redraw", "review", "fine", "reviewed"]
    classes: tuple[str, ...] = ()
    findings: int = 0
    worst_kind: str | None = None
    worst_slice: tuple[int, ...] | None = None
    volume_ml: float | None = None
    depth_mm: float | None = None
    scores: Mapping[str, float] = {}


class Judge(Record):
    """Where predictions came from: ``kind`` cross, runs, nnunet, predictions or reviewed; held_out: no judge had learnt
    from the case that it judged."""

    kind: str
    paths: tuple[str, ...] = ()
    held_out: bool
    cases: int
    dice: float | None = Field(None, description="mean Dice of its masks with the given labels")
    temperature: float = 1.0


class Share(Record):
    """Of the voxels given a class, or of all, the share believed wrong (tau), and its interval, which also holds the
    judge's own error. unknown: why no judge can know it; empty where one can."""

    value: float
    low: float
    high: float
    unknown: str = ""


class About(Record):
    """``audit.json``. labels: name -> value, background first. files: case -> sha256 of its given label and of each
    image. tau: of the voxels given each class, tau_image: of all, the share believed wrong. sentences: the data set as
    a whole, as a person is told."""

    format: int = FORMAT
    maskmend: str
    dataset: str
    dims: int
    labels: Mapping[str, int]
    ignore: int | None
    file_ending: str
    files: Mapping[str, tuple[str, ...]]
    judges: tuple[Judge, ...] = ()
    tolerance_mm: float | None = None
    settings: Mapping[str, Any] = {}
    tau: Mapping[str, Share] = {}
    tau_image: Share | None = None
    looks_clean: bool | None = None
    edges_mm: Mapping[str, float] = {}
    reviewed: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    made: str
    seconds: float

    @field_validator("labels")
    @classmethod
    def _by_value(cls, labels: Mapping[str, int]) -> Mapping[str, int]:
        """In whatever order the file names them."""
        return dict(sorted(labels.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class Doubted:
    """A finding in memory, before it has a number.

    voxels: flat indices into *S, sorted; empty where it is of the whole case.
    value: what would stand there instead, one number for all, or None where nothing is suggested.
    class_ and other: values of classes.
    depth_mm: None where no depth was measured; a pixel counts as a mm where the file knows no mm.
    """

    kind: Kind
    class_: int
    voxels: NDArray[np.int64]
    confidence: float
    text: str
    value: int | None = None
    other: int | None = None
    depth_mm: float | None = None
    at: int | None = None
    """Flat index of the voxel to look at; else the middle of ``voxels``."""

    @property
    def source(self) -> Literal["model", "check"]:
        return "model" if self.kind in BY_MODEL else "check"
