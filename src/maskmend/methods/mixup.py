"""mixup: learns from pairs of images laid over one another, with both labels."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce, masked_mean
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    alpha: float = Field(
        1.0, gt=0, description="of Beta(alpha, alpha), from which the share of each image comes (released)"
    )


class Mixup(Method):
    paper = "Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        share = float(torch.distributions.Beta(self.config.alpha, self.config.alpha).sample())  # one for the batch
        partner = torch.randperm(len(batch), device=batch.image.device)
        loss = self.loss(batch, share, partner)
        update(loss)
        return {"loss": loss}

    def loss(self, batch: Batch, share: float, partner: Tensor) -> Tensor:
        """Cross-entropy of share x + (1 - share) x[partner] against both labels, weighed alike."""
        logits, other = self.net(torch.lerp(batch.image[partner], batch.image, share)), batch.label[partner]
        own, others = (masked_mean(ce(logits, y), y != IGNORE) for y in (batch.label, other))
        return share * own + (1 - share) * others

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
