"""Confident learning: which given labels are wrong, by out-of-sample probabilities (Northcutt et al., JAIR 2021).

Of K classes and all annotated pixels together, as cleanlab does it. A dataset is read twice, in any portions, whose
results are added up: ``self_confidence`` gives the thresholds, ``evidence`` the confident joint and histograms. Both
have a fixed size. ``limits`` turns them into scores below which ``flagged`` calls a pixel wrong, in a third reading.
``find`` does all of it at once with exact ranks, for what fits in memory. Probabilities are (B, K, *S) and sum to one.

Only doubtful pixels are ranked, the rest is counted. What may be flagged has p_j > p_i for some j, so p_i < 1/2 and
its scores, p_i and 1 - (p_j - p_i) for all j, are below 1/2 and 3/2 (below 1 of two classes). A pixel of p_i > 3/4 has
p_j < 1/4 and larger scores throughout (of two classes p_i > 1/2 will do): it ranks behind all that may be flagged,
which therefore have the same ranks without it. Nor is it confident in another class, if all t_j > 1 - p_i.

Ranks by histogram: a score falls into one of 256 bins for each factor of two, so bins are 0.4 % wide at most; those
below 2^-24 share one. A bin is taken as a whole, if more than half of it is wanted. Exact ranks take all pixels that
are tied with the last one; without ties they are cleanlab's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..types import IGNORE

Rule = Literal["prune_by_class", "prune_by_noise_rate", "both", "segmentation"]
"""cleanlab's filters: of each given class i, the n_i pixels of lowest p_i; of each pair, the C_ij of largest p_j - p_i;
what both call wrong; or of all classes together, the lowest p_i, as many as are surely of another class."""

SLACK = 1e-6  # cleanlab's, in comparisons with a threshold and with the largest probability
_BITS = 8  # 2^8 bins to a factor of two
_SHIFT, _BASE = 23 - _BITS, (127 - 24) << _BITS
BINS = (25 << _BITS) + 1  # up to 2, the largest score


@dataclass(frozen=True)
class Evidence:
    """What pixels say about K classes, all int64; the sum over portions (``flat``) is that of the whole.

    given (K,): pixels of each given class. joint (K, K): given class i, confidently of class j, C_ij.
    elsewhere (): pixels whose most probable class is confident, and not the given one.
    histogram (K, K, BINS): of the ``_suspicion`` [i, j] of doubtful pixels.
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
        bins = len(histogram) // classes**2
        return cls(given, joint.view(classes, -1), elsewhere.view(()), histogram.view(classes, classes, bins))


def self_confidence(prob: Tensor, label: Tensor) -> Tensor:
    """Sums of p_k over the pixels given class k, and their number: (2, K) float64. First reading."""
    kinds, own, given = prob.shape[1] + 1, _own(prob, label).double(), label.flatten() + 1
    return torch.stack((torch.bincount(given, own, kinds), torch.bincount(given, minlength=kinds).double()))[:, 1:]


def thresholds(sums: Tensor) -> Tensor:
    """t_k, the mean self-confidence of each class, (K,) float64; no pixel is confident in a class never given."""
    total, count = sums
    return torch.where(count > 0, total / count.clamp_min(1), torch.inf).clamp_min(2 * SLACK)


def evidence(prob: Tensor, label: Tensor, threshold: Tensor) -> Evidence:
    """The confident joint and all that ``limits`` needs. Second reading."""
    found, p, y = _counted(prob, label, threshold)
    kind = torch.arange(len(p), device=y.device, dtype=torch.int32).unsqueeze(1) + y.int() * len(p)
    place = _bin(_suspicion(p, y)).add_(kind.mul_(BINS))
    histogram = torch.bincount(place.flatten(), minlength=len(p) ** 2 * BINS)
    return replace(found, histogram=histogram.view(len(p), len(p), BINS))


