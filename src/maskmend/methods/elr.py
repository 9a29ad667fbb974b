"""ELR: what a network believed early, before it learns wrong labels by heart, keeps holding it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce, masked_mean
from ..functional.robust import elr
from ..functional.teacher import ema_, frozen_copy
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    lam: float = Field(
        3.0, ge=0, description="lambda, weight of agreement with the target (paper, CIFAR-10; CIFAR-100: 7)"
    )
    ema: float = Field(
        0.997, ge=0, lt=1, description="decay of the averaged weights that give the target (ELR+: gamma)"
    )


class ELR(Method):
    """The target t is the prediction, for the same view, of averaged weights, which is ELR+'s device.

    The paper's average of past predictions, stored per image, would have to follow every flip, zoom and patch.
    """

    paper = "Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.average = frozen_copy(self.net)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        valid = batch.label != IGNORE
        with torch.no_grad():
            target = self.average(batch.image).float().softmax(1)
        logits = self.net(batch.image)
        given = masked_mean(ce(logits, batch.label), valid)
        early = masked_mean(elr(logits.float().softmax(1), target), valid)
        loss = given + self.config.lam * early
        update(loss)
        ema_(self.average, self.net, self.config.ema, at.step)
        return {"loss": loss, "given": given, "early": early}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
