"""Confident learning: two teachers, each judging the half it never saw; a student learns softened doubtful pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional import confident
from ..functional.confident import Evidence, Rule
from ..functional.losses import ce, masked_mean
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method, parts

PIECE = 512
"""Entries that ranks exchange at once."""


class Config(types.Config):
    teacher_share: float = Field(0.5, gt=0, lt=1, description="share of the epochs that the teachers train (ours)")
    prune: Rule = Field("both", description="which pixels are called wrong: cleanlab's filters (released: both)")
    smoothing: float = Field(
        0.25, ge=0, le=1, description="epsilon of SLSR: what a doubtful label gives away (released config: 1, a flip)"
    )


class ConfidentLearning(Method):
    """Halves are even and odd positions in the training set. One optimiser serves both teachers, one the student."""

    paper = "Zhang et al., Characterizing Label Errors: Confident Learning for Noisy-Labeled Segmentation, MICCAI 2020"
    maps = ("refined",)
    handed_over: Tensor

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.teachers, self.student, self.config = nn.ModuleList((build(), build())), build(), config
        self.register_buffer("handed_over", torch.tensor(False))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"teachers": list(self.teachers.parameters()), "student": list(self.student.parameters())}

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        label = batch.label
        if at.epoch < self.switch(at):
            losses = [
                masked_mean(ce(net(part.image), part.label), part.label != IGNORE) for net, part in self.own(batch)
            ]
            loss = sum(losses[1:], losses[0])
            update(loss, "teachers")
            return {"loss": loss}
        logits = self.student(batch.image)
        given, refined = ce(logits, label), ce(logits, batch.maps["refined"])
        eps = self.config.smoothing * (batch.maps["refined"] != label)
        loss = masked_mean((1 - eps) * given + eps * refined, label != IGNORE)  # SLSR
        update(loss, "student")
        return {"loss": loss}

    def own(self, batch: Batch) -> Iterator[tuple[nn.Module, Batch]]:
        """Each teacher with the cases of its half, if there are any."""
        for half, net in enumerate(self.teachers):
            if len(part := batch.rows(batch.index % 2 == half)):
                yield net, part

    def switch(self, at: Progress) -> int:
        """The first epoch of the student."""
        return max(1, round(self.config.teacher_share * at.epochs))

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """Read the training set three times: thresholds, confident joint, and the pixels that are called wrong."""
        if at.epoch < self.switch(at) or self.handed_over:
            return {}
        classes = train.sizes.shape[1]
        parts = ((part.index, confident.self_confidence(p, part.label).flatten()) for part, p in self.judged(train))
        threshold = confident.thresholds(total(train, parts, torch.zeros(2 * classes).double()).view(2, -1))
        parts = ((part.index, confident.evidence(p, part.label, threshold).flat()) for part, p in self.judged(train))
        found = Evidence.of(total(train, parts, Evidence.none(classes).flat()), classes)
        limit = confident.limits(found, self.config.prune)
        for part, prob in self.judged(train):
            wrong = confident.flagged(prob, part.label, limit, self.config.prune)
            train.write("refined", part.index, torch.where(wrong, prob.argmax(1), part.label), *part.place)
        self.handed_over.fill_(True)
        return {}

    def judged(self, train: TrainSet) -> Iterator[tuple[Batch, Tensor]]:
        """This rank's imperfect cases, part by part, with their probabilities by the teacher that never saw them."""
        for part in parts(train):
            part = part.to(self.device)
            for half, net in enumerate(reversed(self.teachers)):
                rows = part.rows((part.index % 2 == half) & (part.trust != Trust.CLEAN))
                if len(rows):
                    yield rows.core, rows.own(net(rows.image).float()).softmax(1)

    def predict(self, image: Tensor) -> Tensor:
        nets = [self.student] if self.handed_over else list(self.teachers)
        return torch.stack([net(image).float().softmax(1) for net in nets]).mean(0)


def total(train: TrainSet, portions: Iterable[tuple[Tensor, Tensor]], nothing: Tensor) -> Tensor:
    """The sum of vectors (V,) over portions of cases (M,) and over ranks, from ``nothing``.

    Each rank's sum is gathered in the row of one of its cases, and in pieces, for there is a row for every case.
    """
    first, mine = torch.zeros(0, dtype=torch.int64), nothing
    for index, vector in portions:
        first, mine = index[:1], mine.to(vector) + vector
    return torch.cat([train.gather(first, piece.expand(len(first), -1)).sum(0) for piece in mine.split(PIECE)])
