"""The mean teacher, and what several of its passes say together."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def frozen_copy(net: Net) -> Net:
    """The same network again, without gradients."""
    return copy.deepcopy(net).requires_grad_(False)


@torch.no_grad()
def ema_(teacher: nn.Module, student: nn.Module, decay: float, step: int) -> None:
    """teacher <- d teacher + (1 - d) student, d = min(1 - 1 / (step + 1), decay); after the ``step``-th update, from 0.

    Parameters and the buffers that are averages, too; counters are copied. Tarvainen & Valpola, NeurIPS 2017.
    """
    decay = min(1 - 1 / (step + 1), decay)
    everything = (chain(net.parameters(), net.buffers()) for net in (teacher, student))
    for old, new in zip(*everything, strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def perturbed(image: Tensor, sd: float, cap: float = math.inf) -> Tensor:
    """``image`` plus Gaussian noise, clipped at ``cap``: a new draw for every value. UA-MT (Yu et al., MICCAI 2019).

    Drawn flat and laid out like the image: torch draws ten times slower into other layouts.
    """
    layout = torch.empty_like(image)
    noise = torch.randn(image.numel(), dtype=image.dtype, device=image.device).mul_(sd).clamp_(-cap, cap)
    return image + noise.as_strided(layout.shape, layout.stride())


@dataclass(frozen=True)
class Fused:
    """What m passes say together: the mean (B, K, *S), the weighted vote (B, K, *S), the variance (B,)."""

    mean: Tensor
    vote: Tensor
    variance: Tensor


def margins(logits: Tensor) -> Tensor:
    """Logits (B, K, *S) against the first class, (B, K - 1, *S): all that a softmax depends on, exact in half precision
    even where it saturates."""
    return logits[:, 1:] - logits[:, :1]


def probabilities(margin: Tensor) -> Tensor:
    """(B, K - 1, *S) margins -> (B, K, *S) float32."""
    return F.pad(margin.float(), (0, 0) * (margin.ndim - 2) + (1, 0)).softmax(1)


def fuse(passes: Sequence[Tensor], eps: float = 1e-6) -> Fused:
    """m perturbed passes, as ``margins`` (B, K - 1, *S), told one after another. ALC Eqs. 4-7.

    Eqs. 5-6: a pass weighs exp(-H), H = KL(mean || pass) at the pixel, summed over classes; as sum_c mean_c log mean_c
    is common to all passes, exp(sum_c mean_c log pass_c) weighs the same.
    Eq. 7, bracket moved so that it is a variance: the mean over pixels of mean_j ||pass_j - mean||^2.
    """
    mean = probabilities(passes[0])
    for margin in passes[1:]:
        mean += probabilities(margin)
    mean /= len(passes)
    vote, total = torch.zeros_like(mean), torch.zeros_like(mean[:, :1])
    variance = mean.new_zeros(len(mean))
    for margin in passes:
        prob = probabilities(margin)
        weight = (mean * (prob + eps).log()).sum(1, keepdim=True).exp()
        vote += weight * prob
        total += weight
        variance += (prob - mean).square().sum(1).flatten(1).mean(1) / len(passes)
    return Fused(mean, vote / total, variance)
