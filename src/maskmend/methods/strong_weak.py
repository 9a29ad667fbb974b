"""Decoupled: one body with two heads; clean labels teach the strong head, imperfect ones the weak head."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce_dice
from ..types import Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    weight: float = Field(1.0, ge=0, description="weight of the weak head's loss (ours: both count alike)")


class StrongWeak(Method):
    paper = "Luo & Yang, Semi-supervised Semantic Segmentation via Strong-weak Dual-branch Network, ECCV 2020"
    supervision = ("clean",)
    defaults: ClassVar = {"train": {"batch": {"clean": 4, "imperfect": 4}}}

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.strong, self.config = build(), config
        self.weak_head = copy.deepcopy(cast(Any, self.strong).head)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        clean, rest, net = batch.clean, batch.imperfect, cast(Any, self.strong)
        seen = net.features(torch.cat((clean.image, rest.image)))
        f_clean, f_rest = seen.split((len(clean), len(rest)))
        strong = ce_dice(net.head(f_clean), clean.label, together=True).mean()
        weak = ce_dice(self.weak_head(f_rest), rest.label, together=True).mean()
        loss = strong + self.config.weight * weak
        update(loss)
        return {"loss": loss, "strong": strong, "weak": weak}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.strong(image).float().softmax(1)
        return prob
