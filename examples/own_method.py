"""Generalised cross-entropy: between cross-entropy, which learns fast, and absolute error, which forgives.

PYTHONPATH=. maskmend train DATASET --method examples.own_method -o RUN method.q=0.5
PYTHONPATH=. maskmend methods examples.own_method
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from maskmend import types
from maskmend.functional.losses import ce, masked_mean
from maskmend.methods import Build, Method
from maskmend.types import IGNORE, Batch, Logs, Progress, Update


class Config(types.Config):
    q: float = Field(0.7, gt=0, le=1, description="0: cross-entropy, 1: absolute error (Sec. 3.2)")


class GCE(Method):
    paper = (
        "Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Neural Networks with Noisy Labels, NeurIPS 2018"
    )

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        q = self.config.q
        pixels = (1 - (-q * ce(self.net(batch.image), batch.label)).exp()) / q  # Eq. 6, with p = exp(-ce)
        loss = masked_mean(pixels, batch.label != IGNORE)
        update(loss)
        return {"loss": loss}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
