"""T-Loss: the errors of a whole image are one draw of a Student t, so that an image far off pulls little."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.robust import t_loss
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    nu: float = Field(math.e, gt=0, description="degrees of freedom at the start; they are learned (released: e)")
    precision: float = Field(1.0, gt=0, description="of each pixel's residual, an identity matrix (paper; released: e)")


class TLoss(Method):
    """Of two classes this is the paper's loss over the number of pixels; of more, the mean over one-vs-rest losses."""

    paper = "Gonzalez-Jimenez et al., Robust T-Loss for Medical Image Segmentation, MICCAI 2023"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        foreground = cast(Any, self.net).classes - 1
        self.log_nu = nn.Parameter(torch.full((foreground,), math.log(config.nu)))

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        nu = self.log_nu.float().exp() + 1e-8
        cases = t_loss(self.predict(batch.image), batch.label, nu, self.config.precision).mean(1)
        labelled = (batch.label != IGNORE).flatten(1).any(1)
        loss = (cases * labelled).sum() / labelled.sum().clamp_min(1)
        update(loss)
        return {"loss": loss, "nu": nu.mean()}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob
