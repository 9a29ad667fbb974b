"""ELR: what a network believed early, before it learns wrong labels by heart, keeps holding it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce, masked_mean
from ..functional.robust import elr
from ..functional.teacher import ema_, frozen_copy
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Update
from .base import Build, Method, parts

CLAMP = 1e-4
"""How near to 0 and 1 a prediction may come (released)."""


class Config(types.Config):
    lam: float = Field(
        3.0, ge=0, description="lambda, weight of agreement with the target (paper, CIFAR-10; CIFAR-100: 7)"
    )
    target: Literal["stored", "weights"] = Field(
        "stored", description="the average of a case's past predictions (paper), or what averaged weights say (ELR+)"
    )
    beta: float = Field(
        0.7, ge=0, lt=1, description="of stored: what is left of the target after an epoch (paper; CIFAR-100: 0.9)"
    )
    ema: float = Field(0.997, ge=0, lt=1, description="of weights: their decay in a step (ELR+: gamma)")


class ELR(Method):
    """The stored target is renewed before each epoch but the first, without augmentation, and warped with the image."""

    paper = "Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020"
    visits: Tensor

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.register_buffer("visits", torch.tensor(0))  # of each case, so far
        if config.target == "weights":
            self.average = frozen_copy(self.net)
        else:
            self.maps = ("target",)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        valid = batch.label != IGNORE
        target = self.target(batch)
        logits = self.net(batch.image)
        given = masked_mean(ce(logits, batch.label), valid)
        early = masked_mean(elr(logits.float().softmax(1), target, CLAMP), valid)
        loss = given + self.config.lam * early  # Eq. 6
        update(loss)
        if self.config.target == "weights":
            ema_(self.average, self.net, self.config.ema, at.step)
        return {"loss": loss, "given": given, "early": early}

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """t, (B, K, *S): its sum over classes is 1, or what the visits so far have made of 0."""
        if self.config.target == "weights":
            prob: Tensor = self.average(batch.image).float().softmax(1)
            return prob
        drawn = stored(batch.maps)
        held = 1 - self.config.beta**self.visits
        return torch.cat(((held - drawn.sum(1, keepdim=True)).clamp_min(0), drawn), 1)

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """t <- beta t + (1 - beta) p, p the prediction as it is now, for every case. Eq. 9."""
        if self.config.target == "weights" or not at.step:
            return {}
        for part in parts(train):
            part = part.to(self.device)
            prob = part.own(self.net(part.image).float()).softmax(1).clamp(CLAMP, 1 - CLAMP)
            prob = prob / prob.sum(1, keepdim=True)
            target = torch.lerp(prob[:, 1:], stored(part.core.maps), self.config.beta)
            train.write("target", part.index, target, *part.place)
        self.visits += 1
        return {"visits": self.visits}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


def stored(maps: Mapping[str, Tensor]) -> Tensor:
    """The stored shares of the foreground classes, (B, K - 1, *S)."""
    names = [name for name in maps if name.startswith("target_")]
    return torch.stack([maps[f"target_{k}"] for k in range(1, len(names) + 1)], 1)
