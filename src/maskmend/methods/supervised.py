"""Plain training: every given label is believed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce, dice_by_class, masked_mean
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    loss: Literal["ce", "dice", "both"] = Field("both", description="cross-entropy, soft Dice, or their mean")


class Supervised(Method):
    paper = "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        logits = self.net(batch.image)
        terms = []
        if self.config.loss != "dice":
            terms.append(masked_mean(ce(logits, batch.label), batch.label != IGNORE))
        if self.config.loss != "ce":
            terms.append(dice_by_class(logits.float().softmax(1), batch.label).mean())
        loss = sum(terms[1:], terms[0]) / len(terms)
        update(loss)
        return {"loss": loss}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
