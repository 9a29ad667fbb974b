"""RCE: cross-entropy with label and prediction exchanged, bounded and symmetric in its errors."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import masked_mean
from ..functional.robust import rce
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    floor: float = Field(
        1e-4, gt=0, lt=1, description="what a label's 0 is taken for, so that its log exists (released)"
    )


class RCE(Method):
    paper = (
        "Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019: its second term alone"
    )

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        pixels = rce(self.net(batch.image), batch.label, self.config.floor)
        loss = masked_mean(pixels, batch.label != IGNORE)
        update(loss)
        return {"loss": loss}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
