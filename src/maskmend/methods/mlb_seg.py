"""MLB-Seg: each pixel's given label and pseudo-label weigh as much as they help on clean cases; mean teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .. import types
from ..errors import InputError
from ..functional import meta
from ..functional.losses import ce, dice_by_class, masked_mean, most_likely
from ..functional.regions import overlap_loss
from ..functional.teacher import ema_, frozen_copy
from ..functional.views import Kind, Variants, classes_in, disagreement, ensemble, label_in, look
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method


class Config(types.Config):
    """Defaults are the sound reading of paper and released code; ``configs/mlb_seg`` names both."""

    warm: float = Field(
        0.1, ge=0, lt=1, description="share of the epochs spent on clean cases alone (Sec. 4.1), at least"
    )
    warm_most: float = Field(
        0.5, ge=0, lt=1, description="share at most: the warm start lasts until every class is found on the clean cases"
    )
    found: float = Field(
        0.5, gt=0, le=1, description="a class is found if its mean Dice on clean cases that have it is this"
    )
    warm_batch: int | None = Field(
        None, gt=0, description="clean cases to an update of the warm start, if more than in a step (paper: 16)"
    )
    clean_loss: Literal["ce_dice", "ce"] = Field(
        "ce_dice", description="of clean cases: cross-entropy + Dice, which keeps small classes, or the first (paper)"
    )
    weights: Literal["meta", "fixed"] = Field("meta", description="learnt for each pixel, or the same everywhere")
    given: float = Field(0.8, ge=0, le=1, description="weight of the given label where fixed (Reed et al. 2014)")
    normalise: Literal["joint", "separate"] = Field(
        "joint", description="weights sum to 1 over both labels (released), or over each by itself (Eq. 8)"
    )
    virtual_lr: float = Field(
        0.0,
        ge=0,
        description="step along the consistency terms before the clean gradient: 0 is Eq. 4 (released: that of optim)",
    )
    virtual_every: int | None = Field(
        None, gt=0, description="virtual_lr falls as every / (epoch + every), by default not (released: 20)"
    )
    virtual_decay: float = Field(0.0, ge=0, description="weight decay of the virtual step (released: that of optim)")
    virtual_momentum: float = Field(0.0, ge=0, lt=1, description="its momentum, for SGD (released: that of optim)")
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
class Pass:
    """Of the student over all views: logits (V B, K, *S), Eqs. 11 and 13 (), and where the virtual step would lead."""

    logits: Tensor
    smooth: Tensor
    ahead: meta.Weights | None = None


class MLBSeg(Method):
    paper = "Wei et al., Consistency-guided Meta-Learning for Bootstrapping Semi-Supervised Segmentation, MICCAI 2023"
    supervision = ("clean",)
    maps = ("refined",)
    defaults: ClassVar = {
        "train": {"batch": {"clean": 2, "imperfect": 1}},
        "network": {"name": "unetpp"},
        "optim": {"lr": 0.005, "weight_decay": 5e-4, "clip": 0.2, "schedule": "inverse", "every": 20},
    }

    gathered: Tensor
    """Gradient of the warm start that no update has used yet, (P,)."""
    longer: Tensor
    """Epochs by which the warm start was prolonged."""

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.student, self.config = build(), config
        self.teacher = frozen_copy(self.student)
        self.before = frozen_copy(self.student) if config.virtual_momentum else None  # the last update
        self.outside = IGNORE if config.border == "unseen" else 0
        weights = meta.flat(meta.learnable(self.student))
        self.register_buffer("gathered", torch.zeros(len(weights) if config.warm_batch else 0))
        self.register_buffer("longer", torch.tensor(0))

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
        least = self.least_dice(train)
        over = least >= self.config.found or at.epoch >= round(self.config.warm_most * at.epochs)
        if not over:
            self.longer += 1
            return {"least_dice": least}

        self.teacher.load_state_dict(self.student.state_dict())
        for batch in train.scan(batch_size=1):
            if batch.trust.item() == Trust.UNLABELED:
                predicted = self.student(batch.to(self.device).image).argmax(1)
                train.write("refined", batch.index, predicted)  # Eq. 1
        return {"least_dice": least}

    def least_dice(self, train: TrainSet) -> Tensor:
        """Dice of the class that the student finds worst, (): of each, the mean over the clean cases that have it."""
        classes = train.sizes.shape[1]
        index, loss = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, classes, dtype=torch.float64)]
        for batch in train.scan(batch_size=1):
            if batch.trust.item() == Trust.CLEAN:
                predicted = most_likely(self.student(batch.to(self.device).image)).cpu()
                index.append(batch.index)
                loss.append(overlap_loss(predicted, batch.label, classes))
        has = (train.trust == Trust.CLEAN).unsqueeze(1) & (train.sizes > 0)
        lost = (train.gather(torch.cat(index), torch.cat(loss)) * has).sum(0) / has.sum(0).clamp_min(1)
        return 1 - lost.max()

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        cfg, clean, rest = self.config, batch.clean, batch.imperfect
        if not len(clean) or not len(rest):
            raise InputError("MLB-Seg needs clean and other cases in each step: train.batch={clean: 2, imperfect: 1}.")
        trusted = look(clean.image, clean.label, cfg.views if cfg.clean_views else (), cfg.noise)
        if at.epoch < self.warm_epochs(at):
            return self.warm_up(trusted, at, update)

        terms = self.losses(look(rest.image, rest.maps["refined"], cfg.views, cfg.noise), trusted, at)
        loss = terms["weighted"] + terms["smooth"]  # Eqs. 9, 11, 13
        self.learn(loss + terms["clean"] if cfg.clean_step == "merged" else loss, update)
        self.teach(at)
        if cfg.clean_step == "own":
            logits = self.student(trusted.image)
            self.learn(self.supervised(logits, trusted) + self.smooth(logits, trusted, self.target(trusted)), update)
            self.teach(at)
        return {"loss": loss, **terms}

    def warm_up(self, clean: Variants, at: Progress, update: Update) -> Logs:
        """Clean cases alone; ``warm_batch`` of them, or what is left of an epoch, come together over several steps."""
        net, steps = self.student, max(1, round((self.config.warm_batch or 0) / len(clean.label)))
        if steps == 1:
            loss = self.supervised(net(clean.image), clean)
            self.learn(loss, update)
            return {"loss": loss}
        loss, gradient = meta.gradient(net, lambda f: self.supervised(f(clean.image), clean))
        self.gathered += meta.flat(gradient)
        place = at.step % at.steps
        count = place % steps + 1
        if count == steps or place + 1 == at.steps:
            self.learn(meta.as_loss(loss, meta.shaped(self.gathered / count, net), net), update)
            self.gathered.zero_()
        return {"loss": loss}

    def learn(self, loss: Tensor, update: Update) -> None:
        """One update. Where the weights come from tells the virtual step its momentum."""
        if self.before is not None:
            self.before.load_state_dict(self.student.state_dict())
        update(loss)

    def losses(self, rest: Variants, clean: Variants, at: Progress) -> dict[str, Tensor]:
        """The terms of the loss, and the share of all weight that the given labels have."""
        cfg, net, target = self.config, self.student, self.target(rest)
        now = self.see_ahead(rest, target, at) if cfg.virtual_lr else None  # Eq. 4, at w = 0
        there = None if now is None else now.ahead
        clean_loss, toward = meta.gradient(net, lambda f: self.supervised(f(clean.image), clean), there)  # Eq. 5
        z, slope = meta.tangent(net, rest.image, toward) if cfg.weights == "meta" else (None, None)
        now = now or self.see(rest, target)
        z = now.logits.detach().float() if z is None else z

        given = label_in(rest.label, rest.views, z.shape[1], self.outside)
        prob = ensemble(z.softmax(1), rest.views, self.outside)
        pseudo = classes_in(prob, rest.views, self.outside)  # Eq. 10
        weight = self.weigh(z, slope, given, pseudo)  # Eqs. 6-8
        weighted = (weight * torch.stack((ce(now.logits, given), ce(now.logits, pseudo)))).sum()  # Eq. 9
        return {
            "weighted": weighted,
            "smooth": now.smooth,
            "clean": meta.as_loss(clean_loss, toward, net),
            "believed": weight[0].sum() / weight.sum().clamp_min(1e-10),
        }

    def see(self, rest: Variants, target: Tensor | None) -> Pass:
        logits = self.student(rest.image)
        return Pass(logits, self.smooth(logits, rest, target))

    def see_ahead(self, rest: Variants, target: Tensor | None, at: Progress) -> Pass:
        """The same pass, whose gradient of the consistency terms is also the way of the released virtual step."""
        net, cfg = self.student, self.config
        with meta.apart(self.device):
            now = self.see(rest, target)
        gradient = meta.gradient_of(now.smooth, net)
        lr, last = self.virtual_rate(at.epoch), self.virtual_rate((at.step - 1) // at.steps)
        before = None if self.before is None else meta.Weights(self.before.named_parameters())
        ahead = meta.virtual_step(net, gradient, lr, cfg.virtual_decay, cfg.virtual_momentum * lr / last, before)
        return Pass(now.logits, meta.as_loss(now.smooth.detach(), gradient, net), ahead)

    def virtual_rate(self, epoch: int) -> float:
        every = self.config.virtual_every
        return self.config.virtual_lr * (every / (epoch + every) if every else 1)

    def weigh(self, z: Tensor, slope: Tensor | None, given: Tensor, pseudo: Tensor) -> Tensor:
        """Weights of given and pseudo-labels (2, V B, *S), 0 where the label is ``IGNORE``."""
        if slope is None:
            share = torch.stack((self.config.given * (given != IGNORE), (1 - self.config.given) * (pseudo != IGNORE)))
            return meta.normalise(share)
        worth = torch.stack((meta.worth(z, slope, given), meta.worth(z, slope, pseudo)))  # Eqs. 6, 7
        return meta.normalise(worth, self.config.normalise)  # Eq. 8

    def supervised(self, logits: Tensor, seen: Variants) -> Tensor:
        label = label_in(seen.label, seen.views, logits.shape[1], self.outside)
        loss = masked_mean(ce(logits, label), label != IGNORE)
        return loss if self.config.clean_loss == "ce" else loss + dice_by_class(logits.softmax(1), label).mean()

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
        """Its epochs up to now, or all if it is over."""
        return max(1, round(self.config.warm * at.epochs)) + int(self.longer) if self.config.warm else 0

    def predict(self, image: Tensor) -> Tensor:
        prob: Tensor = self.student(image).float().softmax(1)
        return prob
