"""Confident learning: which given labels are wrong, by out-of-sample probabilities (Northcutt et al., JAIR 2021).

Of K classes and all annotated pixels together, as cleanlab 2.8 does it. A dataset is read twice, in any portions, whose
results are added up: ``self_confidence`` gives the thresholds, ``evidence`` the confident joint and histograms. Both
have a fixed size. ``limits`` turns them into scores below which ``flagged`` calls a pixel wrong, in a third reading.
``find`` does all of it at once with exact ranks, for what fits in memory. Probabilities are (B, K, *S).

Ranks by histogram: a score falls into one of 256 bins for each factor of two, so bins are 0.4 % wide at most; those
below 2^-24 share one. A bin is taken as a whole, if more than half of it is wanted. Exact ranks take all pixels that
are tied with the last one; without ties they are cleanlab's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..types import IGNORE

Rule = Literal["prune_by_class", "prune_by_noise_rate", "both", "segmentation"]
"""cleanlab's filters: of each given class i, the n_i pixels of lowest p_i; of each pair, the C_ij of largest p_j - p_i;
what both call wrong; or of all classes together, the lowest p_i, as many as are surely of another class."""

SLACK = 1e-6  # cleanlab's, in comparisons with a threshold
_BITS = 8  # 2^8 bins to a factor of two
_SHIFT, _BASE = 23 - _BITS, (127 - 24) << _BITS
BINS = (25 << _BITS) + 1  # up to 2, the largest score


@dataclass(frozen=True)
class Evidence:
    """What pixels say about K classes, all int64; the sum over portions (``flat``) is that of the whole.

    given (K,): pixels of each given class. joint (K, K): given class i, confidently of class j, C_ij.
    elsewhere (): pixels whose most probable class is confident, and not the given one.
    histogram (K, K, BINS): of the ``_suspicion`` [i, j].
    """

    given: Tensor
    joint: Tensor
    elsewhere: Tensor
    histogram: Tensor

    def flat(self) -> Tensor:
        """All of it as one vector."""
        return torch.cat([t.flatten() for t in (self.given, self.joint, self.elsewhere, self.histogram)])

    @classmethod
    def none(cls, classes: int) -> Evidence:
        """Of no pixels."""
        return cls.of(torch.zeros(classes + classes**2 * (1 + BINS) + 1, dtype=torch.int64), classes)

    @classmethod
    def of(cls, flat: Tensor, classes: int) -> Evidence:
        """The inverse of ``flat``."""
        given, joint, elsewhere, histogram = flat.split((classes, classes**2, 1, len(flat) - classes**2 - classes - 1))
        return cls(given, joint.view(classes, -1), elsewhere.view(()), histogram.view(classes, classes, -1))


def self_confidence(prob: Tensor, label: Tensor) -> Tensor:
    """Sums of p_k over the pixels given class k, and their number: (2, K) float64. First reading."""
    p, y = _pixels(prob, label)
    own = p.gather(0, y[None])[0].double()
    return torch.stack((torch.bincount(y, own, len(p)), torch.bincount(y, minlength=len(p)).double()))


def thresholds(sums: Tensor) -> Tensor:
    """t_k, the mean self-confidence of each class, (K,) float64; no pixel is confident in a class never given."""
    total, count = sums
    return torch.where(count > 0, total / count.clamp_min(1), torch.inf).clamp_min(2 * SLACK)


def evidence(prob: Tensor, label: Tensor, threshold: Tensor) -> Evidence:
    """The confident joint and all that ``limits`` needs. Second reading."""
    p, y = _pixels(prob, label)
    kind = torch.arange(len(p), device=y.device, dtype=torch.int32).unsqueeze(1) + y.int() * len(p)
    place = _bin(_suspicion(p, y)).add_(kind.mul_(BINS))
    histogram = torch.bincount(place.flatten(), minlength=len(p) ** 2 * BINS)
    return _counted(p, y, threshold, histogram.view(len(p), len(p), BINS))


def numbers(found: Evidence) -> Tensor:
    """How many pixels are wrong, (K, K) int64 on the CPU: [i, j] given i and in truth j, [i, i] given i at all.

    The joint's diagonal is 1 at least, its rows are scaled to the pixels of each given class and rounded so that they
    keep their sums; and of every class at least one pixel is right.
    """
    given, joint = found.given.cpu(), found.joint.double().cpu()
    joint.diagonal().clamp_min_(1)
    joint = joint / joint.sum(1, keepdim=True) * given.unsqueeze(1)
    joint = _rounded(joint / joint.sum().clamp_min(1e-100) * given.sum())
    right = joint.diagonal().clamp_min(1)
    others = (joint.count_nonzero(1) - 1).clamp_min(1)
    wrong = (joint - ((right - joint.diagonal()) / others).unsqueeze(1)).clamp_min(0).long()
    wrong.diagonal().copy_((given - right).clamp_min(0))
    return wrong


def limits(found: Evidence, rule: Rule) -> Tensor:
    """The largest score (K, K) float32 at which a pixel is wrong, -1 for none; from the sums over all portions."""
    number, histogram = numbers(found), found.histogram.cpu()
    if rule == "segmentation":
        histogram, number = histogram.diagonal().sum(1).expand_as(histogram), found.elsewhere.cpu().expand_as(number)
    held = torch.nn.functional.pad(histogram.cumsum(2), (1, 0))  # in the first 0, 1, ..., BINS bins
    above = torch.searchsorted(held, number.unsqueeze(2).contiguous())
    below = (above - 1).clamp_min(0)
    over, under = held.gather(2, above) - number.unsqueeze(2), number.unsqueeze(2) - held.gather(2, below)
    return _edge(torch.where(over < under, above, below) * (number > 0).unsqueeze(2)).squeeze(2)


def flagged(prob: Tensor, label: Tensor, limit: Tensor, rule: Rule) -> Tensor:
    """Which labels are wrong, (B, *S) bool: never one that is also the most probable class. Third reading."""
    wrong = torch.zeros_like(label, dtype=torch.bool)
    p, y = _pixels(prob, label)
    score, limit = _suspicion(p, y), limit.to(p)
    below = (score <= limit.T.contiguous().index_select(1, y)).byte()
    own = below.gather(0, y[None])[0].bool()
    other = below.scatter_(0, y[None], 0).amax(0).bool()
    pick = {"prune_by_class": own, "prune_by_noise_rate": other, "both": own & other, "segmentation": own}[rule]
    wrong[label != IGNORE] = pick & (p.max(0).indices != y)
    return wrong


@torch.no_grad()
def find(prob: Tensor, label: Tensor, rule: Rule = "both") -> Tensor:
    """Which labels are wrong, (B, *S) bool, with exact ranks over all of them."""
    p, y = _pixels(prob, label)
    found = _counted(p, y, thresholds(self_confidence(prob, label)), y.new_zeros(0))
    score, classes = _suspicion(p, y), range(len(p))
    limit = score.new_full((len(p), len(p)), -1)
    if rule == "segmentation":
        if number := int(found.elsewhere):
            limit.diagonal().fill_(score.gather(0, y[None])[0].kthvalue(number).values)
        return flagged(prob, label, limit, rule)
    wanted = numbers(found).tolist()
    for i, rows in ((i, score.index_select(1, (y == i).nonzero().squeeze(1))) for i in classes):
        for j in (j for j in classes if wanted[i][j]):
            limit[i, j] = rows[j].kthvalue(wanted[i][j]).values
    return flagged(prob, label, limit, rule)


def _pixels(prob: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The N annotated pixels: probabilities (K, N), labels (N,)."""
    p, y = prob.transpose(0, 1).flatten(1), label.flatten()
    seen = (y != IGNORE).nonzero().squeeze(1)
    return (p, y) if len(seen) == len(y) else (p.index_select(1, seen), y.index_select(0, seen))


