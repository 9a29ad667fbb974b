"""GSD-Net: geometric weights, superpixel label refinement, knowledge transfer between images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.assumptions import erased, faint
from ..functional.geometry import distance_weight, ring_weight
from ..functional.jitter import apply_jitter, draw_jitter
from ..functional.losses import ce, complement_ce, dice_by_class, dice_joint, kl, masked_mean, most_likely, sym_kl
from ..functional.mix import partners, transfer_region, transplant
from ..functional.schedule import ramp
from ..functional.select import believed
from ..functional.superpixel import check_sizes, vote
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Update
from .base import Build, Method

TINY = 0.01
"""Share of the pixels: of nodules on .9 % of the image the paper's losses learnt background only."""


class Config(types.Config):
    """Defaults are the paper's reading; ``configs/gsd_net`` names the paper's and the released code's."""

    tau: float = Field(0.05, ge=0, lt=1, description="share of pixels believed wrong: the noise rate (Sec. 4.2)")
    tau_epochs: int = Field(10, ge=0, description="epochs until tau is fully applied (below Eq. 5; released: 19)")
    ranking: Literal["all", "class"] = Field(
        "all", description="losses ranked over all pixels (Eq. 5), or in each given class by itself: for small classes"
    )
    scope: Literal["image", "batch"] = Field("image", description="among which: an image's (Eq. 5); released: batch")
    agreement: float = Field(1.0, ge=0, description="weight of L_con in Eqs. 5 and 10 (released: 0.5, LIDC 0.1)")
    jitter: float = Field(0.5, ge=0, description="strength of the second view A(x) (released; 0.05 for CT, ultrasound)")
    weight: Literal["distance", "rings", "none"] = Field("distance", description="GDA: Eq. 9; the released clip; off")
    weight_cap: float = Field(10.0, ge=1, description="T of Eq. 9, pixels: 10 at 256², 5 at 128² (Sec. 4.2)")
    weight_epochs: int = Field(10, ge=1, description="epochs until the released clip drops by one (MMIS: 20)")
    refine: Literal["superpixel", "pixel", "rings", "none"] = Field(
        "superpixel", description="who votes on a dropped pixel: superpixel (SGLR), itself (LR), its ring (released)"
    )
    refine_from: int = Field(0, ge=0, description="first epoch of refinement and transfer (released: 30)")
    transfer: Literal["sampled", "majority", "none"] = Field("sampled", description="KT region: Sec. 3.5; released")
    majority: float = Field(0.5, description="foreground share above which the released rule gives the background")
    transfer_ce: Literal["logits", "probabilities"] = Field("logits", description="what CE of Eq. 17 sees; released")
    transfer_dice: Literal["joint", "by_class"] = Field("joint", description="Eq. 16; released: times mean W")
    transfer_weight: float = Field(
        2.0, ge=0, description="of the mean over composites: Eqs. 17 and 18 sum the two of a pair (released: 0.5)"
    )
    transfer_agreement: Literal["one_way", "both_ways"] = Field(
        "one_way", description="KL of Eq. 18, as Eq. 3 defines it; symmetric, as Table 1 calls it (released)"
    )


@dataclass(frozen=True)
class Draw:
    """The randomness of one step: A(x) (B, C, *S), alpha (), KT partner (B,) int64, KT coin (B,)."""

    view: Tensor
    alpha: Tensor
    partner: Tensor
    coin: Tensor