def numbers(found: Evidence) -> Tensor:
    """How many pixels are wrong, (K, K) int64 on the CPU: [i, j] given i and in truth j, [i, i] given i at all.

    The joint's diagonal is 1 at least, its rows are scaled to the pixels of each given class and rounded so that they
    keep their sums; and of every class at least one pixel is right.
    """
    given, joint = found.given.cpu().numpy(), found.joint.cpu().numpy().astype(float, order="F")
    np.fill_diagonal(joint, joint.diagonal().clip(1))
    joint = (joint.T / joint.sum(1) * given).T  # cleanlab's order, to the last bit: it decides between equal remainders
    joint = _rounded(joint / joint.sum().clip(1e-100) * given.sum())
    right = joint.diagonal().clip(1)
    others = (np.count_nonzero(joint, axis=1) - 1).clip(1)
    wrong = (joint - ((right - joint.diagonal()) / others)[:, None]).clip(0).astype(int)
    np.fill_diagonal(wrong, (given - right).clip(0))
    return torch.from_numpy(wrong)


def limits(found: Evidence, rule: Rule) -> Tensor:
    """The largest score (K, K) float32 at which a pixel is wrong, -1 for none; from the sums over all portions."""
    number, histogram = numbers(found), found.histogram.cpu()
    if rule == "segmentation":
        histogram, number = histogram.diagonal().sum(1).expand_as(histogram), found.elsewhere.cpu().expand_as(number)
    held = torch.nn.functional.pad(histogram.cumsum(2), (1, 0))  # in the first 0, 1, ..., BINS bins
    above = torch.searchsorted(held, number.unsqueeze(2).contiguous()).clamp_max(BINS)  # all that are doubtful
    below = (above - 1).clamp_min(0)
    over, under = held.gather(2, above) - number.unsqueeze(2), number.unsqueeze(2) - held.gather(2, below)
    return _edge(torch.where(over < under, above, below) * (number > 0).unsqueeze(2)).squeeze(2)


def flagged(prob: Tensor, label: Tensor, limit: Tensor, rule: Rule) -> Tensor:
    """Which labels are wrong, (B, *S) bool: never one that is also the most probable class. Third reading.

    Nor one that is within ``SLACK`` of it; as cleanlab does it, not in its filter for segmentation.
    """
    slack = 0 if rule == "segmentation" else SLACK
    wrong, given = label.new_zeros(label.numel(), dtype=torch.bool), label.flatten()
    places = _places((prob.amax(1).flatten() > _own(prob, label) + slack) & (given != IGNORE))
    p, y = _at(prob, places), given.index_select(0, places)
    below = (_suspicion(p, y) <= limit.to(p).T.contiguous().index_select(1, y)).byte()
    own = below.gather(0, y[None])[0].bool()
    other = below.scatter_(0, y[None], 0).amax(0).bool()
    pick = {"prune_by_class": own, "prune_by_noise_rate": other, "both": own & other, "segmentation": own}[rule]
    return wrong.index_copy_(0, places, pick).view_as(label)


@torch.no_grad()
def find(prob: Tensor, label: Tensor, rule: Rule = "both") -> Tensor:
    """Which labels are wrong, (B, *S) bool, with exact ranks over all of them."""
    cases, classes = list(zip(prob.split(1), label.split(1), strict=True)), prob.shape[1]
    threshold = thresholds(torch.stack([self_confidence(*case) for case in cases]).sum(0))
    parts = [_counted(*case, threshold) for case in cases]
    found = Evidence.of(torch.stack([counts.flat() for counts, _, _ in parts]).sum(0), classes)
    p, y = torch.cat([p for _, p, _ in parts], 1), torch.cat([y for _, _, y in parts])
    limit = _exact(p, y, found, rule)
    return torch.cat([flagged(*case, limit, rule) for case in cases])


def _exact(p: Tensor, y: Tensor, found: Evidence, rule: Rule) -> Tensor:
    """What ``limits`` are to a bin, from the doubtful pixels (K, M) themselves."""
    limit = p.new_full((len(p), len(p)), -1)
    if rule == "segmentation":
        if number := int(found.elsewhere):
            limit.fill_(_own(p[None], y[None]).kthvalue(number).values)
        return limit
    wanted = numbers(found).tolist()
    for i, places in enumerate(_places(y == k) for k in range(len(p))):
        for j, score in enumerate(_suspicion(p.index_select(1, places), y.index_select(0, places))):
            if number := min(wanted[i][j], len(score)):  # all that are doubtful, if more are wanted
                limit[i, j] = score.kthvalue(number).values
    return limit


