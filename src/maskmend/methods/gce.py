"""GCE: a loss between cross-entropy and absolute error, which sure contradictions cannot pull at."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import masked_mean
from ..functional.robust import gce
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    q: float = Field(0.7, gt=0, le=1, description="near 0: cross-entropy, 1: absolute error (paper; PyMIC: 0.5)")


class GCE(Method):
    paper = "Zhang & Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels, 2018"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        pixels = gce(self.net(batch.image), batch.label, self.config.q)
        loss = masked_mean(pixels, batch.label != IGNORE)
        update(loss)
        return {"loss": loss}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
