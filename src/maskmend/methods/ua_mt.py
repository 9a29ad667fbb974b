"""UA-MT: a mean teacher that is only believed where several of its passes are sure."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce_dice, masked_mean
from ..functional.schedule import sigmoid_ramp
from ..functional.teacher import ema_, frozen_copy, perturbed
from ..types import Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    """Defaults are the released code's (github.com/yulequan/UA-MT)."""

    passes: int = Field(8, ge=1, description="T, passes that the uncertainty is told from (released)")
    noise: float = Field(
        0.1, ge=0, description="sd of the noise on the teacher's images, in sd of the image (released)"
    )
    noise_cap: float = Field(0.2, gt=0, description="where the noise is clipped (released)")
    sure: float = Field(0.75, gt=0, description="H at the start, in the largest entropy there is, ln K; 1 at the end")
    weight: float = Field(0.1, ge=0, description="lambda(t) at its highest (released)")
    ramp: float = Field(1.0, ge=0, le=1, description="share of the run until it is highest (released: 6000 of 6000)")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the teacher (released)")
    given: float = Field(
        0.0, ge=0, description="weight of the imperfect cases' given labels; 0: as if they had none (paper)"
    )


class UAMT(Method):
    paper = "Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium, MICCAI 2019"
    supervision = ("clean",)
    defaults: ClassVar = {
        "network": {"name": "vnet"},
        "train": {"batch": {"clean": 2, "imperfect": 2}},
        "optim": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
    }

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.student, self.config = build(), config
        self.teacher = frozen_copy(self.student)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, clean, rest = self.config, batch.clean, batch.imperfect
        z_clean, z_rest = self.student(torch.cat((clean.image, rest.image))).split((len(clean), len(rest)))
        high = ce_dice(z_clean, clean.label, together=True).mean()
        low = ce_dice(z_rest, rest.label, together=True).mean()

        agree = share = high.new_zeros(())
        if len(rest):
            agree, share = self.agreement(z_rest, rest.image, at)

        ramp = sigmoid_ramp(at.step, cfg.ramp * at.epochs * at.steps)
        loss = high + cfg.given * low + cfg.weight * ramp * agree
        update(loss)
        ema_(self.teacher, self.student, cfg.ema, at.step)
        return {"loss": loss, "high": high, "low": low, "consistency": agree, "sure": share}

    def agreement(self, logits: Tensor, image: Tensor, at: Progress) -> tuple[Tensor, Tensor]:
        """L_c, how far the student's logits are from the teacher where it is sure; and the share of such pixels."""
        target = self.look(image)
        sure = self.uncertainty(image) < self.limit(at, logits.shape[1])
        squared = (logits.float().softmax(1) - target).square().mean(1)
        return masked_mean(squared, sure), sure.float().mean()

    @torch.no_grad()
    def look(self, image: Tensor) -> Tensor:
        """One pass of the teacher with dropout, on the images with noise, (B, K, *S)."""
        prob: Tensor = self.teacher(perturbed(image, self.config.noise, self.config.noise_cap)).float().softmax(1)
        return prob

    @torch.no_grad()
    def uncertainty(self, image: Tensor) -> Tensor:
        """u, the entropy of the mean of T passes, (B, *S)."""
        mean = self.look(image)
        for _ in range(self.config.passes - 1):
            mean += self.look(image)
        entropy: Tensor = torch.special.entr(mean / self.config.passes).sum(1)
        return entropy

    def limit(self, at: Progress, classes: int) -> float:
        """H(t), rising to ln K."""
        start, risen = self.config.sure, sigmoid_ramp(at.step, at.epochs * at.steps)
        return (start + (1 - start) * risen) * math.log(classes)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.student(image).float().softmax(1)
        return prob
