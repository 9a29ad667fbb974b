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
from ..functional.gmm import GAIN, ROUNDS, small
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

    warmup: float | Literal["auto"] = Field(
        "auto",
        description="E1, epoch of the first cleansing (Eq. 8; 50 of 500); below 1 a share of the run, an epoch at "
        "least; auto: once the loss has settled (ours)",
    )
    handover: float = Field(0.5, ge=0, le=1, description="E2: share of the run after which refined labels alone teach")
    every: int = Field(5, ge=1, description="k: epochs between cleansings (Sec. 2.4)")
    filter: bool = Field(True, description="LFM: labels of small loss stay; false redraws all (Table 4, LCM)")
    monotone: bool = Field(
        True, description="below the clean losses' mean all is clean, above the noisy ones' none (ours)"
    )
    separation: float = Field(0.0, ge=0, description="all is clean if the Gaussians lie closer, in sd (ours; 0 is off)")
    em_steps: int = Field(ROUNDS, ge=1, description="most rounds of a mixture's fit (not given; DivideMix's code: 10)")
    em_tol: float = Field(
        GAIN, ge=0, description="gain of its mean log likelihood that ends it (DivideMix's code: 0.01)"
    )
    competence: float = Field(
        0.8,
        ge=0,
        le=1,
        description="a mask is redrawn only if the new one has this soft Dice with the network's own probabilities "
        "(ours; 0 is off)",
    )
    margin: float = Field(
        0.2, ge=-1, le=1, description="and only if the given one has so much less of it (ours; -1 is off)"
    )
    redraw: Literal["prototypes", "average", "prediction"] = Field(
        "prototypes", description="LCM: by representative cells; by the region's mean; the prediction itself (Table 4)"
    )
    grid: int | tuple[int, ...] | None = Field(
        None, description="K: cells per axis, dividing every image (Sec. 2.3: 64); left out: 64, or as many as fit"
    )
    sigma: float = Field(0.7, ge=0, lt=1, description="a cell is a prototype above this representation (Eq. 5)")
    mu: float = Field(0.7, ge=0, lt=1, description="a pixel is foreground above this likeness to prototypes (Eq. 6)")
    tidy: float = Field(0.1, ge=0, le=1, description="parts and holes below this share of the mask go (Sec. 2.3)")

    @field_validator("warmup")
    @classmethod
    def _whole(cls, warmup: float | Literal["auto"]) -> float | Literal["auto"]:
        if warmup != "auto" and (warmup < 0 or (warmup > 1 and warmup % 1)):
            raise ValueError("it should be auto, a share below 1, or a whole number of epochs")
        return warmup

    @field_validator("grid")
    @classmethod
    def _positive(cls, grid: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if grid is not None and min(per_axis(grid, 1)) < 1:
            raise ValueError("it should be 1 or more")
        return grid


@dataclass(frozen=True)
class Draft:
    """What one pass found out about a batch, kept until all ranks' losses are known. F foreground classes, on the CPU.

    evidence (B, 5, F) float64: the losses L and L' of Eq. 1; the soft Dice of the redrawn and of the given mask with
    the network's probabilities; and 1 where the network sees the class at all.
    given, refined (B, *S); redrawn (B, F, *S) from ``redraw``.
    """

    index: Tensor
    evidence: Tensor
    given: Packed
    refined: Packed
    redrawn: Packed


class SelfCleansing(Method):
    curve: Tensor
    began: Tensor
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
        self.register_buffer("curve", torch.zeros(3))  # losses: sum of this span; means of the first and of the last
        self.register_buffer("began", torch.tensor(-1))  # E1, once the loss has settled

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
        self.curve[0] += given.detach()
        return {"loss": loss, "given": given, "refined": refined}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob

    def first(self, at: Progress) -> int | None:
        """The epoch of the first cleansing, E1; None while it is not known."""
        warmup = self.config.warmup
        if warmup == "auto":
            return int(self.began) if self.began >= 0 else None
        return int(warmup) if warmup >= 1 else max(1, round(warmup * at.epochs))

    def later(self, at: Progress) -> float:
        """Weight of the refined labels, lambda2. Eq. 8."""
        if (first := self.first(at)) is None:
            return 0.0
        return ramp(at.epoch, first, max(first + 1, self.config.handover * at.epochs))

    def settled(self, at: Progress) -> bool:
        """Whether the loss of the given labels has fallen and stopped falling; asked at the start of each epoch.

        It compares means over spans of a twentieth of the run, two epochs at least: the last lies a tenth of the first
        below it, and of the whole fall less than a tenth is that from the last but one.
        """
        span = max(2, round(at.epochs / 20))
        if at.epoch == 0 or at.epoch % span:
            return False
        total, first, before = self.curve.tolist()
        now = total / (span * at.steps)
        first = first if at.epoch > span else now
        self.curve.copy_(self.curve.new_tensor((0, first, now)))
        fall = first - now
        return bool(fall > 0.1 * first and before - now < 0.1 * fall)

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        if self.config.warmup == "auto" and self.began < 0 and self.settled(at):
            self.began.fill_(at.epoch)
        first = self.first(at)
        if first is None or at.epoch < first or (at.epoch - first) % self.config.every:
            return {}
        several = min(8, max(1, PIXELS // max(map(math.prod, train.shapes))))
        drafts = [self.look(batch.to(self.device)) for batch in train.scan(several)]
        index = torch.cat([torch.empty(0, dtype=torch.int64), *(d.index for d in drafts)])
        evidence = torch.cat([torch.empty(0, dtype=torch.float64), *(d.evidence for d in drafts)])
        keep = self.filter(train.gather(index, evidence), train.trust, first=at.epoch == first)
        for d in drafts:
            train.write("refined", d.index, merge(d.given.open(), d.refined.open(), d.redrawn.open(), keep[d.index]))
        given, both = keep[:, 0].double().mean(), keep.any(1).double().mean()
        return {"given_kept": given, "refined_kept": both - given, "redrawn": 1 - both}

    def look(self, batch: Batch) -> Draft:
        """The one forward pass of a cleansing: losses, and a new mask of every class, should it be wanted."""
        features = cast(Any, self.net).features(batch.image)
        logits = cast(Any, self.net).head(features)
        classes, unlabelled = logits.shape[1], batch.trust == Trust.UNLABELED
        given = torch.where(unlabelled.view(-1, *[1] * (batch.label.ndim - 1)), 0, batch.label)
        refined = batch.maps["refined"]
        predicted = logits.argmax(1).masked_fill(given == IGNORE, IGNORE)
        regions = one_hot(predicted, classes)[:, 1:].bool()
        redrawn = self.redraw(features, regions).masked_fill((given == IGNORE).unsqueeze(1), 0)
        losses = [overlap_loss(predicted, y, classes)[:, 1:] for y in (given, refined)]  # Eq. 1
        prob = logits.float().softmax(1)[:, 1:].masked_fill((given == IGNORE).unsqueeze(1), 0)
        likely = [soft_dice(prob, masks) for masks in (redrawn > 0, one_hot(given, classes)[:, 1:])]
        return Draft(
            index=batch.index.cpu(),
            evidence=torch.stack([*losses, *likely, regions.flatten(2).any(2).double()], 1).cpu(),
            given=Packed.of(given.short()),
            refined=Packed.of(refined.short()),
            redrawn=Packed.of(redrawn),
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
        """LFM: which given and which refined masks stay, (N, 2, F) bool; those known to be clean stay as given.

        Refined masks that cannot be redrawn, or not for the better, stay, too; at first they are the given ones. A case
        where neither a mask nor the network shows the class says nothing and is left out of that mixture.
        """
        loss, refined_loss, redrawn_dice, given_dice, seen = evidence.unbind(1)
        found, labelled = seen > 0, (trust != Trust.UNLABELED).unsqueeze(1)
        shown, refined_shown = found | (loss > 0), found | (refined_loss > 0)
        given, refined = torch.ones_like(found), torch.zeros_like(found)
        for k in range(found.shape[1]) if self.config.filter else ():
            given[:, k] = self.clean(loss[:, k], labelled[:, 0] & shown[:, k])  # GMM-1: Y by L. Eqs. 2, 3
            if not first:  # Y' is empty at first (Sec. 2.2)
                refined[:, k] = self.clean(refined_loss[:, k], refined_shown[:, k])  # GMM-2: Y' by L'
        given = (given & labelled) | (trust == Trust.CLEAN).unsqueeze(1)
        better = (redrawn_dice >= self.config.competence) & (redrawn_dice - given_dice >= self.config.margin)
        if not self.config.filter:
            given &= (trust == Trust.CLEAN).unsqueeze(1)
        return torch.stack((given, refined | ~found | (labelled & ~better)), 1)

    def clean(self, loss: Tensor, shown: Tensor) -> Tensor:
        """Which losses (N,) are of clean masks, (N,) bool, by the mixture of those ``shown``; the others are."""
        cfg, clean = self.config, torch.ones_like(shown)
        clean[shown] = small(loss[shown], cfg.monotone, cfg.separation, cfg.em_steps, cfg.em_tol)
        return clean


def soft_dice(prob: Tensor, masks: Tensor) -> Tensor:
    """Dice of each class' probabilities and mask, both (B, F, *S), smoothed by one pixel; (B, F) float64."""
    p, y = prob.double().flatten(2), masks.double().flatten(2)
    return (2 * (p * y).sum(2) + 1) / ((p + y).sum(2) + 1)


def per_axis(grid: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return grid if isinstance(grid, tuple) else (grid,) * dims
