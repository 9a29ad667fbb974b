"""DivideMix: each network keeps the labels of the cases that its peer fits easily, and guesses those of the others."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional.assumptions import unparted
from ..functional.gmm import NO_RANGE, fit
from ..functional.jitter import jitter
from ..functional.losses import case_ce, ce, masked_mean, one_hot
from ..functional.robust import sharpen, soft_ce
from ..functional.schedule import ramp
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method, scan


class Config(types.Config):
    warmup_epochs: int = Field(10, ge=1, description="epochs of plain cross-entropy (paper, CIFAR-10; CIFAR-100: 30)")
    clean: float = Field(0.5, ge=0, lt=1, description="a case keeps its label above this chance of being clean (paper)")
    temperature: float = Field(0.5, gt=0, description="T: how much targets are sharpened (paper)")
    jitter: float = Field(0.5, ge=0, description="strength of the two colour-jittered views (ours: geometry stays)")
    mix: float = Field(4.0, ge=0, description="alpha of Beta(alpha, alpha) in MixMatch (paper); 0: no mixing")
    guess_weight: float = Field(25.0, ge=0, description="lambda_u: weight of guessed labels (paper: 0 to 150 by noise)")
    guess_epochs: int = Field(16, ge=0, description="epochs after warm-up until it is fully applied (released)")
    inference: Literal["mean", "first"] = Field("mean", description="both networks averaged (paper); the first alone")


class DivideMix(Method):
    paper = "Li et al., DivideMix: Learning with Noisy Labels as Semi-supervised Learning, ICLR 2020"

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config
        self.clean = torch.zeros(0, 2)  # chance of each case to be clean, by each network; none before warm-up ends

    def get_extra_state(self) -> Tensor:
        return self.clean

    def set_extra_state(self, state: Tensor) -> None:
        self.clean = state.cpu()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"net1": list(self.net1.parameters()), "net2": list(self.net2.parameters())}

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        if at.epoch < self.config.warmup_epochs:
            return {}
        index, losses = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, 2)]
        for batch in scan(train):
            index.append(batch.index)
            batch = batch.to(self.device)
            losses.append(torch.stack([case_ce(net(batch.image), batch.label) for net in self.nets], 1).cpu())
        loss, labelled = train.gather(torch.cat(index), torch.cat(losses)), train.sizes.sum(1) > 0
        self.clean = torch.zeros(len(train), 2)
        for k in range(2):
            self.clean[labelled, k] = clean_probability(loss[labelled, k])
        self.clean[train.trust == Trust.CLEAN] = 1
        noisy = labelled & (train.trust == Trust.NOISY)
        self.sentences = unparted({"given masks": loss[noisy].mean(1)})
        return {"clean": (self.clean > self.config.clean).float().mean()}

    @property
    def nets(self) -> tuple[nn.Module, nn.Module]:
        return self.net1, self.net2

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        if at.epoch < self.config.warmup_epochs or not len(self.clean):
            losses = [masked_mean(ce(net(batch.image), batch.label), batch.label != IGNORE) for net in self.nets]
        else:
            losses = self.mixmatch(batch, at)
        update(losses[0], "net1")
        update(losses[1], "net2")
        return {"loss": (losses[0] + losses[1]) / 2}

    def mixmatch(self, batch: Batch, at: Progress) -> list[Tensor]:
        """The loss of each network, its peer having said which cases are clean."""
        cfg = self.config
        views = torch.cat((jitter(batch.image, cfg.jitter), jitter(batch.image, cfg.jitter)))
        with torch.no_grad():
            first, second = (net(views).float().softmax(1).unflatten(0, (2, -1)).mean(0) for net in self.nets)
        weight = cfg.guess_weight * ramp(at.epoch - cfg.warmup_epochs, 0, cfg.guess_epochs)
        clean = self.clean.to(batch.index.device)[batch.index]
        losses = []
        for net, own, judged in ((self.net1, first, clean[:, 1]), (self.net2, second, clean[:, 0])):
            kept = judged > cfg.clean
            target = self.target(batch.label, own, (first + second) / 2, torch.where(kept, judged, 0))
            order = torch.randperm(len(views), device=views.device)
            share = self.share()
            mixed, wanted = (
                torch.lerp(x[order], x, share) for x in (views, target.repeat(2, *[1] * (target.ndim - 1)))
            )
            logits, kept = net(mixed), kept.repeat(2)
            taught = masked_mean(soft_ce(logits, wanted).flatten(1).mean(1), kept)
            guessed = masked_mean((logits.float().softmax(1) - wanted).square().flatten(1).mean(1), ~kept)
            losses.append(taught + weight * guessed)
        return losses

    def target(self, label: Tensor, own: Tensor, both: Tensor, clean: Tensor) -> Tensor:
        """What the pixels should be, (B, K, *S). ``clean`` (B,) is 0 where the label is not kept.

        A kept label is refined by the network's ``own`` guess, in proportion to the doubt; the rest is what ``both``
        networks guess. A pixel that nobody annotated has no label to keep.
        """
        clean = clean.view(-1, *[1] * (own.ndim - 1))
        hot = clean * one_hot(label, own.shape[1])
        guess = torch.where(clean > 0, own, both)
        return sharpen(hot + (1 - hot.sum(1, keepdim=True)) * guess, self.config.temperature)

    def share(self) -> float:
        """How much of itself each image keeps in a mixture, 0.5 to 1."""
        if not self.config.mix:
            return 1.0
        share = float(torch.distributions.Beta(self.config.mix, self.config.mix).sample())
        return max(share, 1 - share)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net1(image).float().softmax(1)
        return prob if self.config.inference == "first" else (prob + self.net2(image).float().softmax(1)) / 2


def clean_probability(loss: Tensor) -> Tensor:
    """The chance that each loss (N,) belongs to the Gaussian of small ones, (N,): all 1 if all are alike."""
    if not len(loss) or (span := loss.max() - loss.min()) < NO_RANGE:
        return torch.ones_like(loss)
    value = (loss - loss.min()) / span
    return fit(value).posterior(value).to(loss)