def _counted(p: Tensor, y: Tensor, threshold: Tensor, histogram: Tensor) -> Evidence:
    """Of pixels (K, N): one that is confident in several classes counts for the most probable one."""
    classes, least = len(p), (threshold - SLACK).to(p)
    most, best = p.max(0)
    sure, place = (p >= least.unsqueeze(1)).to(p), torch.arange(classes, device=p.device).to(p)
    many, only = torch.stack((torch.ones_like(place), place)) @ sure
    guess = torch.where(many > 1, best, only.long())
    pair = torch.where(many > 0, y * classes + guess, classes**2)
    joint = torch.bincount(pair, minlength=classes**2 + 1)[:-1].view(classes, classes)
    elsewhere = ((most >= least[best]) & (best != y)).sum()
    return Evidence(torch.bincount(y, minlength=classes), joint, elsewhere, histogram)


def _suspicion(p: Tensor, y: Tensor) -> Tensor:
    """(K, N) in [0, 2], small where a label is doubtful: p_i in the row of the given class i, 1 - (p_j - p_i) else."""
    own = p.gather(0, y[None])
    return (1 - p).add_(own).scatter_(0, y[None], own)


def _bin(score: Tensor) -> Tensor:
    """The bin of each score, int32: the leading bits of a float32, which are ordered as the numbers are."""
    return score.float().clamp(2.0**-24, 2).view(torch.int32).bitwise_right_shift_(_SHIFT).sub_(_BASE)


def _edge(bins: Tensor) -> Tensor:
    """The largest float32 in the first so many bins; -1 for none."""
    bits = ((bins + _BASE) << _SHIFT) - 1
    return torch.where(bins > 0, bits.to(torch.int32).view(torch.float32), -1.0)


def _rounded(joint: Tensor) -> Tensor:
    """Whole numbers of the same row sums: what rounding adds or loses goes to the entries it is least wrong for."""
    whole = joint.round()
    rest = joint.sum(1).round() - whole.sum(1)
    for row, off, more in zip(whole, joint - whole, rest.tolist(), strict=True):
        row[off.argsort(descending=more > 0)[: abs(int(more))]] += 1 if more > 0 else -1
    return whole.long()
