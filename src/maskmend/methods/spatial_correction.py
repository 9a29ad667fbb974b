"""Spatial Correction: clean cases tell how far predictions lie off; labels are redrawn that much smaller or larger."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional.losses import ce, ce_dice, masked_mean
from ..functional.teacher import frozen_copy
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method


class Config(types.Config):
    period: float = Field(0.25, gt=0, le=1, description="share of the run between corrections (released: 20-50 epochs)")
    rounds: int = Field(2, ge=0, description="corrections at most (released: 1 to 3)")
    sigma: float = Field(1.0, gt=0, description="share of the bias that is corrected (released: 0.3, 0.8, 1 by data)")
    enough: float = Field(1.0, ge=0, description="bias in pixels below which predictions are believed (released)")
    restart: bool = Field(True, description="after a correction, from the weights of the start again (released)")
    learn_clean: bool = Field(False, description="clean cases teach too, or only tell the bias (paper: validation)")
    loss: Literal["ce", "both"] = Field("ce", description="cross-entropy, or with Dice (released: BraTS)")


class SpatialCorrection(Method):
    paper = "Yao et al., Learning to Segment from Noisy Annotations: A Spatial Correction Approach, ICLR 2023"
    supervision = ("clean", "noisy")
    maps = ("refined",)
    defaults: ClassVar = {"train": {"batch": {"clean": 1, "imperfect": 8}}}
    round: Tensor
    last: Tensor
    over: Tensor

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.start = frozen_copy(self.net)
        self.register_buffer("round", torch.tensor(0))  # corrections so far
        self.register_buffer("last", torch.tensor(0))  # epoch of the last
        self.register_buffer("over", torch.tensor(False))

    def check(self, train: TrainSet) -> None:
        missing = (train.sizes[train.trust == Trust.CLEAN].sum(0) == 0).nonzero().flatten().tolist()
        if missing:
            raise InputError(
                f"no clean mask holds class {missing[0]}, so how far its predictions lie off cannot be told; "
                "mark a good case that has it as clean in supervision.csv."
            )

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        rows = batch if self.config.learn_clean else batch.imperfect
        if not len(rows):
            raise InputError(
                "Spatial Correction needs other than clean cases in each step: train.batch={imperfect: 8}."
            )
        logits, label = self.net(rows.image), rows.maps["refined"]
        if self.config.loss == "ce":
            loss = masked_mean(ce(logits, label), label != IGNORE)
        else:
            loss = ce_dice(logits, label).mean()
        update(loss)
        return {"loss": loss}

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        cfg = self.config
        wait = max(1, round(cfg.period * at.epochs))
        if self.over or self.round >= cfg.rounds or at.epoch - self.last < wait:
            return {}
        bias = cfg.sigma * self.bias(train)
        moved = bias.where(bias.abs() >= cfg.enough, 0)
        for batch in train.scan(8 if len(train.shapes[0]) == 2 else 1):
            noisy = batch.rows(batch.trust != Trust.CLEAN)
            if len(noisy):
                train.write("refined", noisy.index, self.redrawn(noisy, moved))
        self.over.fill_(not moved.any())
        self.round += 1
        self.last.fill_(at.epoch)
        if cfg.restart:
            self.net.load_state_dict(self.start.state_dict())
        return {"round": self.round} | {f"bias{k}": d for k, d in enumerate(bias.tolist(), 1)}

    def bias(self, train: TrainSet) -> Tensor:
        """How far predictions of the clean cases lie off, (K - 1,) in pixels: above 0 too small, below too large."""
        index, rows = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, 2, train.sizes.shape[1] - 1).double()]
        for batch in train.scan(1):
            if batch.trust.item() == Trust.CLEAN:
                predicted, label = self.margin(batch).argmax(1)[0], batch.label[0]
                offs = [off(predicted == k, label, k) for k in range(1, train.sizes.shape[1])]
                told = torch.tensor([o is not None for o in offs])
                index.append(batch.index)
                rows.append(torch.stack((torch.tensor([o or 0.0 for o in offs]), told)).double()[None])
        told = train.gather(torch.cat(index), torch.cat(rows)).sum(0)
        return told[0] / told[1].clamp_min(1)

    def margin(self, batch: Batch) -> Tensor:
        """How much each class leads the best other one, (B, K, *S) in logits, on the CPU."""
        logits: Tensor = self.net(batch.to(self.device).image).float().cpu()
        first, second = logits.topk(2, dim=1).values.split(1, dim=1)
        return logits - torch.where(logits == first, second, first)

    def redrawn(self, batch: Batch, bias: Tensor) -> Tensor:
        """Labels (B, *S) from predictions whose boundaries are moved by the bias (K - 1,)."""
        margin = self.margin(batch)
        predicted = margin.argmax(1)
        for k, d in enumerate(bias.tolist(), 1):
            for scores, inside in zip(margin[:, k], predicted == k, strict=True):
                if d and inside.any() and not inside.all():
                    scores += shift(scores, signed_distance(inside), d)
        best, label = margin[:, 1:].max(1)
        return torch.where(batch.label == IGNORE, IGNORE, torch.where(best > 0, label + 1, 0))

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


def signed_distance(inside: Tensor) -> Tensor:
    """Distance (*S) in pixels to the other side of a boundary: 1, 2, ... outside and -1, -2, ... inside."""
    from scipy.ndimage import distance_transform_edt

    mask = inside.numpy()
    return torch.from_numpy(distance_transform_edt(~mask) - distance_transform_edt(mask)).float()


def off(predicted: Tensor, label: Tensor, k: int) -> float | None:
    """Mean distance from the true boundary of class k (*S) to the predicted one; None where neither has the class."""
    truth = label == k
    if not predicted.any() or not truth.any():
        return float(truth.any()) - float(predicted.any()) if predicted.any() or truth.any() else None
    edge = (signed_distance(truth) == 1) & (label != IGNORE)
    return float((signed_distance(predicted)[edge] - 1).mean()) if edge.any() else None


def shift(scores: Tensor, distance: Tensor, d: float) -> Tensor:
    """What moves the zero of scores (*S) by d: b exp(-distance^2 / (2 d^2)), b the largest score in between."""
    band = (distance > 0) & (distance <= d) if d > 0 else (distance < 0) & (distance >= d)
    most = scores[band].abs().max() if band.any() else scores.new_zeros(())
    return (most if d > 0 else -most) * torch.exp(-distance.square() / (2 * d * d))
