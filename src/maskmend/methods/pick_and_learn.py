"""Pick-and-Learn: a second network weighs the labels of a batch against one another."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.losses import ce, dice_by_class, one_hot
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method

FEATURES = (16, 32, 64)


class Config(types.Config):
    scale: float = Field(2.0, ge=0, description="lambda: weights differ by e^(2 lambda) at most, 54.6 for 2 (paper)")
    loss: Literal["dice", "ce", "both"] = Field("dice", description="loss of a case: Dice (paper), CE, or their mean")


class PickAndLearn(Method):
    """Batches should have 4 rows or more. Of several ranks each weighs its own rows; all ranks count alike."""

    paper = "Zhu et al., Pick-and-Learn: Automatic Quality Evaluation for Noisy-Labeled Image Segmentation, MICCAI 2019"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        net = cast(Any, self.net)
        self.scorer = Scorer(net.channels + net.classes, net.dims)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        logits = self.net(batch.image)
        labelled = (batch.label != IGNORE).flatten(1).any(1)
        score = self.scorer(torch.cat((batch.image, one_hot(batch.label, logits.shape[1])), 1)).float()
        weight = quality(score, labelled, self.config.scale)
        loss = (weight * self.case_loss(logits, batch.label)).sum()
        update(loss)
        return {"loss": loss, "highest": weight.max()}

    def case_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of each case, (B,)."""
        terms = []
        if self.config.loss != "ce":
            terms.append(dice_by_class(logits.float().softmax(1), label))
        if self.config.loss != "dice":
            terms.append(ce(logits, label).flatten(1).sum(1) / (label != IGNORE).flatten(1).sum(1).clamp_min(1))
        return sum(terms[1:], terms[0]) / len(terms)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


def quality(score: Tensor, labelled: Tensor, scale: float) -> Tensor:
    """Weights of the cases of a batch, which sum to one: softmax of scale tanh(score); (B,) each. 0 without a label."""
    weight = (scale * score.tanh()).exp() * labelled
    return weight / weight.sum().clamp_min(1e-12)


class Scorer(nn.Module):
    """Image and given mask, one-hot, (B, C, *S) of any size -> how well they fit, (B,)."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        conv, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dims]
        layers: list[nn.Module] = []
        for into, out in zip((channels, *FEATURES), FEATURES, strict=False):
            layers += [conv(into, out, 3, padding=1), norm(out), nn.ReLU(), conv(out, out, 3, stride=2, padding=1)]
        self.layers, self.head = nn.Sequential(*layers, nn.ReLU()), nn.Linear(FEATURES[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        score: Tensor = self.head(self.layers(x).flatten(2).mean(2)).squeeze(1)
        return score
