"""SP-guided: two networks learn from the superpixels they find easy, then relabel those they find wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from .. import types
from ..errors import InputError
from ..functional.assumptions import erased
from ..functional.losses import ce, masked_mean, sym_kl
from ..functional.schedule import ramp
from ..functional.select import class_weight, small_loss_segments_by_class
from ..functional.superpixel import Units, check_sizes, evidence, judge, summed, units, unpool
from ..functional.teacher import frozen_copy
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method

TOGETHER = 200
"""Pictures relabelled together where a batch is ranked as one (released)."""


def _shares(value: float | tuple[float, ...]) -> float | tuple[float, ...]:
    if not all(0 <= share < 1 for share in (value if isinstance(value, tuple) else (value,))):
        raise ValueError("a share is at least 0 and less than 1")
    return value


PerClass = Annotated[float | tuple[float, ...], AfterValidator(_shares)]


class Config(types.Config):
    """Defaults are the paper's reading; ``configs/sp_guided`` names the paper's and the released code's."""

    tau: PerClass = Field(
        0.05,
        description="share of pixels believed wrong at first, 1 - R (Sec. 3.2); one for each class by ranking=class",
    )
    tau_epochs: int = Field(
        10,
        ge=0,
        description="epoch from which tau is fully applied: T_k of Co-teaching, which Sec. 2.2 follows; released 4",
    )
    agreement: float = Field(0.65, ge=0, le=1, description="lambda of Eq. 2: weight of agreement against the labels")
    unit: Literal["superpixel", "part", "pixel"] = Field(
        "superpixel", description="what is kept or relabelled: whole superpixels; their parts of one class (released)"
    )
    scope: Literal["image", "batch"] = Field("image", description="among which the losses are ranked (released: batch)")
    ranking: Literal["all", "class"] = Field("all", description="ranked together; or each given class (released)")
    at_quota: Literal["keep", "drop"] = Field("keep", description="where the quota cuts: N(D) >= R M (Eq. 3); released")
    selection: bool = Field(True, description="learn from what is kept only (Table 2, row 3: false)")
    class_weight: float = Field(1.0, ge=1, description="most a pixel of a rare class counts in Eq. 4 (released: 1e6)")
    gap: Literal["superpixel", "pixel"] = Field("superpixel", description="losses the gap is of: Eq. 5; released")
    gap_from_start: bool = Field(False, description="watch the gap while tau still rises (released: true)")
    patience: int = Field(5, ge=1, description="epochs without a larger gap that end a round (released)")
    stop: int | None = Field(None, ge=1, description="epochs that end a round, whatever the gap does (Table S1)")
    rollback: bool = Field(True, description="relabel with the networks of the largest gap (Sec. 2.2; released: false)")
    rounds: int | None = Field(None, ge=0, description="relabellings; None: until the gap stays down (released: 1)")
    relabel_by: Literal["loss", "probability"] = Field(
        "loss", description="which are relabelled: largest loss (Eq. 6); least probable given class (released)"
    )
    relabel_share: float = Field(1.0, ge=0, le=1, description="of 1 - R, what is relabelled (released: clavicle 0.5)")
    growth: float = Field(1.1, ge=1, description="gamma: R grows by it with every relabelling (Sec. 3.2)")
    keep_cap: PerClass = Field(0.99, description="R grows no further (ours; released: 0.83 to 0.99 by class and data)")
    inference: Literal["first", "mean"] = Field("first", description="one network (Sec. 2.2), or the mean of both")


