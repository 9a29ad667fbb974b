"""Noisy-label reweighting: a pixel counts as much as learning from it helps on clean cases."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional import meta
from ..functional.losses import ce, masked_mean
from ..types import IGNORE, Batch, Logs, Progress, Update
from .base import Build, Method


class Config(types.Config):
    clean_step: Literal["merged", "own", "none"] = Field(
        "merged",
        description="clean cases are learnt in the same step, in a second one (MLB-Seg's code), or not (paper)",
    )


class NLReweighting(Method):
    paper = "Mirikharaji et al., Learning to Segment Skin Lesions from Noisy Annotations, DART 2019"
    supervision = ("clean", "noisy")
    defaults: ClassVar = {
        "train": {"batch": {"clean": 2, "imperfect": 1}},
        "optim": {"lr": 0.005, "weight_decay": 5e-4, "clip": 0.2, "schedule": "inverse", "every": 20},
    }

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        clean, rest, own = batch.clean, batch.imperfect, self.config.clean_step
        if not len(clean) or not len(rest):
            raise InputError(
                "Reweighting needs clean and other cases in each step: train.batch={clean: 2, imperfect: 1}."
            )
        clean_loss, toward = meta.gradient(self.net, lambda net: supervised(net(clean.image), clean.label))
        z, slope = meta.tangent(self.net, rest.image, toward)
        weight = meta.normalise(meta.worth(z, slope, rest.label)[None])[0]
        weighted = (weight * ce(self.net(rest.image), rest.label)).sum()
        update(weighted + meta.as_loss(clean_loss, toward, self.net) if own == "merged" else weighted)
        if own == "own":
            update(supervised(self.net(clean.image), clean.label))
        used = masked_mean((weight > 0).float(), rest.label != IGNORE)
        return {"loss": weighted, "clean": clean_loss, "used": used}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


def supervised(logits: Tensor, label: Tensor) -> Tensor:
    return masked_mean(ce(logits, label), label != IGNORE)
