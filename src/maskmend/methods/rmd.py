"""RMD: Co-teaching, and each network learns from what its peer holds to when the image is warped."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional import warp
from ..functional.assumptions import erased
from ..functional.losses import ce, kl, masked_mean
from ..functional.schedule import ramp, sigmoid_ramp
from ..functional.select import believed, small_loss
from ..functional.teacher import margins, perturbed
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Update
from .base import Build, Method


class Config(types.Config):
    """Defaults are those of the released code for LIDC, but for tau."""

    tau: float = Field(0.05, ge=0, lt=1, description="share of pixels dropped: the noise rate (released: 0.005, LIDC)")
    tau_epochs: int = Field(10, ge=0, description="epochs until tau is fully applied")
    ranking: Literal["all", "class"] = Field("all", description="losses ranked over all pixels, or in each given class")
    weight: float = Field(0.0009, ge=0, description="of distillation, at its highest")
    weight_epochs: int = Field(
        10, ge=0, description="epochs of its sigmoid ramp; the share of pixels distilled rises too"
    )
    warp_from: int = Field(10, ge=0, description="first epoch with noise and warp; flips from the beginning")
    flip: float = Field(0.5, ge=0, le=1, description="chance of a flip along each axis")
    turn_deg: float = Field(60.0, ge=0, le=180, description="largest turn, in the plane of the last two axes")
    zoom: float = Field(2.0, ge=1, description="largest zoom")
    bend: float = Field(
        0.2, ge=0, description="largest sd of the elastic warp, in sides of the image (26 of 128 pixels)"
    )
    noise: float = Field(0.02, ge=0, description="sd of the noise, in sd of the image")
    inference: Literal["mean", "first"] = Field("mean", description="both networks averaged (GSD-Net); the first alone")


class RMD(Method):
    paper = "Fang et al., Reliable Mutual Distillation for Medical Image Segmentation Under Imperfect Annotations, 2023"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"net1": list(self.net1.parameters()), "net2": list(self.net2.parameters())}

    def assumptions(self, train: TrainSet) -> list[str]:
        return erased(train, self.config.tau, self.config.ranking)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, late = self.config, at.epoch >= self.config.warp_from
        strength = warp.Strength(cfg.flip, cfg.turn_deg, cfg.zoom, cfg.bend) if late else warp.Strength(cfg.flip)
        dims = batch.label.ndim - 1
        grid = warp.sampling_grid(warp.draw_warp(len(batch), dims, strength, batch.image.device), batch.label.shape[1:])
        strong = perturbed(warp.apply(batch.image, grid), cfg.noise if late else 0.0)

        z1, z2 = self.net1(batch.image), self.net2(batch.image)
        taught1, taught2 = self.teach(z1, z2, batch.label, at)
        share = sigmoid_ramp(at.epoch, cfg.weight_epochs)
        learned1, learned2 = self.distil((z1, z2), (self.net1(strong), self.net2(strong)), batch.label, grid, share)
        update(taught1 + cfg.weight * share * learned1, "net1")
        update(taught2 + cfg.weight * share * learned2, "net2")
        return {"loss": (taught1 + taught2) / 2, "distilled": (learned1 + learned2) / 2}

    def teach(self, z1: Tensor, z2: Tensor, label: Tensor, at: Progress) -> tuple[Tensor, Tensor]:
        """Co-teaching: each network learns from the pixels of small loss of the other."""
        drop = self.config.tau * ramp(at.epoch, 0, self.config.tau_epochs)
        loss1, loss2 = ce(z1, label), ce(z2, label)
        easy1, easy2 = (believed(x, drop, label, z1.shape[1], self.config.ranking) for x in (loss1, loss2))
        return masked_mean(loss1, easy2), masked_mean(loss2, easy1)

    def distil(
        self, weak: tuple[Tensor, Tensor], strong: tuple[Tensor, Tensor], label: Tensor, grid: Tensor, share: float
    ) -> tuple[Tensor, Tensor]:
        """Each network's divergence from the other's warped prediction, where the other is reliable.

        Reliable are, of the pixels that the warp shows, the ``share`` whose logits the warp changes least.
        """
        valid = warp.inside(label != IGNORE, grid)
        targets = [warp.apply(z.detach(), grid) for z in weak]
        reliable1, reliable2 = (
            small_loss((margins(a.detach().float()) - margins(t)).square().mean(1), share, valid)
            for a, t in zip(strong, targets, strict=True)
        )
        return masked_mean(kl(targets[1], strong[0]), reliable2), masked_mean(kl(targets[0], strong[1]), reliable1)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net1(image).float().softmax(1)
        return prob if self.config.inference == "first" else (prob + self.net2(image).float().softmax(1)) / 2
