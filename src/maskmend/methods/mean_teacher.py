"""Mean teacher: clean cases teach; on the others the student agrees with its own moving average."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce_dice
from ..functional.schedule import sigmoid_ramp
from ..functional.teacher import ema_, frozen_copy, perturbed
from ..types import Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    """For segmentation as SSL4MIS has it (github.com/HiLab-git/SSL4MIS), after UA-MT."""

    noise: float = Field(0.1, ge=0, description="sd of the noise on the teacher's images, in sd of the image (SSL4MIS)")
    noise_cap: float = Field(0.2, gt=0, description="where the noise is clipped (SSL4MIS)")
    weight: float = Field(0.1, ge=0, description="w(t) at its highest (SSL4MIS)")
    ramp: float = Field(1.0, ge=0, le=1, description="share of the run until w(t) is highest (SSL4MIS: 30000 of 30000)")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the teacher, alpha (SSL4MIS)")
    given: float = Field(
        0.0, ge=0, description="weight of the imperfect cases' given labels; 0: as if they had none (ours to choose)"
    )


class MeanTeacher(Method):
    paper = "Tarvainen & Valpola, Mean teachers are better role models, NeurIPS 2017"
    supervision = ("clean",)
    defaults: ClassVar = {
        "train": {"batch": {"clean": 2, "imperfect": 2}},
        "optim": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "poly"},
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
        agree = high.new_zeros(())
        if len(rest):
            agree = (z_rest.float().softmax(1) - self.target(rest.image)).square().mean()  # J
        ramp = sigmoid_ramp(at.step, cfg.ramp * at.epochs * at.steps)
        loss = high + cfg.given * low + cfg.weight * ramp * agree
        update(loss)
        ema_(self.teacher, self.student, cfg.ema, at.step)
        return {"loss": loss, "high": high, "low": low, "consistency": agree}

    @torch.no_grad()
    def target(self, image: Tensor) -> Tensor:
        """What the teacher says of the images with noise on them, (B, K, *S)."""
        prob: Tensor = self.teacher(perturbed(image, self.config.noise, self.config.noise_cap)).float().softmax(1)
        return prob

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.student(image).float().softmax(1)
        return prob
