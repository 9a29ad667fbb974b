"""MTCL: a mean teacher finds the wrong labels of imperfect cases by confident learning, and softens them."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional import confident
from ..functional.confident import Rule
from ..functional.losses import ce_dice, most_likely, one_hot
from ..functional.robust import soft_ce_dice
from ..functional.schedule import sigmoid_ramp
from ..functional.teacher import ema_, frozen_copy, perturbed
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    """Defaults are the paper's; what it leaves open is from the released code's 3D script."""

    correction: Literal["uds", "fs", "hard"] = Field(
        "uds", description="share s of a wrong label that moves: where the teacher is sure; a fixed one; all"
    )
    fixed: float = Field(0.8, ge=0, le=1, description="s of fs (released)")
    passes: int = Field(6, ge=1, description="T of uds: the teacher's passes (released: 6, 2D script: 4)")
    hard_cast: bool = Field(
        False, description="labels as whole numbers again, rounded down (released), or soft (paper)"
    )
    prune: Rule = Field("both", description="which labels are wrong: cleanlab's filters (released: both)")
    start: float = Field(
        0.0, ge=0, le=1, description="share of the run without imperfect labels (released 2D script: 200 of 30000)"
    )
    noise: float = Field(
        0.1, ge=0, description="sd of the noise on the teacher's images, in sd of the image (released)"
    )
    noise_cap: float = Field(0.2, gt=0, description="where the noise is clipped (released)")
    weight: float = Field(0.1, ge=0, description="lambda(t) at its highest (released)")
    ramp: float = Field(0.75, ge=0, le=1, description="share of the run until it is highest (released: 6000 of 8000)")
    noisy: float = Field(5.0, ge=0, description="weight of the corrected labels, under lambda (released)")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the teacher (released)")


class MTCL(Method):
    """With more than two classes a wrong label's share s moves to the teacher's class, which for two is the other."""

    paper = "Xu et al., Noisy Labels are Treasure: Mean-Teacher-Assisted Confident Learning, MICCAI 2021"
    supervision = ("clean", "noisy")
    defaults: ClassVar = {
        "network": {"name": "vnet"},
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
        high = ce_dice(z_clean, clean.label, together=True).mean()  # L_s
        agree = low = wrong = high.new_zeros(())
        if len(rest):
            agree = (z_rest.float().softmax(1) - self.look(rest.image, cfg.noise)).square().mean()  # L_c
        if len(rest) and at.step >= cfg.start * at.epochs * at.steps:
            prob = self.look(rest.image, 0.0)
            errors = confident.find(prob, rest.label, cfg.prune)
            soft = self.corrected(rest, prob, errors)
            low, wrong = soft_ce_dice(z_rest, soft, rest.label != IGNORE), errors.float().mean()  # L_cl

        ramp = cfg.weight * sigmoid_ramp(at.step, cfg.ramp * at.epochs * at.steps)
        loss = high + ramp * (agree + cfg.noisy * low)
        update(loss)
        ema_(self.teacher, self.student, cfg.ema, at.step)
        return {"loss": loss, "high": high, "low": low, "consistency": agree, "wrong": wrong}

    @torch.no_grad()
    def look(self, image: Tensor, noise: float) -> Tensor:
        """One pass of the teacher in training mode, (B, K, *S)."""
        prob: Tensor = self.teacher(perturbed(image, noise, self.config.noise_cap) if noise else image)
        return prob.float().softmax(1)

    @torch.no_grad()
    def corrected(self, rest: Batch, prob: Tensor, errors: Tensor) -> Tensor:
        """Soft labels (B, K, *S): the share s of what is wrong has moved."""
        classes, cfg = prob.shape[1], self.config
        share = errors * (1 - self.uncertainty(rest.image) if cfg.correction == "uds" else torch.ones_like(prob[:, 0]))
        share = share * cfg.fixed if cfg.correction == "fs" else share
        given, taught = one_hot(rest.label, classes), one_hot(most_likely(prob), classes)
        soft = torch.lerp(given, taught, share.unsqueeze(1))
        if cfg.hard_cast:  # the share of each structure, rounded down; the rest is background
            soft[:, 1:].floor_()
            soft[:, 0] = 1 - soft[:, 1:].sum(1)
        return soft

    def uncertainty(self, image: Tensor) -> Tensor:
        """Entropy of the mean of T noisy passes, in the largest there is, (B, *S)."""
        mean = self.look(image, self.config.noise)
        for _ in range(self.config.passes - 1):
            mean += self.look(image, self.config.noise)
        entropy: Tensor = torch.special.entr(mean / self.config.passes).sum(1)
        return (entropy / math.log(mean.shape[1])).clamp(0, 1)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.student(image).float().softmax(1)
        return prob
