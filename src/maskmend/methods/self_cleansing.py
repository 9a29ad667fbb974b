"""Deep Self-cleansing: masks with a large loss are redrawn from prototypes of what the network sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional.gmm import small
from ..functional.losses import dice_by_class, one_hot
from ..functional.packed import Packed
from ..functional.prototypes import common_divisors, likeness, prototypes
from ..functional.regions import SURE, merge, overlap_loss, tidy
from ..functional.schedule import ramp
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method

SIDE = 64  # the paper's K: cells of 4 pixels at 256², of 2 at 128²
PIXELS = 2**22  # in one batch of a cleansing, which sees cases whole


class Config(types.Config):
    """Defaults are the paper's, Secs. 2.2 to 2.4, but for what is said to be ours."""

    warmup: float = Field(
        0.1, ge=0, lt=1, description="E1: share of the run before cleansing, an epoch at least (Eq. 8)"
    )
    handover: float = Field(0.5, ge=0, le=1, description="E2: share of the run after which refined labels alone teach")
    every: int = Field(5, ge=1, description="k: epochs between cleansings (Sec. 2.4)")
    filter: bool = Field(True, description="LFM: labels of small loss stay; false redraws all (Table 4, LCM)")
    monotone: bool = Field(
        True, description="below the clean losses' mean all is clean, above the noisy ones' none (ours)"
    )
    separation: float = Field(0.0, ge=0, description="all is clean if the Gaussians lie closer, in sd (ours; 0 is off)")
    redraw: Literal["prototypes", "average", "prediction"] = Field(
        "prototypes", description="LCM: by representative cells; by the region's mean; the prediction itself (Table 4)"
    )
    grid: int | tuple[int, ...] | None = Field(
        None, description="K: cells per axis, dividing every image (Sec. 2.3: 64); left out: 64, or as many as fit"
    )
    sigma: float = Field(0.7, ge=0, lt=1, description="a cell is a prototype above this representation (Eq. 5)")
    mu: float = Field(0.7, ge=0, lt=1, description="a pixel is foreground above this likeness to prototypes (Eq. 6)")
    tidy: float = Field(0.1, ge=0, le=1, description="parts and holes below this share of the mask go (Sec. 2.3)")

    @field_validator("grid")
    @classmethod
    def _positive(cls, grid: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if grid is not None and min(per_axis(grid, 1)) < 1:
            raise ValueError("it should be 1 or more")
        return grid


@dataclass(frozen=True)
class Draft:
    """What one pass found out about a batch, kept until all ranks' losses are known. F foreground classes, on the CPU.

    evidence (B, 3, F) float64: the losses L and L' of Eq. 1, and 1 where the network sees the class at all.
    given, refined (B, *S); redrawn (B, F, *S) from ``redraw``.
    """

    index: Tensor
    evidence: Tensor
    given: Packed
    refined: Packed
    redrawn: Packed


class SelfCleansing(Method):
    paper = "Dong et al., Deep Self-Cleansing for Medical Image Segmentation with Noisy Labels, arXiv 2409.05024, 2024"
    defaults: ClassVar[Mapping[str, Any]] = {
        "network": {"name": "residual_unet"},
        "train": {"batch": {"any": 16}},
        "optim": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "poly"},
    }
    maps = ("refined",)

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def check(self, train: TrainSet) -> None:
        if (grid := self.config.grid) is None:
            return
        for name, shape in zip(train.names, train.shapes, strict=True):
            wanted = per_axis(grid, len(shape))
            if len(wanted) != len(shape):
                raise InputError(f"method.grid={list(wanted)}, but the images have {len(shape)} axes; give one number.")
            if any(n % k for n, k in zip(shape, wanted, strict=True)):
                fits = common_divisors(train.shapes, grid)
                raise InputError(
                    f"{name}: method.grid={grid} does not divide its {' × '.join(map(str, shape))} pixels; "
                    f"give method.grid={fits}, or leave it out."
                )

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        later = self.later(at)  # lambda2 = 1 - lambda1
        prob = self.predict(batch.image)
        given = dice_by_class(prob, batch.label).mean()  # Eq. 1, soft
        refined = dice_by_class(prob, batch.maps["refined"]).mean()
        loss = (1 - later) * given + later * refined  # Eq. 7
        update(loss)
        return {"loss": loss, "given": given, "refined": refined}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob

    def first(self, at: Progress) -> int:
        """The epoch of the first cleansing, E1."""
        return max(1, round(self.config.warmup * at.epochs))

    def later(self, at: Progress) -> float:
        """Weight of the refined labels, lambda2. Eq. 8."""
        first = self.first(at)
        return ramp(at.epoch, first, max(first + 1, self.config.handover * at.epochs))

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        age = at.epoch - self.first(at)
        if age < 0 or age % self.config.every:
            return {}
        several = min(8, max(1, PIXELS // max(map(math.prod, train.shapes))))
        drafts = [self.look(batch.to(self.device), first=age == 0) for batch in train.scan(several)]
        index = torch.cat([torch.empty(0, dtype=torch.int64), *(d.index for d in drafts)])
        evidence = torch.cat([torch.empty(0, dtype=torch.float64), *(d.evidence for d in drafts)])
        keep = self.filter(train.gather(index, evidence), train.trust, first=age == 0)
        for d in drafts:
            train.write("refined", d.index, merge(d.given.open(), d.refined.open(), d.redrawn.open(), keep[d.index]))
        given, both = keep[:, 0].double().mean(), keep.any(1).double().mean()
        return {"given_kept": given, "refined_kept": both - given, "redrawn": 1 - both}

    def look(self, batch: Batch, first: bool) -> Draft:
        """The one forward pass of a cleansing: losses, and a new mask of every class, should it be wanted."""
        features = cast(Any, self.net).features(batch.image)
        logits = cast(Any, self.net).head(features)
        classes, unlabelled = logits.shape[1], batch.trust == Trust.UNLABELED
        given = torch.where(unlabelled.view(-1, *[1] * (batch.label.ndim - 1)), 0, batch.label)
        refined = torch.zeros_like(given) if first else batch.maps["refined"]  # Y' is empty at first (Sec. 2.2)
        predicted = logits.argmax(1).masked_fill(given == IGNORE, IGNORE)
        regions = one_hot(predicted, classes)[:, 1:].bool()
        losses = [overlap_loss(predicted, y, classes)[:, 1:] for y in (given, refined)]  # Eq. 1
        return Draft(
            index=batch.index.cpu(),
            evidence=torch.stack([*losses, regions.flatten(2).any(2).double()], 1).cpu(),
            given=Packed.of(given.short()),
            refined=Packed.of(refined.short()),
            redrawn=Packed.of(self.redraw(features, regions)),
        )

    def redraw(self, features: Tensor, regions: Tensor) -> Tensor:
        """LCM: new masks of the classes, from the regions R (B, F, *S) where the network sees them.

        (B, F, *S) uint8: 0 outside, and inside the likeness to the prototypes, from mu to 1, as 1 .. ``SURE``.
        """
        if self.config.redraw == "prediction":
            return regions.to(torch.uint8) * SURE
        mu, cell = self.config.mu, self.cell(regions.shape[2:])
        likely = likeness(features, prototypes(features, regions, cell, self.config.sigma))  # Eqs. 4-6
        masks = tidy((likely > mu).flatten(0, 1), self.config.tidy).view_as(regions)
        return (masks * ((likely - mu) / (1 - mu) * SURE).ceil().clamp(1, SURE)).to(torch.uint8)

    def cell(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Pixels of a grid's cell, along each axis."""
        if self.config.redraw == "average":
            return tuple(shape)
        if self.config.grid is None:
            return tuple(math.ceil(n / SIDE) for n in shape)
        return tuple(n // k for n, k in zip(shape, per_axis(self.config.grid, len(shape)), strict=True))

    def filter(self, evidence: Tensor, trust: Tensor, first: bool) -> Tensor:
        """LFM: which given and which refined masks stay, (N, 2, F) bool; those known to be clean stay as given."""
        loss, refined_loss, found = evidence.unbind(1)
        labelled, cfg = trust != Trust.UNLABELED, self.config
        keep = torch.zeros_like(evidence[:, :2], dtype=torch.bool)
        keep[:, 1] = found == 0  # where R is empty nothing can be redrawn
        for k in range(found.shape[1]) if cfg.filter else ():
            clean = small(loss[labelled, k], cfg.monotone, cfg.separation)  # GMM-1: Y by L. Eqs. 2, 3
            keep[labelled, 0, k] = clean | (not found[:, k].any())  # a class never seen says nothing about its labels
            if not first:
                keep[:, 1, k] |= small(refined_loss[:, k], cfg.monotone, cfg.separation)  # GMM-2: Y' by L'
        keep[trust == Trust.CLEAN, 0] = True
        return keep


def per_axis(grid: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return grid if isinstance(grid, tuple) else (grid,) * dims
