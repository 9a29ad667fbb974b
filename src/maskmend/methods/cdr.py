"""CDR: only the weights that matter most to the loss learn, for the others would learn the wrong labels."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.losses import ce, masked_mean
from ..functional.schedule import ramp
from ..functional.select import kth_smallest
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    tau: float = Field(0.05, ge=0, lt=1, description="noise rate: the share of weights that do not learn (paper)")
    tau_epochs: int = Field(
        0, ge=0, description="epochs until tau is fully applied (released: 0, its ramp is overwritten)"
    )


class CDR(Method):
    paper = "Xia et al., Robust Early-learning: Hindering the Memorization of Noisy Labels, ICLR 2021"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.keep = 1.0

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        self.keep = 1 - self.config.tau * ramp(at.epoch, 0, self.config.tau_epochs)
        loss = masked_mean(ce(self.net(batch.image), batch.label), batch.label != IGNORE)
        update(loss)
        return {"loss": loss}

    def after_backward(self, group: str) -> None:
        keep_critical_(list(self.net.parameters()), self.keep)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


@torch.no_grad()
def keep_critical_(parameters: list[nn.Parameter], keep: float) -> None:
    """Of all weights together the share ``keep`` with the largest |w dL/dw| learns, ``keep`` times as fast.

    The gradient of the others becomes zero. Weights have two axes or more; biases and normalisation are left alone.
    """
    weights = [(p, p.grad) for p in parameters if p.grad is not None and p.ndim >= 2]
    if keep >= 1 or not weights:
        return
    scores = [(p * grad).abs_() for p, grad in weights]
    count = sum(score.numel() for score in scores)
    least = kth_smallest(torch.cat([score.flatten() for score in scores]), count - max(1, int(keep * count)) + 1)
    for (_, grad), score in zip(weights, scores, strict=True):
        grad.mul_(score.ge_(least).mul_(keep))
