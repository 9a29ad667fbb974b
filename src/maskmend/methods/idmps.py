"""IDMPS (re-derived): two networks learn from given labels and from a random mixture of both predictions."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce, masked_mean, most_likely, sym_kl
from ..functional.robust import weighted_dice
from ..functional.schedule import sigmoid_ramp
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    """The paper's own values could not be read; these are those of its kin with code."""

    weight: float = Field(0.5, ge=0, description="of the mixed pseudo-label (WSL4MIS, MixSegNet: 0.5; PyMIC: 0.1)")
    weight_epochs: int = Field(0, ge=0, description="epochs until the weight is fully applied, sigmoid (ours: at once)")
    inconsistency: Literal["weigh", "none"] = Field(
        "weigh", description="pixels weigh exp(-KL) of the two predictions (our reading of the name); or all alike"
    )
    inference: Literal["mean", "first"] = Field("mean", description="both networks averaged (GSD-Net); the first alone")


class IDMPS(Method):
    paper = "Zhao et al., Ultrasound Nodule Segmentation Using Asymmetric Learning, IEEE TCSVT 2024 (re-derived)"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, label, valid = self.config, batch.label, batch.label != IGNORE
        share = torch.rand((), device=label.device)
        z1, z2 = self.net1(batch.image), self.net2(batch.image)
        p1, p2 = z1.float().softmax(1), z2.float().softmax(1)
        given = masked_mean((ce(z1, label) + ce(z2, label)) / 2, valid)
        mixed = most_likely(torch.lerp(p2, p1, share)).masked_fill(~valid, IGNORE)
        sure = self.sureness(z1, z2)
        pseudo = (weighted_dice(p1, mixed, sure) + weighted_dice(p2, mixed, sure)).mean() / 2
        loss = given + cfg.weight * sigmoid_ramp(at.epoch, cfg.weight_epochs) * pseudo
        update(loss)
        return {"loss": loss, "given": given, "pseudo": pseudo}

    @torch.no_grad()
    def sureness(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Weight of each pixel's pseudo-label, (B, *S): 1 where the networks agree."""
        if self.config.inconsistency == "none":
            return torch.ones_like(z1[:, 0], dtype=torch.float32)
        return (-sym_kl(z1, z2) / 2).exp()

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net1(image).float().softmax(1)
        return prob if self.config.inference == "first" else (prob + self.net2(image).float().softmax(1)) / 2
