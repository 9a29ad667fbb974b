"""MLB-Seg: each pixel's given label and pseudo-label weigh as much as they help on clean cases; mean teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional import meta
from ..functional.losses import ce, masked_mean
from ..functional.teacher import ema_, frozen_copy, perturbed
from ..functional.views import Kind, Views, apply, classes_in, disagreement, draw_views, ensemble, label_in
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method


class Config(types.Config):
    """Defaults are the sound reading of paper and released code; ``configs/mlb_seg`` names both."""

    warm: float = Field(0.1, ge=0, lt=1, description="share of the epochs spent on clean cases alone (Sec. 4.1)")
    weights: Literal["meta", "fixed"] = Field("meta", description="learnt for each pixel, or the same everywhere")
    given: float = Field(0.8, ge=0, le=1, description="weight of the given label where fixed (Reed et al. 2014)")
    normalise: Literal["joint", "separate"] = Field(
        "joint", description="weights sum to 1 over both labels (released), or over each by itself (Eq. 8)"
    )
    virtual_lr: float = Field(
        0.0,
        ge=0,
        description="step along the consistency terms before the clean gradient: 0 is Eq. 4 (released: 0.005)",
    )
    clean_step: Literal["merged", "own", "none"] = Field(
        "merged", description="clean cases are learnt in the same step, in a second one (released), or not (paper)"
    )
    clean_views: bool = Field(False, description="clean images in all their views (released), or as they are")
    views: tuple[Kind, ...] = Field(("in", "out", "out", "flip"), description="PLE: the Q views beside the original")
    border: Literal["unseen", "background"] = Field(
        "unseen", description="beyond a view's border: nothing is known, or there is background (released)"
    )
    agreement: float = Field(1.0, ge=0, description="weight of Eq. 11, a mean over classes")
    agreement_gradient: Literal["both_ways", "one_way"] = Field(
        "both_ways", description="which of two views learns: both (Eq. 11), or the earlier one (released)"
    )
    teaching: float = Field(1.0, ge=0, description="weight of Eq. 13, a mean over classes; 0: no mean teacher")
    noise: float = Field(0.02, ge=0, description="gamma of Eq. 12, the noise on the teacher's images (released)")
    ema: float = Field(0.99, ge=0, le=1, description="decay of the teacher (Sec. 4.1)")
    ema_since: Literal["run", "epoch"] = Field(
        "run", description="steps of the decay's ramp count from the run's start, or each epoch's (released)"
    )


@dataclass(frozen=True)
class Variants:
    """Q + 1 views of B images, (V B, C, *S), and with noise for the teacher, Eq. 12; their labels (B, *S)."""

    image: Tensor
    label: Tensor
    views: Views
    noisy: Tensor


class MLBSeg(Method):
    paper = "Wei et al., Consistency-guided Meta-Learning for Bootstrapping Semi-Supervised Segmentation, MICCAI 2023"
    supervision = ("clean",)
    maps = ("refined",)
    defaults: ClassVar = {
        "train": {"batch": {"clean": 2, "imperfect": 1}},
        "network": {"name": "unetpp"},
        "optim": {"lr": 0.005, "weight_decay": 5e-4, "clip": 0.2, "schedule": "inverse", "every": 20},
    }

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.student, self.config = build(), config
        self.teacher = frozen_copy(self.student)
        self.outside = IGNORE if config.border == "unseen" else 0

    def check(self, train: TrainSet) -> None:
        clean = train.trust == Trust.CLEAN
        if not clean.any() or clean.all():
            raise InputError(
                f"{int(clean.sum())} of {len(train)} training cases are clean; MLB-Seg learns from clean ones how far "
                "to believe the others, and needs both: correct supervision.csv."
            )
        found = train.sizes > 0
        if alone := (found[~clean].any(0) & ~found[clean].any(0)).nonzero().flatten().tolist():
            raise InputError(
                f"class {alone[0]} is in masks to be judged and in no clean one, so MLB-Seg would always believe it "
                "wrong; mark a good case that has it as clean in supervision.csv."
            )

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """After the warm start the teacher is what the student is, and cases without a label get the student's."""
        if not self.config.warm or at.epoch != self.warm_epochs(at):
            return {}
        self.teacher.load_state_dict(self.student.state_dict())
        for batch in train.scan(batch_size=1):
            if batch.trust.item() == Trust.UNLABELED:
                predicted = self.student(batch.to(self.device).image).argmax(1)
                train.write("refined", batch.index, predicted)  # Eq. 1
        return {}

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, clean, rest = self.config, batch.clean, batch.imperfect
        if not len(clean) or not len(rest):
            raise InputError("MLB-Seg needs clean and other cases in each step: train.batch={clean: 2, imperfect: 1}.")
        trusted = self.look(clean.image, clean.label, cfg.views if cfg.clean_views else ())
        if at.epoch < self.warm_epochs(at):
            loss = self.supervised(self.student(trusted.image), trusted)
            update(loss)
            return {"loss": loss}

        terms = self.losses(self.look(rest.image, rest.maps["refined"], cfg.views), trusted)
        loss = terms["weighted"] + terms["smooth"]  # Eqs. 9, 11, 13
        update(loss + terms["clean"] if cfg.clean_step == "merged" else loss)
        self.teach(at)
        if cfg.clean_step == "own":
            logits = self.student(trusted.image)
            update(self.supervised(logits, trusted) + self.smooth(logits, trusted, self.target(trusted)))
            self.teach(at)
        return {"loss": loss, **terms}

    def look(self, image: Tensor, label: Tensor, kinds: Sequence[Kind]) -> Variants:
        """The original and one view of each of ``kinds``, drawn for each image."""
        views = draw_views(kinds, len(image), image.ndim - 2, image.device)
        seen = apply(image.repeat(len(views), *[1] * (image.ndim - 1)), views)
        if image.ndim == 4 and image.is_contiguous(memory_format=torch.channels_last):
            seen = seen.contiguous(memory_format=torch.channels_last)
        return Variants(seen, label, views, noisy=perturbed(seen, self.config.noise))

    def losses(self, rest: Variants, clean: Variants) -> dict[str, Tensor]:
        """The terms of the loss, and the share of all weight that the given labels have."""
        net, target = self.student, self.target(rest)
        clean_loss, toward = self.clean_gradient(clean, rest, target)
        z, slope = meta.tangent(net, rest.image, toward) if self.config.weights == "meta" else (None, None)
        logits = net(rest.image)
        z = logits.detach().float() if z is None else z

        given = label_in(rest.label, rest.views, z.shape[1], self.outside)
        prob = ensemble(z.softmax(1), rest.views, self.outside)
        pseudo = classes_in(prob, rest.views, self.outside)  # Eq. 10
        weight = self.weigh(z, slope, given, pseudo)  # Eqs. 6-8
        weighted = (weight * torch.stack((ce(logits, given), ce(logits, pseudo)))).sum()  # Eq. 9
        return {
            "weighted": weighted,
            "smooth": self.smooth(logits, rest, target),
            "clean": meta.as_loss(clean_loss, toward, net),
            "believed": weight[0].sum() / weight.sum().clamp_min(1e-10),
        }

    def clean_gradient(self, clean: Variants, rest: Variants, target: Tensor | None) -> tuple[Tensor, meta.Weights]:
        """Loss () of the clean cases and its gradient, at the weights that the virtual step arrives at."""
        net, cfg, at = self.student, self.config, None
        if cfg.virtual_lr:
            here = meta.learnable(net)
            _, smooth = meta.gradient(net, lambda f: self.smooth(f(rest.image), rest, target), here)
            at = meta.virtual_step(net, smooth, cfg.virtual_lr)  # Eq. 4, at w = 0
        return meta.gradient(net, lambda f: self.supervised(f(clean.image), clean), at)  # Eq. 5

    def weigh(self, z: Tensor, slope: Tensor | None, given: Tensor, pseudo: Tensor) -> Tensor:
        """Weights of given and pseudo-labels (2, V B, *S), 0 where the label is ``IGNORE``."""
        if slope is None:
            share = torch.stack((self.config.given * (given != IGNORE), (1 - self.config.given) * (pseudo != IGNORE)))
            return meta.normalise(share)
        worth = torch.stack((meta.worth(z, slope, given), meta.worth(z, slope, pseudo)))  # Eqs. 6, 7
        return meta.normalise(worth, self.config.normalise)  # Eq. 8

    def supervised(self, logits: Tensor, seen: Variants) -> Tensor:
        label = label_in(seen.label, seen.views, logits.shape[1], self.outside)
        return masked_mean(ce(logits, label), label != IGNORE)

    def smooth(self, logits: Tensor, seen: Variants, target: Tensor | None) -> Tensor:
        """Views agree with each other, and with the teacher."""
        cfg, prob = self.config, logits.float().softmax(1)
        one_way = cfg.agreement_gradient == "one_way"
        loss = cfg.agreement * disagreement(prob, seen.views, self.outside, one_way)  # Eq. 11
        return loss if target is None else loss + cfg.teaching * (prob - target).square().mean()  # Eq. 13

    @torch.no_grad()
    def target(self, seen: Variants) -> Tensor | None:
        """The teacher's probabilities for the images with noise on them; its batch normalisation is as in training."""
        if not self.config.teaching:
            return None
        prob: Tensor = self.teacher(seen.noisy).float().softmax(1)  # Eq. 12
        return prob

    def teach(self, at: Progress) -> None:
        step = at.step if self.config.ema_since == "run" else at.step % at.steps
        ema_(self.teacher, self.student, self.config.ema, step)

    def warm_epochs(self, at: Progress) -> int:
        return max(1, round(self.config.warm * at.epochs)) if self.config.warm else 0

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.student(image).float().softmax(1)
        return prob
