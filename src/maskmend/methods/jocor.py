"""JoCoR: two networks that must agree learn together from the pixels of small joint loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.assumptions import erased
from ..functional.losses import ce, masked_mean, sym_kl
from ..functional.schedule import ramp
from ..functional.select import believed
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Update
from .base import Build, Method


class Config(types.Config):
    lam: float = Field(
        0.65,
        ge=0,
        lt=1,
        description="lambda, weight of agreement (SP-guided: 0.65; released: 0.1, advised: 0.5 to 0.9)",
    )
    tau: float = Field(0.05, ge=0, lt=1, description="share of pixels dropped: the noise rate (paper)")
    tau_epochs: int = Field(10, ge=0, description="epochs until tau is fully applied, T_k (released; GSD-Net: 20)")
    ranking: Literal["all", "class"] = Field(
        "all", description="losses ranked over all pixels, or in each given class by itself, as SP-guided runs it"
    )
    inference: Literal["mean", "first"] = Field(
        "mean", description="both networks averaged, as GSD-Net evaluates it; or the first alone, as SP-guided"
    )


class JoCoR(Method):
    paper = "Wei et al., Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization, CVPR 2020"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config

    def assumptions(self, train: TrainSet) -> list[str]:
        return erased(train, self.config.tau, self.config.ranking)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, label = self.config, batch.label
        z1, z2 = self.net1(batch.image), self.net2(batch.image)
        supervised, agreement = ce(z1, label) + ce(z2, label), sym_kl(z1, z2)
        joint = (1 - cfg.lam) * supervised + cfg.lam * agreement
        drop = cfg.tau * ramp(at.epoch, 0, cfg.tau_epochs)
        easy = believed(joint, drop, label, z1.shape[1], cfg.ranking)
        loss = masked_mean(joint, easy)
        update(loss)
        return {"loss": loss, "agreement": masked_mean(agreement, label != IGNORE)}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net1(image).float().softmax(1)
        return prob if self.config.inference == "first" else (prob + self.net2(image).float().softmax(1)) / 2
