"""Plain training: every given label is believed."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.losses import ce, dice_by_class, masked_mean
from ..functional.teacher import ema_, frozen_copy
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    loss: Literal["ce", "dice", "both"] = Field("both", description="cross-entropy, soft Dice, or their mean")
    networks: int = Field(
        1, ge=1, le=16, description="networks that learn side by side and predict together, as those of co-teaching do"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the moving average of weights that predicts; 0: the last weights do"
    )


class Supervised(Method):
    paper = "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.more = nn.ModuleList(build() for _ in range(config.networks - 1))
        self.means = nn.ModuleList(frozen_copy(net) for net in self.nets if config.ema)

    @property
    def nets(self) -> list[nn.Module]:
        """Every network that learns."""
        return [self.net, *self.more]

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        losses = torch.stack([self.loss(net(batch.image), batch.label) for net in self.nets])
        update(losses.sum())
        for mean, net in zip(self.means, self.nets, strict=False):
            ema_(mean, net, self.config.ema, at.step)
        return {"loss": losses.mean()}

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Of a network's logits (B, K, *S) with the given label (B, *S); a scalar."""
        terms = []
        if self.config.loss != "dice":
            terms.append(masked_mean(ce(logits, label), label != IGNORE))
        if self.config.loss != "ce":
            terms.append(dice_by_class(logits.float().softmax(1), label).mean())
        return sum(terms[1:], terms[0]) / len(terms)

    def predict(self, image: Tensor) -> Tensor:
        return torch.stack([net(image).float().softmax(1) for net in self.means or self.nets]).mean(0)
