"""Small-loss selection against a full sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmend.functional.select import (
    believed,
    class_weight,
    kth_smallest,
    small_loss,
    small_loss_segments,
    small_loss_segments_by_class,
)
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


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))],
)
def test_the_kth_smallest_is_what_sorting_says(device: str) -> None:
    value = torch.randn(1000, device=device, requires_grad=True)
    with torch.no_grad():
        value[::7], value[3] = 0.5, torch.inf
    before = value.detach().clone()
    for k in (1, 2, 500, 700, 1000):
        assert kth_smallest(value.detach(), k) == value.detach().sort().values[k - 1]
    assert torch.equal(value, before)


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


segments = st.lists(st.tuples(st.floats(-3, 3, width=16), st.integers(0, 9)), min_size=1, max_size=20)


def greedy(loss: list[float], size: list[int], quota: float) -> set[int]:
    """Segments of smallest loss until they hold ``quota`` pixels, and whatever is as small as the last."""
    held, last = 0, -float("inf")
    for place in sorted((i for i in range(len(loss)) if size[i]), key=lambda i: loss[i]):
        if held >= quota:
            break
        held, last = held + size[place], loss[place]
    return {i for i in range(len(loss)) if size[i] and loss[i] <= last}


@settings(deadline=None, max_examples=100)
@given(segments, st.integers(0, 100))
def test_segments_cover_the_share_kept_or_the_share_dropped(drawn: list[tuple[float, int]], percent: int) -> None:
    loss, size = [x for x, _ in drawn], [n for _, n in drawn]
    row = torch.tensor([loss]), torch.tensor([size], dtype=torch.float32)
    kept = small_loss_segments(*row, percent / 100)[0].nonzero()[:, 0].tolist()
    assert set(kept) == greedy(loss, size, percent * sum(size) / 100)
    kept = small_loss_segments(*row, percent / 100, "drop")[0].nonzero()[:, 0].tolist()
    dropped = greedy([-x for x in loss], size, (100 - percent) * sum(size) // 100)
    assert set(kept) == {i for i in range(len(size)) if size[i]} - dropped


def test_each_row_of_segments_and_each_class_has_its_own_quota() -> None:
    loss = torch.tensor([[1.0, 2.0, 3.0, 4.0], [40.0, 30.0, 20.0, 10.0]])
    size = torch.full((2, 4), 5)
    assert small_loss_segments(loss, size, 0.5).tolist() == [[True, True, False, False], [False, False, True, True]]
    given = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]])
    kept = small_loss_segments_by_class(loss, size, given, [1.0, 0.5])
    assert kept.tolist() == [[True, True, True, False], [True, True, False, True]]


@pytest.mark.parametrize("at_quota", ["keep", "drop"])
def test_segments_of_one_pixel_are_pixels(at_quota: str) -> None:
    loss = torch.randperm(50).float().view(1, -1)
    kept = small_loss_segments(loss, torch.ones(1, 50), 0.9, at_quota)
    assert torch.equal(kept, small_loss(loss, 0.9, torch.ones_like(kept)))


def test_rare_classes_weigh_more_up_to_a_bound() -> None:
    label = torch.tensor([[0] * 12 + [1] * 4 + [2] + [0] * 3])
    mask = torch.tensor([[True] * 17 + [False] * 3])
    weight = class_weight(label, mask, 3, 10.0)
    assert weight[0].tolist() == [1.0] * 12 + [3.0] * 4 + [10.0] + [0.0] * 3
    assert torch.equal(class_weight(label, mask, 3, 1.0), mask.float())
    assert torch.equal(
        class_weight(1 - label.clamp_max(1), mask, 2, 10.0), mask.float()
    )  # background never weighs more


@pytest.mark.parametrize("ranking", ["all", "class"])
def test_each_image_is_ranked_by_itself(ranking: str) -> None:
    loss, label = torch.rand(3, 6, 8), torch.randint(-1, 3, (3, 6, 8))
    loss[1] += 5  # every pixel of this image is worse than any other
    kept = believed(loss, 0.25, label, 3, ranking, "image")
    for image in range(3):
        one = slice(image, image + 1)
        assert torch.equal(kept[one], believed(loss[one], 0.25, label[one], 3, ranking))
        seen = (label[image] != IGNORE).sum()
        assert 0.6 * seen < kept[image].sum() < 0.85 * seen
    assert believed(loss, 0.25, label, 3, "all", "batch")[1].sum() < 0.4 * (label[1] != IGNORE).sum()
