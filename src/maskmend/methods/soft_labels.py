"""Soft labels: learns how many of the raters call a pixel each class, instead of one of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import dice_soft, masked_mean
from ..functional.robust import soft_ce
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    target: Literal["average", "staple"] = Field(
        "average", description="share of the raters, or STAPLE's probability (Warfield et al., IEEE TMI 2004)"
    )
    loss: Literal["ce", "dice", "both"] = Field(
        "both", description="cross-entropy, Dice that shares can reach (Wang et al., MICCAI 2023), or their mean"
    )


class SoftLabels(Method):
    """A case that no rater drew, or that is called clean, has shares of 0 and 1: its given label."""

    paper = "Silva & Oliveira, Using Soft Labels to Model Uncertainty in Medical Image Segmentation, BrainLes 2021"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.maps = (config.target,)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        logits, seen = self.net(batch.image), batch.label != IGNORE
        target = self.target(batch.maps, logits.shape[1])
        terms = []
        if self.config.loss != "dice":
            terms.append(masked_mean(soft_ce(logits, target), seen))
        if self.config.loss != "ce":
            terms.append(dice_soft(logits.float().softmax(1), target, seen).mean())
        loss = sum(terms[1:], terms[0]) / len(terms)
        update(loss)
        return {"loss": loss}

    def target(self, maps: Mapping[str, Tensor], classes: int) -> Tensor:
        """The shares of all classes (B, K, *S), the background's being what the others leave."""
        drawn = torch.stack([maps[f"{self.config.target}_{value}"] for value in range(1, classes)], 1)
        return torch.cat((1 - drawn.sum(1, keepdim=True), drawn), 1)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
