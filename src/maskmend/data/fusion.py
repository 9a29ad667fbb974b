"""One label from those of several raters: majority, STAPLE, one rater's, or the soft average.

Pure functions on arrays; ``choose`` alone looks at a data set. A pixel that a rater left ``IGNORE`` is no opinion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..functional.rng import case_rng
from ..types import IGNORE
from .dataset import Case, Dataset

Fusion = Literal["majority", "staple"]
"""Rules that make one label of all."""
Choice = Literal["random_rater", "cycle"]
"""Rules that take one rater's label for each case, the same every time."""
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
CHOICES: tuple[Choice, ...] = get_args(Choice)
Soft = Literal["average", "staple"]
SOFT: tuple[Soft, ...] = get_args(Soft)
"""Rules that give every class a share of every pixel."""

MARGIN = 5
"""Pixels that STAPLE looks at around all that anybody drew. The more background, the nearer every specificity to 1."""
STEPS = 1000
"""Iterations of STAPLE's EM at most; it stops where nothing moves any more."""
LEAST = 1e-12
"""What no probability falls below, so that two sure raters who contradict each other leave a number."""

Labels = Sequence[NDArray[Any]]
"""Of one case, by rater: (*S) whole numbers each."""


def majority(labels: Labels) -> NDArray[Any]:
    """The class that most of the ``labels`` (*S) give each pixel, the lowest of those that tie, (*S).

    ``IGNORE`` where nobody has an opinion.
    """
    values = {int(value) for label in labels for value in np.unique(label)} - {IGNORE}
    if not values:
        return labels[0].copy()
    lowest, *others = sorted(values)
    winner, most = np.full_like(labels[0], lowest), _votes(labels, lowest)
    for value in others:
        votes = _votes(labels, value)
        winner[votes > most] = value
        most = np.maximum(most, votes)
    if not most.all():
        winner[most == 0] = IGNORE
    return winner


def average(labels: Labels, classes: int) -> NDArray[np.float32]:
    """The share of the raters who call each pixel each class: (K, *S), zero where nobody has an opinion."""
    votes = np.stack([_votes(labels, value) for value in range(classes)]).astype(np.float32)
    votes /= np.maximum(votes.sum(0), 1)
    return votes


def staple(labels: Labels, classes: int, margin: int = MARGIN) -> NDArray[np.float32]:
    """STAPLE: how likely each pixel is of each class, given what all drew and how well each of them draws, (K, *S).

    Warfield et al., IEEE TMI 2004, its W; with more than two classes, Rohlfing et al., IEEE TMI 2004, a confusion
    matrix for each rater. SimpleITK finds by EM how well each rater draws, from the box around all that anybody drew
    and ``margin`` pixels more. Pixels on which a rater has no opinion do not count there; the others decide on them.
    Outside of the box all agree. Zero where nobody has an opinion.
    """
    prob = average(labels, classes)
    box = _box(labels, margin)
    votes = np.stack([label[box].ravel() for label in labels])
    whole = votes[:, (votes != IGNORE).all(0)]
    if (whole == whole[:1]).all():
        return prob
    prior = np.bincount(whole.ravel(), minlength=classes) / whole.size
    found = _posterior(votes, _binary(whole) if classes == 2 else _multi_label(whole, classes), prior)
    prob[:, *box] = np.where((votes != IGNORE).any(0), found, 0).reshape(prob[:, *box].shape)
    return prob


def soft(labels: Labels, rule: Soft, classes: int) -> NDArray[np.float32]:
    """A share of each pixel for each class, (K, *S): ``average`` or ``staple``."""
    return staple(labels, classes) if rule == "staple" else average(labels, classes)


def soft_maps(name: str, classes: int) -> tuple[str, ...]:
    """The side maps that ``name`` stands for: those of each class but the background for one of ``SOFT``, else itself.

    >>> soft_maps("average", 3)
    ('average_1', 'average_2')
    """
    return tuple(f"{name}_{value}" for value in range(1, classes)) if name in SOFT else (name,)


def soft_part(name: str) -> tuple[Soft, int] | None:
    """The rule and the class of one of ``soft_maps``, None of any other map."""
    return next(((rule, int(name[len(rule) + 1 :])) for rule in SOFT if name.startswith(f"{rule}_")), None)


def fuse(labels: Labels, rule: Fusion, classes: int) -> NDArray[np.int16]:
    """One label (*S) of all ``labels``, the lowest class where classes tie; ``IGNORE`` where nobody has an opinion."""
    if rule == "majority":
        return majority(labels).astype(np.int16)
    prob = staple(labels, classes)
    return np.where(prob.any(0), prob.argmax(0), IGNORE).astype(np.int16)


def choose(case: Case, dataset: Dataset, rule: Choice, seed: int = 0) -> Path:
    """The rater's label that stands for ``case``, which has some.

    random_rater: anyone's, by ``seed`` and the case's name, as `maskmend simulate --noise random_rater` draws it
    (GSD-Net, MedIA 2026, Table 6, "Sample"). cycle: the raters in turn, case after case (its released code).
    """
    count = len(case.opinions)
    if rule == "random_rater":
        return case.opinions[int(count * case_rng(seed, case.name).random())]
    return case.opinions[sum(c.name < case.name for c in dataset.train if c.label is not None) % count]


