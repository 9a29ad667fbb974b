"""ADELE: a class' labels are corrected once the network stops learning it early; three scales must agree."""

from __future__ import annotations

from itertools import pairwise, takewhile
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from .. import types
from ..functional.losses import ce, masked_mean, most_likely, one_hot
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method, parts

MOST_CLASSES = 256


class Config(types.Config):
    """Defaults are those of the released code for SegTHOR."""

    slowdown: float = Field(0.9, gt=0, lt=1, description="r, relative fall of the fitted IoU's slope (released)")
    begin: float = Field(
        0.1, ge=0, description="IoU must first rise by so much in an epoch; epochs before are cut off (released)"
    )
    confidence: float = Field(0.7, ge=0, lt=1, description="probability above which a label is rewritten (released)")
    every: int = Field(10, ge=1, description="epochs between two corrections (released)")
    scales: tuple[float, ...] = Field((0.7, 1.0, 1.5), min_length=1, description="sizes of the image (released)")
    agreement: float = Field(1.0, ge=0, description="lambda, weight of the consistency of scales (released)")


class ADELE(Method):
    paper = "Liu et al., Adaptive Early-Learning Correction for Segmentation from Noisy Annotations, CVPR 2022"
    maps = ("refined",)
    overlap: Tensor
    corrected: Tensor
    last: Tensor

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net, self.config = build(), config
        self.curve = torch.zeros(0, 0)  # IoU of each class with its given label, by epoch
        self.register_buffer("overlap", torch.zeros(2, MOST_CLASSES))  # of this epoch: intersection, union
        self.register_buffer("corrected", torch.zeros(MOST_CLASSES, dtype=torch.bool))  # classes that are
        self.register_buffer("last", torch.tensor(0))  # epoch of the last correction

    def get_extra_state(self) -> Tensor:
        return self.curve

    def set_extra_state(self, state: Tensor) -> None:
        self.curve = state.cpu()

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        label, valid = batch.maps["refined"], batch.label != IGNORE
        views = self.views(batch.image)
        learned = torch.stack([masked_mean(ce(z, label), valid) for z in views]).mean()
        apart, mixture = disagreement(views)
        self.watch(most_likely(mixture), batch.label, mixture.shape[1])
        spread = masked_mean(apart, valid)
        loss = learned + self.config.agreement * spread
        update(loss)
        return {"loss": loss, "learned": learned, "spread": spread}

    def views(self, image: Tensor) -> list[Tensor]:
        """Logits (B, K, *S) of the image at every scale, in sizes that the network takes."""
        size, mode = image.shape[2:], "bilinear" if image.ndim == 4 else "trilinear"
        strides = getattr(cast(Any, self.net), "stride", (1,) * len(size))
        found = []
        for scale in self.config.scales:
            near = [max(1, round(scale * n / s)) * s for n, s in zip(size, strides, strict=True)]
            logits = self.net(F.interpolate(image, near, mode=mode) if near != list(size) else image).float()
            found.append(F.interpolate(logits, size, mode=mode) if near != list(size) else logits)
        return found

    @torch.no_grad()
    def watch(self, predicted: Tensor, label: Tensor, classes: int) -> None:
        """Count intersections and unions with the given labels."""
        seen = predicted.masked_fill(label == IGNORE, IGNORE)
        ours, given = (one_hot(x, classes).transpose(0, 1).flatten(1) for x in (seen, label))
        self.overlap[:, :classes] += torch.stack(((ours * given).sum(1), (ours + given).clamp_max(1).sum(1)))

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """Add a point to every class' curve; rewrite labels of the classes whose early learning is over."""
        classes = train.sizes.shape[1]
        if not self.overlap.any():
            return {}
        point = (self.overlap[0] / self.overlap[1].clamp_min(1))[:classes].cpu()
        self.curve = torch.cat((self.curve.view(-1, classes), point[None]))
        self.overlap.zero_()
        over = torch.tensor([False] + [self.over(self.curve[:, k].tolist()) for k in range(1, classes)])
        fresh = over.to(self.corrected.device) & ~self.corrected[:classes]
        self.corrected[:classes] |= fresh
        if fresh.any() or (self.corrected.any() and at.epoch - self.last >= self.config.every):
            self.last.fill_(at.epoch)
            for part in parts(train):
                mended = self.rewritten(part.to(self.device), train.sizes[part.index] > 0)
                train.write("refined", part.index, mended, *part.place)
        return {"corrected_classes": self.corrected.sum()}

    def over(self, iou: list[float]) -> bool:
        """Whether early learning is over: f(t) = a (1 - exp(-t^b / c)) fits, and f' has fallen by r since t = 1.

        t counts epochs: from where IoU first rises, which is 0; or from the first, which is 1.
        """
        from scipy.optimize import curve_fit

        rises = [b - a for a, b in pairwise(iou)]
        flat = len(list(takewhile(lambda rise: rise < self.config.begin, rises)))
        cut = flat if flat < len(rises) else 0
        t = torch.arange(0 if cut else 1, len(iou) - cut + (not cut), dtype=torch.float64).numpy()
        if len(t) < 4:
            return False
        late = torch.logspace(0, -1, len(t)).numpy()  # later epochs weigh more, as in the released code
        bounds = ([0, 0, 1e-6], [1, 1, torch.inf])
        try:
            (_, b, c), _ = curve_fit(_curve, t, iou[-len(t) :], (0.9, 0.9, 1), late, bounds=bounds)
        except RuntimeError:  # no fit
            return False
        slope = torch.tensor([1.0, t[-1]], dtype=torch.float64)
        slope = slope ** (b - 1) * (-(slope**b) / c).exp()  # but for a b / c
        return bool(1 - slope[1] / slope[0] > self.config.slowdown)

    def rewritten(self, batch: Batch, there: Tensor) -> Tensor:
        """Given labels (B, *S), but predictions where sure, of classes that are corrected and in the mask already,
        ``there`` (B, K) bool; of what is the batch's own."""
        label, prob = batch.core.label, torch.stack([batch.own(z.softmax(1)) for z in self.views(batch.image)]).mean(0)
        sure, predicted = prob.max(1)
        open_, there = self.corrected[: prob.shape[1]].clone(), there.to(label.device)
        there[:, 0] = open_[0] = True
        known = there.gather(1, predicted.flatten(1)).view_as(label)
        mended = (sure > self.config.confidence) & open_[label.clamp_min(0)] & open_[predicted] & known
        noisy = (batch.trust != Trust.CLEAN).view(-1, *[1] * (label.ndim - 1))
        return torch.where(mended & noisy & (label != IGNORE), predicted, label)

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.net(image).float().softmax(1)
        return prob


def disagreement(views: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean KL of each softmax from the mean m of all, (B, *S), and m: logits (B, K, *S) each.

    That is the entropy of m less the mean entropy of all, of which m needs one logarithm, not one for each of them.
    """
    logs = [z.log_softmax(1) for z in views]
    probs = [log.exp() for log in logs]
    mixture = torch.stack(probs).mean(0)
    certain = torch.stack([(p * log).sum(1) for p, log in zip(probs, logs, strict=True)]).mean(0)
    return certain - (mixture * mixture.clamp_min(1e-7).log()).sum(1), mixture


def _curve(t: Any, a: float, b: float, c: float) -> Any:
    import numpy as np

    return a * (1 - np.exp(-(t**b) / c))