class GSDNet(Method):
    paper = "Wang et al., From Noisy Labels to Intrinsic Structure (GSD-Net), Medical Image Analysis 2026"
    maps: tuple[str, ...] = ("superpixel", "distance")
    search: ClassVar = {"tau": (0.01, 0.03, 0.05, 0.08, 0.12, 0.16, 0.20, 0.25)}

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config
        wanted = {config.refine, config.weight}
        self.maps = tuple(name for name in ("superpixel", "distance", "rings") if name in wanted)

    def assumptions(self, train: TrainSet) -> list[str]:
        joint = self.config.transfer != "none" and self.config.transfer_dice == "joint"
        tiny = faint(train, TINY, "method.transfer_dice=by_class") if joint else []
        return [*erased(train, self.config.tau, self.config.ranking), *tiny]

    def check(self, train: TrainSet) -> None:
        if "superpixel" in self.maps:
            check_sizes(train, "method.refine=pixel")

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        terms = self.losses(batch, at, self.draw(batch))
        loss = terms["gda"] + terms["transfer"] + terms["agree"]  # Eq. 19
        update(loss)
        return {"loss": loss, **terms}

    def draw(self, batch: Batch) -> Draw:
        device, count = batch.image.device, len(batch)
        return Draw(
            view=apply_jitter(batch.image, draw_jitter(count, self.config.jitter, device=device)),
            alpha=torch.rand((), device=device),
            partner=partners(count, device),
            coin=self._coin(count, device),
        )

    def losses(self, batch: Batch, at: Progress, draw: Draw) -> dict[str, Tensor]:
        """The terms of Eq. 19 and the share of pixels kept."""
        cfg, label, valid = self.config, batch.label, batch.label != IGNORE
        z1, z2 = self.net1(batch.image), self.net2(draw.view)

        supervised = ce(z1, label) + ce(z2, label)  # Eq. 2
        loss = supervised + cfg.agreement * sym_kl(z1, z2)  # Eqs. 4, 6
        drop = cfg.tau * ramp(at.epoch, 0, cfg.tau_epochs)
        clean = believed(loss, drop, label, z1.shape[1], cfg.ranking, cfg.scope)  # Eq. 5
        weight = self.weigh(batch, at)  # Eq. 9
        terms = {"gda": masked_mean(loss * weight, clean), "kept": masked_mean(clean.float(), valid)}  # Eq. 10
        if self.searching:
            terms["search"] = self.search_loss(z1, z2, batch, loss)

        if at.epoch < cfg.refine_from or (cfg.refine == "none" and cfg.transfer == "none"):
            return terms | {"transfer": loss.new_zeros(()), "agree": loss.new_zeros(())}
        refined = self.refined(z1, z2, batch, clean, draw.alpha)  # Eqs. 11-14
        if cfg.transfer != "none":
            region, to = transfer_region(refined, draw.coin), draw.partner
            x1, x2, refined, weight = (  # Eq. 15
                transplant(t, t[to], region) for t in (batch.image, draw.view, refined, weight)
            )
            z1, z2 = self.net1(x1), self.net2(x2)
        transfer = self.transfer_loss(z1, refined, weight) + self.transfer_loss(z2, refined, weight)  # Eq. 17
        divergence = kl(z1, z2) if cfg.transfer_agreement == "one_way" else sym_kl(z1, z2)
        agree = masked_mean(divergence * weight, refined != IGNORE)  # Eq. 18
        return terms | {"transfer": cfg.transfer_weight * transfer, "agree": cfg.transfer_weight * agree}

    @torch.no_grad()
    def weigh(self, batch: Batch, at: Progress) -> Tensor:
        """W, (B, *S)."""
        if self.config.weight == "distance":
            return distance_weight(batch.maps["distance"], at.epoch / at.epochs, self.config.weight_cap)
        if self.config.weight == "rings":
            return ring_weight(batch.maps["rings"], at.epoch, self.config.weight_cap, self.config.weight_epochs)
        return torch.ones(batch.label.shape, device=batch.label.device)

    @torch.no_grad()
    def refined(self, z1: Tensor, z2: Tensor, batch: Batch, clean: Tensor, alpha: Tensor) -> Tensor:
        """The given label where it is kept, the vote of the two networks where it is dropped, (B, *S)."""
        if self.config.refine == "none":
            return batch.label
        prob = alpha * z1.float().softmax(1) + (1 - alpha) * z2.float().softmax(1)  # Eq. 11
        segments = batch.maps.get(self.config.refine)
        votes = most_likely(prob) if segments is None else vote(prob, segments.long())  # Eqs. 12, 13
        return torch.where(clean | (batch.label == IGNORE), batch.label, votes)  # Eq. 14

    def transfer_loss(self, logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        prob, valid = logits.float().softmax(1), label != IGNORE
        pixels = ce(logits if self.config.transfer_ce == "logits" else prob, label)
        if self.config.transfer_dice == "joint":
            overlap = dice_joint(prob, label).mean()
        else:
            overlap = dice_by_class(prob, label, background=True).mean() * masked_mean(weight, valid)
        return masked_mean(pixels * weight, valid) + overlap

    @torch.no_grad()
    def search_loss(self, z1: Tensor, z2: Tensor, batch: Batch, loss: Tensor) -> Tensor:
        """L_search: given labels where they are kept, inverted ones where they are dropped. Eq. 20.

        Smallest where tau is the share of errors that do not repeat; those that do (every mask too large) are learned.
        """
        label, valid = batch.label, batch.label != IGNORE
        clean = believed(loss, self.config.tau, label, z1.shape[1], self.config.ranking, self.config.scope)
        given, inverted = (f(z1, label) + f(z2, label) for f in (ce, complement_ce))
        return masked_mean(torch.where(clean, given, inverted), valid)

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = (self.net1(image).float() + self.net2(image).float()) / 2  # Sec. 4.2: p = f1(x) + f2(x)
        return logits.softmax(1)

    def _coin(self, count: int, device: torch.device) -> Tensor:
        """Uniform for the paper's sampling; the threshold for the released rule."""
        if self.config.transfer == "majority":
            return torch.full((count,), self.config.majority, device=device)
        return torch.rand(count, device=device)
