"""What methods take for granted, and a training set can be seen to break: a sentence each, before the first step, or
before losses decide."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..types import TrainSet, Trust
from .gmm import apart

CLEAR = 2.0
"""Standard deviations between the means of two groups of losses, from which they are two (Ashman et al., AJ 1994)."""


def shares(train: TrainSet) -> Tensor:
    """Of all annotated pixels, the share given each class, (K,) float64."""
    sizes = train.sizes.sum(0).double()
    return sizes / sizes.sum().clamp_min(1)


def erased(train: TrainSet, tau: float, ranking: str) -> list[str]:
    """Classes that may be left out as a whole, where the share ``tau`` is dropped of "all" pixels ranked together."""
    small = [
        (name, share) for name, share in zip(train.classes, shares(train).tolist(), strict=True) if 0 < share <= tau
    ]
    if not small or ranking != "all":
        return []
    said = " and ".join(f"{name!r} ({share:.2%})" for name, share in small)
    return [
        f"method.tau={tau:g} drops {tau:.2%} of the pixels, and the given masks hold no more of {said}, which can "
        "be left out as a whole and erased; set method.ranking=class, or a lower method.tau."
    ]


def uncovered(train: TrainSet) -> list[str]:
    """Classes that other masks hold and no clean one does; nothing where no case is clean."""
    clean, held = train.trust == Trust.CLEAN, train.sizes > 0
    if not clean.any():
        return []
    missing = (held.any(0) & ~held[clean].any(0)).tolist()
    named = " and ".join(repr(name) for name, absent in zip(train.classes, missing, strict=True) if absent)
    return [
        f"no clean mask holds {named}, so nothing tells right from wrong there; mark a good case that has it as clean "
        "in supervision.csv."
    ] * bool(named)


def faint(train: TrainSet, least: float, instead: str) -> list[str]:
    """A foreground of less than the share ``least`` of the pixels, which losses that weigh no class leave out;
    ``instead``: the word that does not."""
    share = 1 - float(shares(train)[0])
    return [
        f"the foreground is {share:.2%} of the pixels, and this loss weighs no class, so that background alone may be "
        f"learnt; set {instead}."
    ] * (0 < share < least)


def unparted(losses: Mapping[str, Tensor]) -> list[str]:
    """Of losses (N,) by what has them, those that do not fall into two groups, of right masks and of wrong ones."""
    return [
        f"the losses of {name} do not fall into two groups ({apart(loss):.1f} standard deviations apart, and {CLEAR:g} "
        "are clear), so they hardly tell wrong masks from right ones; maskmend audit looks at more than losses."
        for name, loss in losses.items()
        if len(loss) and apart(loss) < CLEAR
    ]
