"""Pick-and-Learn: a second network weighs the labels of a batch against one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.losses import case_ce, dice_by_class, one_hot
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method

STAGES: dict[str, tuple[tuple[int, ...], ...]] = {
    "small": ((8,), (16,), (32,), (64,)),
    "vgg16": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}
"""Features of the scorers' convolutions, stage by stage. vgg16: Simonyan & Zisserman, ICLR 2015, configuration D."""


class Config(types.Config):
    scale: float = Field(2.0, ge=0, description="lambda: weights differ by e^(2 lambda) at most, 54.6 for 2 (paper)")
    loss: Literal["dice", "ce", "both"] = Field("dice", description="loss of a case: Dice (paper), CE, or their mean")
    scorer: Literal["small", "vgg16"] = Field(
        "small",
        description="four convolutions and a learned mean; or VGG16-BN and the plain mean of its features (paper)",
    )


class PickAndLearn(Method):
    """Batches should have 4 rows or more. Of several ranks each weighs its own rows; all ranks count alike."""

    paper = "Zhu et al., Pick-and-Learn: Automatic Quality Evaluation for Noisy-Labeled Image Segmentation, MICCAI 2019"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        net = cast(Any, self.net)
        self.scorer = Scorer(net.channels + net.classes, net.dims, STAGES[config.scorer], config.scorer == "vgg16")

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        logits = self.net(batch.image)
        labelled = (batch.label != IGNORE).flatten(1).any(1)
        score = self.scorer(torch.cat((batch.image, one_hot(batch.label, logits.shape[1])), 1))
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
            terms.append(case_ce(logits, label))
        return sum(terms[1:], terms[0]) / len(terms)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


def quality(score: Tensor, labelled: Tensor, scale: float) -> Tensor:
    """Weights of the cases of a batch, which sum to one: softmax of scale tanh(score); (B,) each. 0 without a label."""
    weight = (scale * score.tanh()).exp() * labelled
    return weight / weight.sum().clamp_min(1e-12)


class Scorer(nn.Module):
    """Image and given mask, one-hot, (B, C, *S) of any size -> how well they fit, (B,), in full precision.

    Each of the ``stages`` is 3-wide convolutions to so many features, normalised and rectified, and halves the size: by
    the last one's stride, or with ``vgg`` by a pooling. The score is the mean of the last features over pixels, and
    over features: by learned weights, or with ``vgg`` the plain one, which cannot be negative.
    """

    def __init__(self, channels: int, dims: int, stages: Sequence[Sequence[int]], vgg: bool = False) -> None:
        super().__init__()
        conv, norm, pool = {
            2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
            3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d),
        }[dims]
        layers: list[nn.Module] = []
        for stage in stages:
            strides = [1] * (len(stage) - 1) + [1 if vgg else 2]
            for features, stride in zip(stage, strides, strict=True):
                layers += [conv(channels, features, 3, stride, 1), norm(features), nn.ReLU(inplace=True)]
                channels = features
            layers += [pool(2, ceil_mode=True)] * vgg
        self.layers, self.head = nn.Sequential(*layers), None if vgg else nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            features = self.layers(x).flatten(2).mean(2)
            score: Tensor = features.mean(1) if self.head is None else self.head(features).squeeze(1)
        return score
