"""Deep Self-cleansing: masks with a large loss are redrawn from prototypes of what the network sees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional.assumptions import unparted
from ..functional.doubt import planes
from ..functional.gmm import GAIN, ROUNDS, small
from ..functional.losses import dice_by_class, one_hot
from ..functional.packed import Packed
from ..functional.prototypes import cells_along, common_divisors, joined, likeness, prototypes, prototypes_of, sums
from ..functional.regions import SURE, dice, lost, merge, overlap_loss, overlaps, shared, soft_dice, tidy
from ..functional.schedule import ramp
from ..functional.windows import together
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
    given, refined (B, *S); redrawn (B, F, *S) from ``redraw``. places: where parts of a large case lie.
    """

    index: Tensor
    evidence: Tensor
    given: Packed
    refined: Packed
    redrawn: Packed
    places: Sequence[tuple[slice, ...]] = ((),)


@dataclass(frozen=True)
class Seen:
    """Of a batch's own pixels: features (B, C, *S); probabilities of foreground classes, and regions where the network
    sees them, (B, F, *S); the given label, as it is compared, and the predicted one (B, *S)."""

    features: Tensor
    prob: Tensor
    given: Tensor
    predicted: Tensor
    regions: Tensor


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
        drafts = [
            self.look_over(b, train.shapes[int(b.index)]) if b.large else self.look(b.to(self.device))
            for b in train.scan(min(8, max(1, PIXELS // max(map(math.prod, train.shapes)))))
        ]
        index = torch.cat([torch.empty(0, dtype=torch.int64), *(d.index for d in drafts)])
        evidence = train.gather(index, torch.cat([torch.empty(0, dtype=torch.float64), *(d.evidence for d in drafts)]))
        keep = self.filter(evidence, train.trust, first=at.epoch == first)
        loss, shown = evidence[:, 0], (evidence[:, [0, 4]] > 0).any(1) & (train.trust == Trust.NOISY).unsqueeze(1)
        self.sentences = unparted({name: loss[shown[:, k], k] for k, name in enumerate(train.classes[1:])})
        for d in drafts:
            given, refined, redrawn = d.given.open(), d.refined.open(), d.redrawn.open()
            for place in d.places:
                part: tuple[Any, ...] = (..., *place)
                train.write("refined", d.index, merge(given[part], refined[part], redrawn[part], keep[d.index]), *place)
        given, both = keep[:, 0].double().mean(), keep.any(1).double().mean()
        return {"given_kept": given, "refined_kept": both - given, "redrawn": 1 - both}

    def look(self, batch: Batch) -> Draft:
        """The one forward pass of a cleansing: losses, and a new mask of every class, should it be wanted."""
        seen, refined = self.seen(batch), batch.maps["refined"]
        classes, unknown = seen.regions.shape[1] + 1, (seen.given == IGNORE).unsqueeze(1)
        redrawn = self.redraw(seen.features, seen.regions).masked_fill(unknown, 0)
        losses = [overlap_loss(seen.predicted, y, classes)[:, 1:] for y in (seen.given, refined)]  # Eq. 1
        likely = [soft_dice(seen.prob, masks) for masks in (redrawn > 0, one_hot(seen.given, classes)[:, 1:])]
        evidence = torch.stack([*losses, *likely, seen.regions.flatten(2).any(2).double()], 1)
        given, mended = Packed.of(seen.given.short()), Packed.of(refined.short())
        return Draft(batch.index.cpu(), evidence.cpu(), given, mended, Packed.of(redrawn))

    def look_over(self, case: Batch, shape: Sequence[int]) -> Draft:
        """``look`` at a large case, window by window: once for its prototypes, and again for what is like them."""
        cell = self.cell(shape)
        grid, places, found, pixels = cells_along(shape, cell), [], [], []
        for part in (part.to(self.device) for part in case.parts()):
            seen = self.seen(part)
            places.append(part.place)
            found.append(sums(seen.features, seen.regions, cell, grid, [s.start for s in part.place]))
            masks, regions = (seen.given, part.core.maps["refined"]), seen.regions.shape[1]
            pixels.append(torch.stack([overlaps(seen.predicted, y, regions + 1) for y in masks]))
        centres = prototypes_of(joined(found, grid), (1, regions), self.config.sigma)
        given_dice = torch.zeros(1, 2, regions, dtype=torch.float64, device=self.device)

        def again() -> Iterator[tuple[Batch, list[Tensor]]]:
            for part in (part.to(self.device) for part in case.parts()):
                seen = self.seen(part)
                score = self.score(seen.features, seen.regions, centres)
                given_dice.add_(shared(seen.prob, one_hot(seen.given, regions + 1)[:, 1:]))
                maps = (seen.given.short(), part.core.maps["refined"].short(), score, seen.prob.half())
                yield part, [value.cpu() for value in maps]

        given, refined, score, prob = together(again(), shape)
        redrawn = self.tidied(score).masked_fill_((given == IGNORE).unsqueeze(1), 0)
        redrawn_dice = torch.stack([shared(prob[:, :, at], redrawn[:, :, at] > 0) for at in planes(shape)]).sum(0)
        losses = [lost(each)[:, 1:].cpu() for each in torch.stack(pixels).sum(0)]
        there = (joined(found, grid).region.bincount(minlength=regions) > 0).double()[None].cpu()
        evidence = torch.stack([*losses, dice(redrawn_dice), dice(given_dice).cpu(), there], 1)
        return Draft(case.index, evidence, Packed.of(given), Packed.of(refined), Packed.of(redrawn), places)

    def seen(self, part: Batch) -> Seen:
        """What the network makes of a batch's own pixels."""
        features = cast(Any, self.net).features(part.image)
        logits, features, label = part.own(cast(Any, self.net).head(features)), part.own(features), part.core.label
        given = torch.where((part.trust == Trust.UNLABELED).view(-1, *[1] * (label.ndim - 1)), 0, label)
        predicted = logits.argmax(1).masked_fill(given == IGNORE, IGNORE)
        prob = logits.float().softmax(1)[:, 1:].masked_fill((given == IGNORE).unsqueeze(1), 0)
        return Seen(features, prob, given, predicted, one_hot(predicted, logits.shape[1])[:, 1:].bool())

    def redraw(self, features: Tensor, regions: Tensor) -> Tensor:
        """LCM: new masks of the classes, from the regions R (B, F, *S) where the network sees them.

        (B, F, *S) uint8: 0 outside, and inside the likeness to the prototypes, from mu to 1, as 1 .. ``SURE``.
        """
        if self.config.redraw == "prediction":
            return self.score(features, regions, features)
        centres = prototypes(features, regions, self.cell(regions.shape[2:]), self.config.sigma)  # Eqs. 4, 5
        return self.tidied(self.score(features, regions, centres))

    def score(self, features: Tensor, regions: Tensor, centres: Tensor) -> Tensor:
        """New masks as ``redraw`` has them, with small parts and holes."""
        if self.config.redraw == "prediction":
            return regions.to(torch.uint8) * SURE
        mu, likely = self.config.mu, likeness(features, centres)  # Eq. 6
        return ((likely > mu) * ((likely - mu) / (1 - mu) * SURE).ceil().clamp(1, SURE)).to(torch.uint8)

    def tidied(self, score: Tensor) -> Tensor:
        """The same without them."""
        masks = (score > 0).flatten(0, 1)
        masks = masks if self.config.redraw == "prediction" else tidy(masks, self.config.tidy)
        return masks.view_as(score) * score.clamp_min(1)

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


def per_axis(grid: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return grid if isinstance(grid, tuple) else (grid,) * dims