def rate(labels: Labels, prob: NDArray[Any], margin: int = MARGIN) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sensitivity and specificity of each rater for each class, (R, K) both, against a fused label ``prob`` (K, *S).

    The M step of STAPLE, in the same box: of STAPLE's own probabilities it is what STAPLE estimates; of a one-hot
    label, the usual shares of pixels. NaN where there is nothing to be right about.
    """
    box = _box(labels, margin)
    weight = prob[:, *box].reshape(len(prob), -1).astype(np.float64)
    known = weight.any(0)
    sensitivity, specificity = np.empty((2, len(labels), len(prob)))
    for r, label in enumerate(labels):
        drawn = label[box].ravel()
        seen = known & (drawn != IGNORE)
        said = drawn[seen] == np.arange(len(prob))[:, None]
        true = weight[:, seen]
        with np.errstate(invalid="ignore"):
            sensitivity[r] = (true * said).sum(1) / true.sum(1)
            specificity[r] = ((1 - true) * ~said).sum(1) / (1 - true).sum(1)
    return sensitivity, specificity


def disagreement(labels: Labels) -> float:
    """Share of the pixels that anybody drew on which not all who have an opinion agree; 0 where nobody drew any."""
    stack = np.stack(labels)
    top = stack.max(0)
    differ = ((stack != top) & (stack != IGNORE)).any(0)
    return float(differ.sum() / max((top > 0).sum(), 1))


def _votes(labels: Labels, value: int) -> NDArray[np.int16]:
    """How many raters give each pixel this class, (*S)."""
    votes = np.zeros(labels[0].shape, np.int16)
    for label in labels:
        votes += label == value
    return votes


def _box(labels: Labels, margin: int) -> tuple[slice, ...]:
    """The smallest box around all that anybody drew, wider by ``margin`` on each side; everything if nobody did."""
    drawn: NDArray[np.bool_] = np.logical_or.reduce([label > 0 for label in labels])
    if not drawn.any():
        return (slice(None),) * drawn.ndim
    axes = range(drawn.ndim)
    sides = [np.flatnonzero(drawn.any(tuple(a for a in axes if a != axis))) for axis in axes]
    around = tuple(slice(max(int(side[0]) - margin, 0), int(side[-1]) + 1 + margin) for side in sides)
    return around


def _binary(votes: NDArray[Any]) -> NDArray[np.float64]:
    """P(a rater says j | the pixel is k) as [rater, j, k], (R, 2, 2), from their votes (R, M) of 0 and 1."""
    import SimpleITK as sitk

    em: Any = sitk.STAPLEImageFilter()  # type: ignore[no-untyped-call]
    em.SetForegroundValue(1)
    em.SetMaximumIterations(STEPS)
    em.SetNumberOfThreads(1)
    em.Execute(_images(votes))
    p, q = np.array(em.GetSensitivity()), np.array(em.GetSpecificity())
    return np.stack([np.stack([q, 1 - p], 1), np.stack([1 - q, p], 1)], 1)


def _multi_label(votes: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """The same of votes (R, M) of 0 .. K - 1, (R, K, K). Who never says a class is taken to know it when he sees it."""
    import SimpleITK as sitk

    em: Any = sitk.MultiLabelSTAPLEImageFilter()  # type: ignore[no-untyped-call]
    em.SetMaximumNumberOfIterations(STEPS)
    em.SetTerminationUpdateThreshold(1e-7)
    em.SetNumberOfThreads(1)
    em.Execute(_images(votes))
    there = int(votes.max()) + 1
    found = np.tile(np.eye(classes), (len(votes), 1, 1))
    for r in range(len(votes)):
        matrix = np.array(em.GetConfusionMatrix(r)).reshape(there + 1, there)  # the last row: undecided
        drawn = np.flatnonzero(matrix.sum(0) > 0)
        found[r][:there, drawn] = matrix[:there, drawn]
    return found


def _images(votes: NDArray[Any]) -> list[Any]:
    """The votes (R, M) as pictures of one row: where a pixel lies is of no matter to STAPLE."""
    import SimpleITK as sitk

    return [sitk.GetImageFromArray(row[None].astype(np.uint8)) for row in votes]


def _posterior(votes: NDArray[Any], confusion: NDArray[Any], prior: NDArray[Any]) -> NDArray[np.float64]:
    """The E step: P(class | all votes), (K, M), from votes (R, M), P(vote | class) (R, K, K) and the prior (K,)."""
    log = np.repeat(np.log(np.maximum(prior, LEAST))[:, None], votes.shape[1], axis=1)
    for vote, matrix in zip(votes, confusion, strict=True):
        log += np.where(vote == IGNORE, 0.0, np.log(np.maximum(matrix, LEAST)).T[:, vote])
    log -= log.max(0)
    chance = np.exp(log)
    prob: NDArray[np.float64] = chance / chance.sum(0)
    return prob
