"""ALC: a mean teacher's perturbed passes are fused into labels for the samples it is surest of."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce_dice, most_likely
from ..functional.schedule import sigmoid_ramp
from ..functional.teacher import Fused, ema_, frozen_copy, fuse, margins, perturbed, probabilities
from ..types import Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    """What the paper leaves open is taken from the codes it builds on (MTCL, UA-MT)."""

    passes: int = Field(8, ge=1, description="m, noisy passes of the teacher (Eq. 3; UA-MT: 8)")
    noise: float = Field(0.1, ge=0, description="sd of the noise xi added to its input, in sd of the image (UA-MT)")
    noise_cap: float = Field(0.2, gt=0, description="where the noise is clipped (UA-MT)")
    select: float = Field(0.5, ge=0, le=1, description="k, share of imperfect cases taught by refined labels (III-E)")
    uncertainty: Literal["variance", "literal"] = Field(
        "variance", description="U of Eq. 7: the passes' variance; as printed, which chooses the least sure"
    )
    divisor: Literal["terms", "literal"] = Field(
        "terms", description="divisor of Eq. 9: the number of its terms; as printed, one more"
    )
    refine: Literal["fused", "mean", "single"] = Field(
        "fused", description="refined label from: passes weighed by exp(-KL) (Eq. 6), their mean, the first pass alone"
    )
    alpha: float = Field(3.0, ge=0, description="weight of the cases with refined labels (Eq. 11, III-E)")
    beta: float = Field(2.0, ge=0, description="weight of the cases with given labels (Eq. 11, III-E)")
    gamma: float = Field(0.1, ge=0, description="lambda(t) of Eq. 11 at its highest (UA-MT)")
    ramp: float = Field(0.2, ge=0, le=1, description="share of the run until lambda is highest (UA-MT: 6000 of 30000)")
    ramp_stairs: int = Field(40, ge=1, description="steps of its stairs (UA-MT: one every 150 iterations)")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the teacher, gamma (III-B)")
    dice: Literal["sample", "batch"] = Field("sample", description="Dice of each case (Eqs. 1, 8, 9), or of all (MTCL)")
    consistency: Literal["squared", "norm", "literal"] = Field(
        "squared", description="Eq. 10 with the passes' mean: squared (UA-MT), a norm; literal: a norm, with their sum"
    )


class ALC(Method):
    paper = "Qian et al., Adaptive Label Correction for Robust Medical Image Segmentation with Noisy Labels, 2025"
    supervision = ("clean", "noisy")
    defaults: ClassVar = {
        "network": {"name": "vnet"},
        "train": {"batch": {"clean": 4, "imperfect": 20}},
        "optim": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "poly"},
    }

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.student, self.config = build(), config
        self.teacher = frozen_copy(self.student)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, clean, rest = self.config, batch.clean, batch.imperfect
        z_clean, z_rest = self.student(torch.cat((clean.image, rest.image))).split((len(clean), len(rest)))
        high = self.loss(z_clean, clean.label)  # Eq. 1

        passes = self.passes(rest.image)  # Eq. 3
        taught = fuse(passes)  # Eqs. 4-6
        refined = self.refined(taught, passes)
        order = self.uncertainty(taught).argsort()  # Eq. 7
        sure, unsure = order.tensor_split((round(cfg.select * len(rest)),))
        low = self.loss(z_rest[sure], refined[sure])  # Eq. 8
        noisy = self.loss(z_rest[unsure], rest.label[unsure]) * self.share(len(unsure))  # Eq. 9
        consistency = self.distance(taught.mean, z_rest.float().softmax(1))  # Eq. 10

        loss = high + self.weight(at) * (cfg.alpha * low + cfg.beta * noisy + consistency)  # Eq. 11
        update(loss)
        ema_(self.teacher, self.student, cfg.ema, at.step)
        return {"loss": loss, "high": high, "low": low, "noisy": noisy, "consistency": consistency}

    @torch.no_grad()
    def passes(self, image: Tensor) -> list[Tensor]:
        """m passes of the teacher in training mode, its dropout and input noise drawn anew for each: ``margins``.

        Without input noise, what comes before the first dropout is the same in all of them and runs once.
        """
        cfg, teacher = self.config, cast(Any, self.teacher)
        if cfg.noise == 0:
            stages = teacher.encode(image)
            return [margins(teacher.head(teacher.decode(stages))) for _ in range(cfg.passes)]
        return [margins(teacher(perturbed(image, cfg.noise, cfg.noise_cap))) for _ in range(cfg.passes)]

    def refined(self, taught: Fused, passes: list[Tensor]) -> Tensor:
        """Y_ref (B, *S) int64. Eq. 6."""
        if self.config.refine == "single":
            return most_likely(probabilities(passes[0]))
        return most_likely(taught.vote if self.config.refine == "fused" else taught.mean)

    def uncertainty(self, taught: Fused) -> Tensor:
        """U (B,). Eq. 7: its bracket moved so that it is a variance; as printed it is of (m - 1) times the mean."""
        if self.config.uncertainty == "variance":
            return taught.variance
        m = self.config.passes
        return (m - 1) ** 2 / m * taught.mean.square().sum(1).flatten(1).mean(1)

    def share(self, terms: int) -> float:
        """What becomes of the mean over so many terms by Eq. 9's divisor, which is printed as one more."""
        return terms / (terms + 1) if self.config.divisor == "literal" else 1.0

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean over cases of (CE + Dice) / 2; zero without a case."""
        if not len(label):
            return logits.new_zeros(())
        return ce_dice(logits, label, together=self.config.dice == "batch").mean()

    def distance(self, teacher: Tensor, student: Tensor) -> Tensor:
        """L_c of the teacher's mean and the student: the sum in Eq. 10 must stand for the mean of the passes."""
        many = self.config.passes if self.config.consistency == "literal" else 1
        squared = (many * teacher - student).square()
        return squared.mean() if self.config.consistency == "squared" else (squared.sum(1) + 1e-12).sqrt().mean()

    def weight(self, at: Progress) -> float:
        """lambda(t) of Eq. 11."""
        cfg, whole = self.config, self.config.ramp * at.epochs * at.steps
        stair = int(cfg.ramp_stairs * at.step / whole) if whole else cfg.ramp_stairs
        return cfg.gamma * sigmoid_ramp(stair, cfg.ramp_stairs)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.student(image).float().softmax(1)
        return prob
