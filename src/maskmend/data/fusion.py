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
STEPS = 10_000
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
    matrix for each rater. How well each draws is found by EM from the box around all that anybody drew and ``margin``
    pixels more; outside of it all agree. Where a rater has no opinion the others decide, and nothing is said of that
    rater. Zero where nobody has one.

    Tests hold it to the answers of SimpleITK's ``STAPLE`` and ``MultiLabelSTAPLE``, which are the same. Sums run over
    the combinations of votes that there are, not over pixels: on a volume, minutes become a second.
    """
    prob = average(labels, classes)
    box = around(labels, margin)
    votes = np.stack([label[box].ravel() for label in labels])
    if (votes == votes[:1]).all():
        return prob
    place = np.zeros(votes.shape[1], np.int64)
    for vote in votes:  # numbers each combination of votes, without a gap
        place = place * (classes + 1) + vote + 1
        place = (np.cumsum(np.bincount(place) > 0) - 1)[place]
    patterns = np.empty((len(votes), place.max() + 1), votes.dtype)
    patterns[:, place] = votes
    prob[:, *box] = _em(patterns, np.bincount(place), classes).astype(np.float32)[:, place].reshape(prob[:, *box].shape)
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
    label = majority(labels).astype(np.int16)
    if rule == "staple":
        box = around(labels)  # all agree outside
        label[box] = likeliest(staple([each[box] for each in labels], classes))
    return label


def likeliest(prob: NDArray[Any]) -> NDArray[np.int16]:
    """The class of the largest share (K, *S), the lowest where classes tie, (*S); ``IGNORE`` where all are zero."""
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


def around(labels: Labels, margin: int = MARGIN) -> tuple[slice, ...]:
    """The smallest box around all that anybody drew, ``margin`` pixels wider on each side; everything if nobody did."""
    drawn: NDArray[np.bool_] = np.logical_or.reduce([label > 0 for label in labels])
    if not drawn.any():
        return (slice(None),) * drawn.ndim
    axes = range(drawn.ndim)
    sides = [np.flatnonzero(drawn.any(tuple(a for a in axes if a != axis))) for axis in axes]
    around = tuple(slice(max(int(side[0]) - margin, 0), int(side[-1]) + 1 + margin) for side in sides)
    return around


def rate(labels: Labels, prob: NDArray[Any], margin: int = MARGIN) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sensitivity and specificity of each rater for each class, (R, K) both, against a fused label ``prob`` (K, *S).

    The M step of STAPLE, in the same box: of STAPLE's own probabilities it is what STAPLE estimates; of a one-hot
    label, the usual shares of pixels. NaN where there is nothing to be right about.
    """
    box = around(labels, margin)
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


def _em(patterns: NDArray[Any], count: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """P(class | votes) of each combination of votes (R, P), of which there are ``count`` (P,) pixels: (K, P).

    It begins, as SimpleITK does, at the mean vote of two classes, and at the undisputed majority of more.
    """
    hot = np.stack([patterns == value for value in range(classes)], 1).astype(float)  # (R, K, P)
    votes = hot.sum(0)
    weight: NDArray[np.float64] = votes / np.maximum(votes.sum(0), 1)
    prior = (votes * count).sum(1) / (votes * count).sum()
    if classes > 2:
        most = votes == votes.max(0)
        weight = (most & (most.sum(0) == 1)).astype(float)
    confusion = np.zeros((len(patterns), classes, classes))
    for _ in range(STEPS):
        before, confusion = confusion, _confusion(hot, weight * count)
        log = np.log(np.maximum(prior, LEAST))[:, None] + np.einsum("rjp,rjk->kp", hot, np.log(confusion))
        weight = np.exp(log - log.max(0))
        weight *= votes.any(0) / weight.sum(0)
        if abs(confusion - before).max() < 1e-8:
            break
    return weight


def _confusion(hot: NDArray[Any], weight: NDArray[Any]) -> NDArray[np.float64]:
    """P(a rater says j | the pixel is k) as [rater, j, k], (R, K, K), from votes (R, K, P) and how many pixels of each
    class there are (K, P). Who never had to do with a class is taken to know it."""
    said = np.einsum("rjp,kp->rjk", hot, weight)
    total = said.sum(1, keepdims=True)
    share: NDArray[np.float64] = np.where(total > 0, said / np.maximum(total, LEAST), np.eye(len(weight)))
    return np.maximum(share, LEAST)
