"""Pooling over superpixels. A map of superpixels is (B, *S) int64, ids from 0 in each case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ..errors import InputError
from ..types import IGNORE, Batch, TrainSet
from .losses import one_hot

EPS = 1e-7
"""Least probability of a superpixel in a logarithm."""


def totals(value: Tensor, superpixel: Tensor) -> Tensor:
    """Sums of (B, C, *S) over each superpixel, (B, C, P)."""
    count = int(superpixel.max()) + 1
    ids = superpixel.flatten(1).unsqueeze(1).expand(-1, value.shape[1], -1)
    return value.new_zeros(*value.shape[:2], count).scatter_add_(2, ids, value.flatten(2))


def pool(value: Tensor, superpixel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of (B, C, *S) over each superpixel, (B, C, P), and sizes (B, P), pixels. GSD-Net Eq. 12, SP-guided Eq. 1."""
    sums = totals(torch.cat((value, torch.ones_like(value[:, :1])), dim=1), superpixel)
    return sums[:, :-1] / sums[:, -1:].clamp_min(1), sums[:, -1]


def unpool(value: Tensor, superpixel: Tensor) -> Tensor:
    """One value per superpixel (B, P) -> that value on each of its pixels (B, *S)."""
    return value.gather(1, superpixel.flatten(1)).view_as(superpixel)


def vote(prob: Tensor, superpixel: Tensor) -> Tensor:
    """The most probable class of each pixel's superpixel, (B, K, *S) -> (B, *S) int64. GSD-Net Eqs. 12-13."""
    return unpool(pool(prob, superpixel)[0].argmax(1), superpixel)


@dataclass(frozen=True)
class Units:
    """What is kept or relabelled as a whole, G in each case: superpixels, or their parts of one given class.

    loss (B, G): SP-guided Eq. 2. size (B, G): annotated pixels. given (B, G): the given class, of most pixels.
    prob (B, G): that class' probability, of both networks. vote (B, P): the most probable class of each superpixel.
    """

    loss: Tensor
    size: Tensor
    given: Tensor
    prob: Tensor
    vote: Tensor


def judge(z1: Tensor, z2: Tensor, label: Tensor, superpixel: Tensor, agreement: float, by_class: bool) -> Units:
    """What two networks, by logits (B, K, *S), think of the superpixels of a label (B, *S). SP-guided Eqs. 1, 2, 7.

    ``agreement`` is lambda; ``by_class``: the parts of one given class, (B, P K), are the units instead of (B, P).
    """
    return units(evidence(z1, z2, label, superpixel), agreement, by_class)


def evidence(z1: Tensor, z2: Tensor, label: Tensor, superpixel: Tensor) -> Tensor:
    """Sums over superpixels, (B, P, 3 K): the probabilities of two networks by logits (B, K, *S), and the pixels given
    each class by a label (B, *S). Those of the parts of a case, ``summed``, are those of the whole."""
    seen, given = (label != IGNORE).unsqueeze(1), one_hot(label, z1.shape[1])
    p1, p2 = z1.float().softmax(1) * seen, z2.float().softmax(1) * seen
    return totals(torch.cat((p1, p2, given), dim=1), superpixel).transpose(1, 2)


def summed(parts: Iterable[Tensor]) -> Tensor:
    """The sum of (B, P, C), one at least, each with the superpixels up to the last that it holds."""
    parts = iter(parts)
    whole = next(parts)
    for part in parts:
        if whole.shape[1] < part.shape[1]:
            whole, part = part, whole
        whole[:, : part.shape[1]] += part
    return whole


def units(sums: Tensor, agreement: float, by_class: bool) -> Units:
    """What two networks think of superpixels, from their ``evidence`` (B, P, 3 K); the rest is as ``judge`` has it."""
    classes = sums.shape[2] // 3
    count = sums[:, :, 2 * classes :]
    size = count.sum(2)
    p1, p2, soft = (sums / size.clamp_min(1).unsqueeze(2)).chunk(3, dim=2)  # Eq. 1, (B, P, K)
    log1, log2 = p1.clamp_min(EPS).log(), p2.clamp_min(EPS).log()
    differ = ((p1 - p2) * (log1 - log2)).sum(2, keepdim=True)
    loss = -(1 - agreement) * (log1 + log2) + agreement * differ  # Eq. 2, for each class that could be given
    prob = (p1 + p2) / 2
    vote = prob.argmax(2)  # Eq. 7
    if by_class:
        kind = torch.arange(classes, device=sums.device).expand_as(count)
        return Units(loss.flatten(1), count.flatten(1), kind.flatten(1), prob.flatten(1), vote)
    most = soft.argmax(2)
    return Units((soft * loss).sum(2), size, most, prob.gather(2, most.unsqueeze(2)).squeeze(2), vote)


def check_sizes(train: TrainSet, instead: str) -> None:
    """Refuse superpixels so large that a class would mostly be voted away; ``instead``: the word that does without.

    Raises:
        InputError: the median mask of a class has fewer pixels than a superpixel on average, measured on a few cases.
            Masks without the class do not count.
    """
    index, sizes = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)]
    for batch in islice(train.scan(4), 1):
        index.append(batch.index)
        sizes.append(mean_sizes(batch))
    measured = train.gather(torch.cat(index), torch.cat(sizes))
    mean = float(measured[measured > 0].mean())
    setting = "superpixel_pixels" if len(train.shapes[0]) == 2 else "supervoxel_voxels"
    for name, pixels in zip(train.classes, train.sizes.T, strict=True):
        if pixels.any() and (middle := float(pixels[pixels > 0].double().quantile(0.5))) < mean:
            raise InputError(
                f"the median mask of {name!r} has {middle:.0f} pixels, fewer than one superpixel ({mean:.0f}), and "
                f"would be voted away; lower data.sidemaps.{setting} or leave it out, or set {instead}."
            )


def mean_sizes(batch: Batch) -> Tensor:
    """Mean annotated pixels of the superpixels of each case, (B,)."""
    pixels, found = torch.zeros(len(batch)), [[torch.zeros(0, dtype=torch.int64)] for _ in range(len(batch))]
    for part in batch.parts(around=False):
        for b, (ids, label) in enumerate(zip(part.maps["superpixel"], part.label, strict=True)):
            pixels[b] += (label != IGNORE).sum()
            found[b].append(ids[label != IGNORE].unique())
    return pixels / torch.tensor([len(torch.cat(ids).unique()) for ids in found]).clamp_min(1)