def _counted(prob: Tensor, label: Tensor, threshold: Tensor) -> tuple[Evidence, Tensor, Tensor]:
    """Evidence without its histogram, and the doubtful pixels: probabilities (K, M), labels (M,)."""
    classes, least = prob.shape[1], (threshold - SLACK).to(prob)
    given, own = label.flatten() + 1, _own(prob, label)  # 0 is IGNORE
    sure = own >= torch.nn.functional.pad(least, (1, 0)).index_select(0, given)
    counts = torch.bincount(given.short().mul_(2).add_(sure), minlength=2 * classes + 2).view(-1, 2)[1:]
    doubt = max(0.5 if classes == 2 else 0.75, 1 - float(least.min())) + 0.01  # sums are rounded
    places = _places((own <= doubt) & (given > 0))
    p, y = _at(prob, places), label.flatten().index_select(0, places)
    moved, elsewhere = _elsewhere(p, y, sure.index_select(0, places), least)
    return Evidence(counts.sum(1), counts[:, 1].diag() + moved, elsewhere, y.new_zeros(0)), p, y


def _elsewhere(p: Tensor, y: Tensor, sure: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """What pixels (K, M) add to a joint (K, K) in which those ``sure`` of their given class have all been counted.

    One that is confident in several classes counts for the most probable one. Second, the evidence's ``elsewhere``.
    """
    classes, above = len(p), p >= least.unsqueeze(1)
    many = above.byte().sum(0, dtype=torch.uint8)
    places = _places(many > sure)  # confident in another class
    p, y, above, many, sure = (t.index_select(-1, places) for t in (p, y, above, many, sure))
    best, rank = p.max(0).indices, torch.arange(classes, device=p.device).to(p)
    guess = torch.where(many > 1, best, (rank @ above.to(p)).long())
    joint = torch.bincount(y * classes + guess, minlength=classes**2).view(classes, -1)
    joint.diagonal().sub_(torch.bincount(y[sure], minlength=classes))
    return joint, (above.gather(0, best[None])[0] & (best != y)).sum()


def _places(mask: Tensor) -> Tensor:
    """Where a mask (N,) is true; on the CPU by numpy, which is four times as fast."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def _at(prob: Tensor, places: Tensor) -> Tensor:
    """The probabilities (K, M) of pixels (M,) in the order of the flat labels."""
    return prob.transpose(0, 1).flatten(1).index_select(1, places)


def _own(prob: Tensor, label: Tensor) -> Tensor:
    """Of all pixels, (N,) in the order of the flat labels, the given class's probability; another's where IGNORE."""
    cases, classes, size = len(prob), prob.shape[1], label.shape[1:].numel()
    case, pixel = (torch.arange(n, device=label.device) for n in (cases, size))
    place = label.flatten(1).clamp_min(0).mul_(size).add_(pixel).add_(case.mul_(classes * size).unsqueeze(1))
    return prob.flatten().index_select(0, place.flatten())


def _suspicion(p: Tensor, y: Tensor) -> Tensor:
    """(K, N) in [0, 2], small where a label is doubtful: p_i in the row of the given class i, 1 - (p_j - p_i) else."""
    own = _own(p[None], y[None])
    return (1 - p).add_(own).scatter_(0, y[None], own[None])


def _bin(score: Tensor) -> Tensor:
    """The bin of each score, int32: the leading bits of a float32, which are ordered as the numbers are."""
    return score.float().clamp(2.0**-24, 2).view(torch.int32).bitwise_right_shift_(_SHIFT).sub_(_BASE)


def _edge(bins: Tensor) -> Tensor:
    """The largest float32 in the first so many bins; -1 for none."""
    bits = ((bins + _BASE) << _SHIFT) - 1
    return torch.where(bins > 0, bits.to(torch.int32).view(torch.float32), -1.0)


def _rounded(joint: np.ndarray) -> np.ndarray:
    """Whole numbers of the same row sums: what rounding adds or loses goes to the entries it is least wrong for.

    Of equal ones, to those that cleanlab's unstable sort takes on the same machine.
    """
    whole = joint.round()
    for row, exact in zip(whole, joint, strict=True):
        more = int(exact.sum().round() - row.sum())
        row[np.argsort(exact - row)[:: 1 if more < 0 else -1][: abs(more)]] += np.sign(more)
    return whole
