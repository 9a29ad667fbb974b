"""Tri-network: three networks, each learns from the pixels that the other two choose together."""

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
    selector: Literal["agreement", "difference"] = Field(
        "agreement", description="pixels easy for both others (PyMIC); or those whose losses differ least (SP-guided)"
    )
    tau: float = Field(0.05, ge=0, lt=1, description="share of pixels that each network, or pair, drops (PyMIC: 0.1)")
    tau_epochs: int = Field(10, ge=0, description="epochs until tau is fully applied (SP-guided: 5)")
    ranking: Literal["all", "class"] = Field(
        "all", description="losses ranked over all pixels, or in each given class by itself, as SP-guided runs it"
    )
    inference: Literal["mean", "first"] = Field(
        "mean", description="the three averaged, or the first alone (SP-guided)"
    )


class TriNetwork(Method):
    paper = "Zhang et al., Robust Medical Image Segmentation from Non-expert Annotations with Tri-network, MICCAI 2020"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.nets, self.config = nn.ModuleList([build() for _ in range(3)]), config

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {f"net{i}": list(net.parameters()) for i, net in enumerate(self.nets, 1)}

    def assumptions(self, train: TrainSet) -> list[str]:
        return erased(train, self.config.tau, self.config.ranking)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        logits = [net(batch.image) for net in self.nets]
        losses = [ce(z, batch.label) for z in logits]
        drop = self.config.tau * ramp(at.epoch, 0, self.config.tau_epochs)
        chosen = self.choose(losses, batch.label, logits[0].shape[1], drop)
        taught = [masked_mean(loss, mask) for loss, mask in zip(losses, chosen, strict=True)]
        for i, loss in enumerate(taught, 1):
            update(loss, f"net{i}")
        return {"loss": (taught[0] + taught[1] + taught[2]) / 3}

    def choose(self, losses: list[Tensor], label: Tensor, classes: int, drop: float) -> list[Tensor]:
        """What each network learns from, as the other two find it, (B, *S) bool each; IGNORE is never in it."""
        ranking, others = self.config.ranking, ((1, 2), (2, 0), (0, 1))
        if self.config.selector == "agreement":
            easy = [believed(loss, drop, label, classes, ranking) for loss in losses]
            return [easy[i] & easy[j] for i, j in others]
        return [believed((losses[i] - losses[j]).abs(), drop, label, classes, ranking) for i, j in others]

    def predict(self, image: Tensor) -> Tensor:
        nets = list(self.nets)[: 1 if self.config.inference == "first" else 3]
        prob: Tensor = sum((net(image).float().softmax(1) for net in nets[1:]), nets[0](image).float().softmax(1))
        return prob / len(nets)
