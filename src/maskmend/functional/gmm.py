"""Two Gaussians on a line of losses: the small ones belong to labels that are right (Deep Self-cleansing Sec. 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NO_RANGE = 1e-6
"""Losses that differ by less are all alike."""
ROUNDS, GAIN = 1000, 1e-6
"""Enough rounds, and a gain of the mean log likelihood small enough, for a fit to have converged."""


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians, that of the smaller mean first; all (2,) float64."""

    mean: Tensor
    var: Tensor
    weight: Tensor

    def posterior(self, value: Tensor) -> Tensor:
        """Chance that each value belongs to the Gaussian of the smaller mean, (N,). Eq. 2."""
        return _joint(value, self).softmax(1)[:, 0]

    @property
    def separation(self) -> float:
        """Distance of the means in pooled standard deviations; 2 and more is clear (Ashman et al., AJ 1994)."""
        return float((self.mean[1] - self.mean[0]) / self.var.mean().sqrt())


def apart(loss: Tensor) -> float:
    """``Mixture.separation`` of losses (N,); 0 where they are all alike."""
    if not len(loss) or (span := loss.max() - loss.min()) < NO_RANGE:
        return 0.0
    return fit((loss - loss.min()).double() / span, ROUNDS, GAIN).separation


def fit(value: Tensor, iterations: int = 10, tolerance: float = 1e-2, floor: float = 5e-4) -> Mixture:
    """A mixture fitted by expectation and maximisation to values (N,) in [0, 1]; the start is a cut at 0.5.

    ``iterations``: at most so many rounds; ``tolerance``: gain of the mean log likelihood below which it stops;
    ``floor`` is added to the variances. All three are those of DivideMix's code (Li et al., ICLR 2020). The start is
    ours: without random numbers, every rank and every resumed run finds the same.
    """
    value = value.detach().double()
    mixture = _maximise(value, torch.stack((value <= 0.5, value > 0.5), 1).double(), floor)
    before = -torch.inf
    for _ in range(iterations):
        joint = _joint(value, mixture)
        now = float(joint.logsumexp(1).mean())
        if abs(now - before) < tolerance:
            break
        mixture, before = _maximise(value, joint.softmax(1), floor), now
    order = mixture.mean.argsort()
    return Mixture(mixture.mean[order], mixture.var[order], mixture.weight[order])


def small(
    loss: Tensor, monotone: bool = True, separation: float = 0.0, iterations: int = ROUNDS, tolerance: float = GAIN
) -> Tensor:
    """Which losses (N,) belong to the Gaussian of the smaller mean, (N,) bool; all, where they are all alike. Eqs. 1-3.

    ``monotone``: none below its mean is refused, and none above the other's taken: a wide Gaussian reaches past a
    narrow one on both sides. ``separation``: all are small if the Gaussians lie no further apart, for a mixture also
    splits losses of one kind. ``iterations``, ``tolerance``: of ``fit``.
    """
    if not len(loss) or (span := loss.max() - loss.min()) < NO_RANGE:
        return torch.ones_like(loss, dtype=torch.bool)
    value = (loss - loss.min()).double() / span
    mixture = fit(value, iterations, tolerance)
    if separation and mixture.separation <= separation:
        return torch.ones_like(loss, dtype=torch.bool)
    chosen = mixture.posterior(value) > 0.5
    return (chosen | (value <= mixture.mean[0])) & (value < mixture.mean[1]) if monotone else chosen


def _joint(value: Tensor, mixture: Mixture) -> Tensor:
    """Log of each Gaussian's weighted density at each value, (N, 2)."""
    spread = (value.double().unsqueeze(1) - mixture.mean).square() / mixture.var
    return mixture.weight.log() - 0.5 * (spread + (2 * torch.pi * mixture.var).log())


def _maximise(value: Tensor, part: Tensor, floor: float) -> Mixture:
    """The mixture in which value n belongs to Gaussian j with ``part[n, j]``."""
    size = part.sum(0).clamp_min(1e-12)
    mean = (part * value.unsqueeze(1)).sum(0) / size
    var = (part * (value.unsqueeze(1) - mean).square()).sum(0) / size + floor
    return Mixture(mean, var, size / len(value))