class SPGuided(Method):
    paper = "Li, Gao, He, Superpixel-Guided Iterative Learning from Noisy Labels, MICCAI 2021"
    gap: Tensor
    largest: Tensor
    rises: Tensor
    stale: Tensor
    round: Tensor
    began: Tensor
    over: Tensor

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config
        self.maps: tuple[str, ...] = ("refined",) if config.unit == "pixel" else ("superpixel", "refined")
        self.best = nn.ModuleList([frozen_copy(net) for net in self.nets]) if config.rollback else nn.ModuleList()
        self.register_buffer("gap", torch.zeros(2))  # of this epoch: sum, steps
        self.register_buffer("largest", torch.tensor(0.0))  # gap in this round
        self.register_buffer("rises", torch.tensor(0))  # new maxima of the gap in this round
        self.register_buffer("stale", torch.tensor(0))  # epochs since the last
        self.register_buffer("round", torch.tensor(0))  # relabellings so far
        self.register_buffer("began", torch.tensor(0))  # first epoch of this round
        self.register_buffer("over", torch.tensor(False))

    @property
    def nets(self) -> tuple[nn.Module, nn.Module]:
        return self.net1, self.net2

    # --- network update ----------------------------------------------------------------------------------------------

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, label, valid = self.config, batch.maps["refined"], batch.maps["refined"] != IGNORE
        z1, z2 = self.net1(batch.image), self.net2(batch.image)
        found = self.units(z1.detach(), z2.detach(), batch)  # Eqs. 1, 2
        keep = self.keep(z1.shape[1], risen=ramp(at.epoch + 1, 0, cfg.tau_epochs))
        kept = self.select(found, keep, cfg.at_quota)  # Eq. 3
        clean = unpool(kept, self.place(batch, found)) & valid

        def weight(mask: Tensor) -> Tensor:
            return class_weight(label, mask, z1.shape[1], cfg.class_weight)

        loss = (1 - cfg.agreement) * (ce(z1, label) + ce(z2, label)) + cfg.agreement * sym_kl(z1, z2)  # Eq. 2, pixels
        learned = masked_mean(loss, weight(clean if cfg.selection else valid))  # Eq. 4
        update(learned)
        if self.watched(at):
            outside = ~kept & (found.size > 0)
            if cfg.gap == "superpixel":
                low, high = (masked_mean(found.loss, pick) for pick in (kept, outside))
            else:
                low, high = (masked_mean(loss.detach(), weight(mask)) for mask in (clean, valid & ~clean))
            self.gap += torch.stack((high - low, torch.ones_like(low))) * (kept.any() & outside.any())  # Eq. 5
        return {"loss": learned, "kept": masked_mean(clean.float(), valid)}

    @torch.no_grad()
    def units(self, z1: Tensor, z2: Tensor, batch: Batch) -> Units:
        """Superpixels, or their parts of one given class, and what both networks think of them. Eqs. 1, 2, 7."""
        label, by_class = batch.maps["refined"], self.config.unit == "part"
        return judge(z1, z2, label, self.superpixels(batch), self.config.agreement, by_class)

    def superpixels(self, batch: Batch) -> Tensor:
        """(B, *S) int64; each pixel by itself where pixels are the unit."""
        if self.config.unit != "pixel":
            return batch.maps["superpixel"]
        first = batch.label[:1]
        return torch.arange(first.numel(), device=first.device).view_as(first).expand_as(batch.label)

    def place(self, batch: Batch, units: Units) -> Tensor:
        """The unit of each pixel, (B, *S) int64."""
        if self.config.unit != "part":
            return self.superpixels(batch)
        classes = units.loss.shape[1] // units.vote.shape[1]
        return self.superpixels(batch) * classes + batch.maps["refined"].clamp_min(0)

    def keep(self, classes: int, risen: float = 1.0) -> list[float]:
        """R, for all pixels or for each class. ``risen`` is the share of tau that is applied before any relabelling."""
        cfg, rounds = self.config, int(self.round)
        kinds = range(classes if cfg.ranking == "class" else 1)
        start = [1 - (1.0 if rounds else risen) * of_class(cfg.tau, kind) for kind in kinds]
        caps = [of_class(cfg.keep_cap, kind) for kind in kinds]
        return [raised(keep, cfg.growth, cap, rounds) for keep, cap in zip(start, caps, strict=True)]

    def select(self, units: Units, keep: Sequence[float], at_quota: str) -> Tensor:
        """The units of small loss, (B, G) bool."""
        rows = units.loss.shape if self.config.scope == "image" else (1, -1)
        given = units.given * (self.config.ranking == "class")
        loss, size, given = (t.reshape(rows) for t in (units.loss, units.size, given))
        return small_loss_segments_by_class(loss, size, given, keep, at_quota).view_as(units.loss)

    def watched(self, at: Progress) -> bool:
        """Whether the gap counts: a relabelling may follow, and tau no longer rises."""
        cfg, rounds = self.config, int(self.round)
        rising = rounds == 0 and at.epoch + 1 < cfg.tau_epochs and not cfg.gap_from_start
        return (cfg.rounds is None or rounds < cfg.rounds) and not rising

    # --- stopping and label refinement -------------------------------------------------------------------------------

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """Once the gap has stopped rising, relabel with the networks of its maximum.

        A relabelling after which the gap does not rise did not help: labels and networks go back to those before it,
        and training is over.
        """
        if not self.gap[1]:
            return {}
        gap = self.gap[0] / self.gap[1]
        self.gap.zero_()
        self.watch(gap)
        if not self.due(at):
            return {"gap": gap}
        rose = bool(self.rises > 1)
        helped = rose or self.config.rounds is not None or (self.config.stop is not None and not self.round)
        if rose or not helped:
            for best, net in zip(self.best, self.nets, strict=False):
                net.load_state_dict(best.state_dict())
        changed = self.relabel(train) if helped else 0
        if not helped:
            train.undo()
        self.over.fill_(self.config.rounds is None and not changed)
        self.round += 1
        for state, start in ((self.largest, 0), (self.rises, 0), (self.stale, 0), (self.began, at.epoch)):
            state.fill_(start)
        return {"gap": gap, "round": self.round}

    def watch(self, gap: Tensor) -> None:
        """Count the maxima of the gap (), and keep the networks of the last that is above the first."""
        self.stale += 1
        if gap > self.largest:
            self.largest.copy_(gap)
            self.rises += 1
            self.stale.zero_()
            for best, net in zip(self.best if self.rises > 1 else (), self.nets, strict=False):
                best.load_state_dict(net.state_dict())

    def due(self, at: Progress) -> bool:
        """Whether the round is over. The first has not learned anything before its gap has risen."""
        cfg = self.config
        if cfg.stop is not None:
            return bool(at.epoch - self.began >= cfg.stop)
        risen = self.rises > 1 or self.round > 0 or cfg.rounds is not None
        return bool(risen and self.stale >= cfg.patience)

    def finished(self) -> bool:
        return bool(self.over)

    def relabel(self, train: TrainSet) -> int:
        """Write the mended labels of the whole training set; how many pixels changed."""
        rows = 1 if len(train.shapes[0]) == 3 else 8 if self.config.scope == "image" else TOGETHER
        index, changed = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
        for batch in train.scan(rows):
            for part, mended in self.mended(batch):
                train.write("refined", part.index, mended, *part.place)
                index.append(part.index)
                changed.append((mended != part.maps["refined"].cpu()).flatten(1).sum(1))
        everywhere, each = torch.cat(index), torch.cat(changed)
        cases = everywhere.unique()
        counts = torch.zeros(len(train.shapes), dtype=torch.int64).index_add_(0, everywhere, each)
        return int(train.gather(cases, counts[cases]).sum())

    def mended(self, cases: Batch) -> Iterator[tuple[Batch, Tensor]]:
        """Parts of the cases, and their labels (B, *S) on the CPU, whose least believable units took the class their
        superpixel votes for; clean masks stay. Single pixels are ranked part by part."""
        if self.config.unit == "pixel":
            for part in cases.parts():
                yield self.relabelled(part.core, *self.wrong([part], part.trust))
        else:
            wrong, found = self.wrong(cases.parts(), cases.trust)
            yield from (self.relabelled(part, wrong, found) for part in cases.parts(around=False))

    def wrong(self, parts: Iterable[Batch], trust: Tensor) -> tuple[Tensor, Units]:
        """The units of the cases that have these parts, and which of them are to be relabelled, (B, G) bool."""
        cfg, sums = self.config, summed(map(self.evidence, parts))
        found = units(sums, cfg.agreement, cfg.unit == "part")
        ranked = found if cfg.relabel_by == "loss" else replace(found, loss=-found.prob)
        keep = [1 - cfg.relabel_share * (1 - share) for share in self.keep(sums.shape[2] // 3)]
        return ~self.select(ranked, keep, "keep") & (trust.to(self.device) != Trust.CLEAN).unsqueeze(1), found  # Eq. 6

    def evidence(self, part: Batch) -> Tensor:
        """What both networks say of the superpixels of a part's own pixels, (B, P, 3 K)."""
        part = part.to(self.device)
        z1, z2 = (part.own(torch.cat([net(image) for image in part.image.split(8)])) for net in self.nets)
        return evidence(z1, z2, part.core.maps["refined"], self.superpixels(part.core))

    def relabelled(self, part: Batch, wrong: Tensor, units: Units) -> tuple[Batch, Tensor]:
        """A part with its labels (B, *S), in which the wrong units are what their superpixels vote for."""
        here = part.to(self.device)
        label = here.maps["refined"]
        wrong_pixels = unpool(wrong, self.place(here, units)) & (label != IGNORE)
        return part, torch.where(wrong_pixels, unpool(units.vote, self.superpixels(here)), label).cpu()  # Eqs. 7, 8

    def assumptions(self, train: TrainSet) -> list[str]:
        tau = self.config.tau
        return [] if isinstance(tau, tuple) else erased(train, tau, self.config.ranking)

    def check(self, train: TrainSet) -> None:
        classes = train.sizes.shape[1]
        for name in ("tau", "keep_cap"):
            value = getattr(self.config, name)
            if isinstance(value, tuple) and (len(value) != classes or self.config.ranking == "all"):
                raise InputError(
                    f"method.{name}={list(value)} is a share for each class: give {classes}, background first, "
                    "and method.ranking=class; or one number."
                )
        if self.config.unit != "pixel":
            check_sizes(train, "method.unit=pixel")

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net1(image).float().softmax(1)
        return prob if self.config.inference == "first" else (prob + self.net2(image).float().softmax(1)) / 2


def of_class(value: PerClass, kind: int) -> float:
    return value[kind] if isinstance(value, tuple) else value


def raised(keep: float, growth: float, cap: float, rounds: int) -> float:
    """R after so many relabellings: R <- gamma R, up to ``cap``, and never less than before."""
    return max(keep, min(keep * growth**rounds, cap)) if rounds else keep
