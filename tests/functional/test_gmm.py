"""The mixture of two Gaussians: what it recovers, what it must not depend on, and its guards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskmend.functional.gmm import GAIN, ROUNDS, Mixture, fit, small

WIDE = Mixture(*(torch.tensor(x, dtype=torch.float64) for x in ((0.1, 0.6), (5e-4, 0.03), (0.5, 0.5))))


def draw(seed: int, *parts: tuple[int, float, float]) -> Tensor:
    """Normal losses, ``(count, mean, sd)`` each."""
    noise = torch.Generator().manual_seed(seed)
    return torch.cat([mean + sd * torch.randn(n, generator=noise, dtype=torch.float64) for n, mean, sd in parts])


def test_it_recovers_what_the_values_were_drawn_from() -> None:
    found = fit(draw(0, (7000, 0.2, 0.05), (3000, 0.8, 0.08)))
    assert found.mean.tolist() == pytest.approx([0.2, 0.8], abs=0.005)
    assert (found.var - 5e-4).sqrt().tolist() == pytest.approx([0.05, 0.08], abs=0.005)
    assert found.weight.tolist() == pytest.approx([0.7, 0.3], abs=0.01)


def test_it_finds_the_same_again() -> None:
    value = draw(1, (40, 0.2, 0.1), (20, 0.7, 0.1))
    assert all(torch.equal(getattr(fit(value), name), getattr(fit(value), name)) for name in ("mean", "var", "weight"))


def test_a_wide_gaussian_takes_the_smallest_values_too() -> None:
    """Of equal weights, means 0.1 and 0.6, variances 0.0005 and 0.03: the narrow one has (0.0116, 0.1715) only."""
    posterior = WIDE.posterior(torch.tensor([0.0, 0.0115, 0.0117, 0.1714, 0.1716]))
    assert (posterior > 0.5).tolist() == [False, False, True, True, False]


def test_but_a_small_loss_is_not_refused_for_being_too_small() -> None:
    loss = torch.cat((draw(2, (300, 0.3, 0.01), (100, 0.7, 0.2)), torch.tensor([0.0, 1.4])))
    order = loss.argsort()
    assert small(loss)[order].double().diff().le(0).all()
    assert not small(loss, monotone=False)[order].double().diff().le(0).all()


def test_nor_a_large_one_taken_for_being_too_large() -> None:
    loss = torch.cat((draw(3, (100, 0.3, 0.2), (300, 0.7, 0.01)), torch.tensor([-0.4, 1.0])))
    assert small(loss, monotone=False)[-1]
    assert not small(loss)[-1]
    assert small(loss)[-2]


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 40), st.integers(0, 10_000), st.floats(0.1, 100), st.floats(-10, 10))
def test_decisions_know_neither_scale_nor_order(count: int, seed: int, scale: float, shift: float) -> None:
    loss = draw(seed, (count, 0.2, 0.1), (count // 2, 0.8, 0.1))
    order = torch.randperm(len(loss), generator=torch.Generator().manual_seed(seed))
    chosen = small(loss)
    assert torch.equal(small(scale * loss + shift), chosen)
    assert torch.equal(small(loss[order]), chosen[order])
    assert chosen[loss.argmin()]
    assert not chosen[loss.argmax()]


def test_a_fit_that_converges_is_that_of_sklearn_and_decides_better() -> None:
    mixture = pytest.importorskip("sklearn.mixture")
    loss, is_small = draw(0, (700, 0.15, 0.06), (300, 0.4, 0.12)), torch.arange(1000) < 700
    found = fit(value := (loss - loss.min()) / (loss.max() - loss.min()), ROUNDS, GAIN)
    other = mixture.GaussianMixture(2, tol=1e-10, max_iter=20000, reg_covar=5e-4, means_init=[[0.1], [0.9]])
    other.fit(value.numpy()[:, None])
    assert found.mean.tolist() == pytest.approx(other.means_[:, 0].tolist(), abs=1e-3)
    assert found.weight.tolist() == pytest.approx(other.weights_.tolist(), abs=1e-3)
    right = [
        float((small(loss, iterations=n, tolerance=t) == is_small).double().mean())
        for n, t in ((10, 1e-2), (ROUNDS, GAIN))
    ]
    assert right == pytest.approx([0.910, 0.931], abs=1e-3)


@pytest.mark.parametrize("loss", [[], [0.4], [0.3] * 5, [0.3, 0.3 + 1e-7]])
def test_what_is_all_alike_is_all_small(loss: list[float]) -> None:
    assert small(torch.tensor(loss, dtype=torch.float64)).tolist() == [True] * len(loss)


def test_losses_of_one_kind_are_split_unless_a_separation_is_asked_for() -> None:
    one, two = draw(4, (400, 0.5, 0.1)), draw(4, (200, 0.2, 0.05), (100, 0.8, 0.05))
    assert 0.2 < small(one).double().mean() < 0.8
    assert small(one, separation=3).all()
    assert small(two, separation=3).double().mean().item() == pytest.approx(2 / 3, abs=0.01)


def test_separation_is_in_pooled_standard_deviations() -> None:
    mixture = Mixture(*(torch.tensor(x, dtype=torch.float64) for x in ((0.2, 0.7), (0.01, 0.03), (0.9, 0.1))))
    assert mixture.separation == pytest.approx(0.5 / 0.02**0.5)
