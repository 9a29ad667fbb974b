"""Spatial Correction: clean cases tell how far predictions lie off; labels are redrawn that much smaller or larger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional.losses import ce, ce_dice, masked_mean
from ..functional.teacher import frozen_copy
from ..functional.windows import together
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method, scan


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
        for batch in scan(train):
            noisy = batch.rows(batch.trust != Trust.CLEAN)
            for part, mended in self.redrawn(noisy, moved) if len(noisy) else ():
                train.write("refined", part.index, mended, *part.place)
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
                predicted, label = self.drawn(batch, train.shapes[int(batch.index)])
                offs = [off(predicted == k, label, k) for k in range(1, train.sizes.shape[1])]
                told = torch.tensor([o is not None for o in offs])
                index.append(batch.index)
                rows.append(torch.stack((torch.tensor([o or 0.0 for o in offs]), told)).double()[None])
        told = train.gather(torch.cat(index), torch.cat(rows)).sum(0)
        return told[0] / told[1].clamp_min(1)

    def drawn(self, case: Batch, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The predicted and the given label of one case (*S), int16."""
        maps = ((part, (self.margin(part).argmax(1).short(), part.core.label.short())) for part in case.parts())
        predicted, label = together(maps, shape)
        return predicted[0], label[0]

    def margin(self, batch: Batch, around: bool = False) -> Tensor:
        """How much each class leads the best other one, (B, K, *S) in logits, on the CPU; of the batch's own voxels."""
        logits: Tensor = self.net(batch.to(self.device).image).float().cpu()
        logits = logits if around else batch.own(logits)
        first, second = logits.topk(2, dim=1).values.split(1, dim=1)
        return logits - torch.where(logits == first, second, first)

    def redrawn(self, cases: Batch, bias: Tensor) -> Iterator[tuple[Batch, Tensor]]:
        """Parts of cases, and labels (B, *S) from predictions whose boundaries are moved by the bias (K - 1,)."""
        seen = partial(self.seen, cases, bias)
        looks = None if cases.large else [*seen()]
        peaks = torch.zeros(len(cases), len(bias))
        for _, margin, distance in looks or seen():
            for k, d in enumerate(bias.tolist()):
                each = [peak(s, far, d) for s, far in zip(margin[:, k + 1], distance[:, k], strict=True)]
                peaks[:, k] = peaks[:, k].maximum(torch.stack(each))
        for part, margin, distance in looks or seen():
            for k, d in enumerate(bias.tolist()):
                for scores, far, top in zip(margin[:, k + 1], distance[:, k], peaks[:, k], strict=True):
                    scores += shift(far, d, top)
            best, value = margin[:, 1:].max(1)
            label = part.core.label
            yield part, torch.where(label == IGNORE, IGNORE, torch.where(best > 0, value + 1, 0))

    def seen(self, cases: Batch, bias: Tensor) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Parts of cases, margins (B, K, *S) of their own voxels, and signed distances to the boundary of the predicted
        mask of each class that is to be moved, (B, K - 1, *S), infinite where it has none."""
        for part in cases.parts():
            margin = self.margin(part, around=True)
            predicted = margin.argmax(1)
            distance = torch.full_like(margin[:, 1:], torch.inf)
            for k in bias.nonzero().flatten().tolist():
                for far, inside in zip(distance[:, k], predicted == k + 1, strict=True):
                    if inside.any() and not inside.all():
                        far.copy_(signed_distance(inside))
            yield part, part.own(margin), part.own(distance)

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
    box = around(predicted | truth)
    edge = (signed_distance(truth[box]) == 1) & (label[box] != IGNORE)
    return float((signed_distance(predicted[box])[edge] - 1).mean()) if edge.any() else None


def around(mask: Tensor) -> tuple[slice, ...]:
    """The box of a mask (*S) that is not empty, one pixel wider, which holds what is nearest to it or outside of it."""
    ends = [where.nonzero() for axis in range(mask.ndim) for where in [mask.movedim(axis, 0).flatten(1).any(1)]]
    return tuple(slice(max(0, int(end[0]) - 1), int(end[-1]) + 2) for end in ends)


def peak(scores: Tensor, distance: Tensor, d: float) -> Tensor:
    """The largest score (*S), (), between a boundary and where it is moved by d; 0 where nothing lies there."""
    band = (distance > 0) & (distance <= d) if d > 0 else (distance < 0) & (distance >= d)
    return scores[band].abs().max() if band.any() else scores.new_zeros(())


def shift(distance: Tensor, d: float, peak: Tensor) -> Tensor:
    """What moves the zero of scores (*S) by d: b exp(-distance^2 / (2 d^2)), b their ``peak``."""
    if not d:
        return torch.zeros_like(distance)
    return (peak if d > 0 else -peak) * torch.exp(-distance.square() / (2 * d * d))
