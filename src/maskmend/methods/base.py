"""What a method is. One file per method holds one ``Method`` and its ``Config``, and nothing else registers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..functional.assumptions import uncovered
from ..types import Batch, Logs, Progress, TrainSet, Update

Build = Callable[[], nn.Module]
"""Makes one freshly initialised network: (B, C, *S) -> logits (B, K, *S)."""


class Method(nn.Module):
    """A way of learning from imperfect labels: owns its networks, never the loop.

    It is made as ``Method(build, config)``, with the ``Config`` beside it: its parameters, where every default lives,
    with its source.

    Being an ``nn.Module`` is the persistence contract: whatever must survive a resume is a parameter, a buffer,
    or returned by ``get_extra_state``.
    """

    paper: ClassVar[str] = ""
    """Authors, title, venue and year."""
    supervision: ClassVar[tuple[str, ...]] = ("noisy",)
    """Kinds of cases it cannot do without: "clean", "noisy", "unlabeled"."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings of the run, other than its own, that it starts from: {"train": {"batch": ...}}. All can be changed."""
    search: ClassVar[dict[str, tuple[float, ...]]] = {}
    """Parameters that can be searched for, with their candidates: the value of the smallest criterion wins."""
    maps: tuple[str, ...] = ()
    """Side maps it reads from ``batch.maps``; they are prepared and cached for it."""
    sentences: Sequence[str] = ()
    """What ``begin_epoch`` has just found that a person wants to know."""
    searching: bool = False
    """Whether ``step`` shall log the search criterion, as "search"."""

    @property
    def device(self) -> torch.device:
        """Where its networks are: what ``TrainSet.scan`` gives must go there before they see it."""
        return next(self.parameters()).device

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        """One iteration, in the order the paper gives it. Calls ``update`` once per optimiser step."""
        raise NotImplementedError

    def predict(self, image: Tensor) -> Tensor:
        """(B, C, *S) image -> (B, K, *S) class probabilities."""
        raise NotImplementedError

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """Look at the whole training set; refine labels. Runs in eval mode, without gradients."""
        return {}

    def rows(self, batch: Mapping[str, int], trust: Tensor, at: Progress) -> Mapping[str, int]:
        """How many cases of each pool a step takes in this epoch; as many as ``batch`` in all, which ``train.batch``
        says. trust: of the training cases, (N,)."""
        return batch

    def check(self, train: TrainSet) -> None:
        """Look at the training set before the first step.

        Raises:
            InputError: the method cannot work with it.
        """

    def assumptions(self, train: TrainSet) -> list[str]:
        """What the method takes for granted and the training set visibly breaks: a sentence each, of which a person is
        warned before the first step."""
        return uncovered(train) if "clean" in self.supervision else []

    def finished(self) -> bool:
        """Whether training is over before its last epoch; asked after ``begin_epoch``. It never turns back."""
        return False

    def after_backward(self, group: str) -> None:
        """Change the gradients of a group, averaged over ranks, before they are clipped and applied."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Named groups, one optimiser each; most methods have one."""
        return {"main": [p for p in self.parameters() if p.requires_grad]}


def scan(train: TrainSet) -> Iterator[Batch]:
    """This rank's cases, several at a time in 2D."""
    return train.scan(8 if len(train.shapes[0]) == 2 else 1)


def parts(train: TrainSet) -> Iterator[Batch]:
    """This rank's cases, as many at a time as networks see at once: several in 2D, in 3D one or a part of one."""
    return (part for batch in scan(train) for part in batch.parts())
