"""Co-teaching: two networks, each learns from the pixels that its peer finds easy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.assumptions import erased
from ..functional.losses import ce, masked_mean
from ..functional.schedule import ramp
from ..functional.select import believed
from ..types import Batch, Logs, Progress, TrainSet, Update
from .base import Build, Method


class Config(types.Config):
    tau: float = Field(0.05, ge=0, lt=1, description="share of pixels dropped: the noise rate (Algorithm 1)")
    tau_epochs: int = Field(10, ge=0, description="epochs until tau is fully applied, T_k (Sec. 3)")
    ranking: Literal["all", "class"] = Field(
        "all", description="losses ranked over all pixels, or in each given class by itself, as SP-guided runs it"
    )
    inference: Literal["mean", "first"] = Field(
        "mean", description="both networks averaged, as GSD-Net evaluates it; or the first alone, as the paper"
    )


class CoTeaching(Method):
    paper = "Han et al., Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels, NeurIPS 2018"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"net1": list(self.net1.parameters()), "net2": list(self.net2.parameters())}

    def assumptions(self, train: TrainSet) -> list[str]:
        return erased(train, self.config.tau, self.config.ranking)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        drop = self.config.tau * ramp(at.epoch, 0, self.config.tau_epochs)
        z1, z2 = self.net1(batch.image), self.net2(batch.image)
        loss1, loss2 = ce(z1, batch.label), ce(z2, batch.label)
        easy1, easy2 = (believed(x, drop, batch.label, z1.shape[1], self.config.ranking) for x in (loss1, loss2))
        taught1, taught2 = masked_mean(loss1, easy2), masked_mean(loss2, easy1)
        update(taught1, "net1")
        update(taught2, "net2")
        return {"loss": (taught1 + taught2) / 2, "loss1": taught1, "loss2": taught2}

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net1(image).float().softmax(1)
        return prob if self.config.inference == "first" else (prob + self.net2(image).float().softmax(1)) / 2
