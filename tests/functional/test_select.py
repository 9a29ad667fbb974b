"""Small-loss selection against a full sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmend.functional.select import believed, small_loss
from maskmend.types import IGNORE


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.floats(0.01, 1.0), st.integers(0, 10_000))
def test_it_keeps_the_smallest(count: int, keep: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    loss = torch.randperm(count, generator=draw).float().view(1, -1)
    valid = torch.rand(1, count, generator=draw) < 0.7
    chosen = small_loss(loss, keep, valid)
    wanted = max(1, int(keep * int(valid.sum()))) if valid.any() else 0
    expected = set(loss[valid].sort().values[:wanted].tolist())
    assert set(loss[chosen].tolist()) == expected


def test_ties_with_the_last_one_kept_are_kept() -> None:
    loss = torch.tensor([[0.0, 1.0, 1.0, 1.0, 2.0]])
    assert small_loss(loss, 0.4, torch.ones_like(loss, dtype=torch.bool)).tolist() == [[True, True, True, True, False]]


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_where_nothing_is_valid_nothing_is_kept(keep: float) -> None:
    loss = torch.rand(2, 4, 4)
    assert not small_loss(loss, keep, torch.zeros_like(loss, dtype=torch.bool)).any()


def test_it_carries_no_gradient() -> None:
    loss = torch.rand(8, requires_grad=True)
    assert not small_loss(loss, 0.5, torch.ones(8, dtype=torch.bool)).requires_grad


def test_a_class_smaller_than_the_share_dropped_survives_by_class_only() -> None:
    label = torch.zeros(1, 100, dtype=torch.long)
    label[0, :4], label[0, 4] = 1, IGNORE
    loss = torch.where(label == 1, 5.0, 1.0) + torch.arange(100) / 1000
    together = believed(loss, 0.1, label, 2, "all")
    apart = believed(loss, 0.1, label, 2, "class")
    assert not together[label == 1].any()
    assert apart[label == 1].tolist() == [True, True, True, False]
    assert not (together | apart)[label == IGNORE].any()
    assert int(apart[label == 0].sum()) == int(0.9 * 95)
