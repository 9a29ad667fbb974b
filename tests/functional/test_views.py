"""Views: against torch's own resizing, and what they keep."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskmend.functional.views import (
    ZOOM,
    Views,
    apply,
    disagreement,
    draw_views,
    ensemble,
    invert,
    label_in,
)
from maskmend.types import IGNORE

ALL = ("in", "out", "out", "flip")
MODE = {2: "bilinear", 3: "trilinear"}


def one(zoom: float, flip: tuple[bool, ...]) -> Views:
    return Views(torch.tensor([[zoom]], dtype=torch.float64), torch.tensor([[flip]]))


def smooth_image(size: tuple[int, ...]) -> Tensor:
    grid = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in size), indexing="ij")
    return torch.stack([torch.cos(2 * g + i) for i, g in enumerate(grid)]).sum(0)[None, None]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("margin", [2, 5])
def test_zooms_are_resize_and_crop_or_pad(dims: int, margin: int) -> None:
    side, mode = 20, {"mode": MODE[dims], "align_corners": False}
    x = torch.rand(1, 2, *(side,) * dims, dtype=torch.float64)
    larger, smaller = (side + 2 * margin,) * dims, (side - 2 * margin,) * dims
    pad, crop = (margin,) * 2 * dims, (slice(None), slice(None), *(slice(margin, -margin),) * dims)
    closer, farther = (one((side + s * 2 * margin) / side, (False,) * dims) for s in (1, -1))
    torch.testing.assert_close(apply(x, closer), F.interpolate(x, larger, **mode)[crop])
    torch.testing.assert_close(apply(x, farther), F.pad(F.interpolate(x, smaller, **mode), pad))
    torch.testing.assert_close(invert(x, closer), F.interpolate(F.pad(x, pad), (side,) * dims, **mode))
    torch.testing.assert_close(invert(x, farther), F.interpolate(x[crop], (side,) * dims, **mode))


@pytest.mark.parametrize("flip", itertools.product((False, True), repeat=3))
def test_flips_are_exact(flip: tuple[bool, ...]) -> None:
    x = torch.randn(1, 3, 5, 6, 7)
    expected = x.flip([2 + axis for axis in range(3) if flip[axis]])
    assert torch.equal(apply(x, one(1, flip)), expected)
    assert torch.equal(invert(expected, one(1, flip)), x)


def test_a_view_can_be_taken_back() -> None:
    x = smooth_image((48, 40))
    for zoom, flip in itertools.product((0.6, 0.8, 1.0, 1.2, 1.4), itertools.product((False, True), repeat=2)):
        views = one(zoom, flip)
        back, seen = invert(apply(x, views), views), invert(torch.ones_like(x), views)
        error = (back - x).abs() * (seen > 0.999)
        assert error[..., 4:-4, 4:-4].max() < 0.01
        assert error.max() < 0.15  # a pixel of a small copy at the edge
        assert seen.mean().item() == pytest.approx(min(1, 1 / zoom) ** 2, abs=0.02)


def test_every_image_has_its_own_view_and_gradients_reach_it() -> None:
    x = torch.rand(10, 2, 12, 9, requires_grad=True)
    views = draw_views(ALL, 2, 2)
    batch = apply(x, views)
    for row in range(10):
        alone = Views(views.zoom.view(-1, 1, 1)[row], views.flip.view(-1, 1, 1, 2)[row])
        torch.testing.assert_close(apply(x[row : row + 1], alone), batch[row : row + 1])
    (given,) = torch.autograd.grad(batch.sum(), x)
    assert (given[0] == 1).all()  # the original
    assert (given.flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_drawn(dims: int) -> None:
    views = draw_views(ALL, 500, dims)
    assert len(views) == 5
    assert (views.zoom[[0, 4]] == 1).all()
    for row, low, high in ((1, 1 + ZOOM[0], 1 + ZOOM[1]), (2, 1 - ZOOM[1], 1 - ZOOM[0]), (3, 1 - ZOOM[1], 1 - ZOOM[0])):
        assert low <= views.zoom[row].min() < low + 0.02
        assert high - 0.02 < views.zoom[row].max() <= high
    assert (views.zoom[2] != views.zoom[3]).all()
    assert not views.flip[:4].any()
    assert views.flip[4].any(1).all()
    assert len(views.flip[4].unique(dim=0)) == 2**dims - 1


@pytest.mark.parametrize("outside", [IGNORE, 0])
def test_labels_are_the_larger_share_and_unknown_stays_unknown(outside: int) -> None:
    label = torch.randint(0, 2, (2, 24, 24))
    views = draw_views(ALL, 2, 2)
    seen = label_in(label, views, 2, outside)
    inside = apply(torch.ones(10, 1, 24, 24), views)[:, 0] > 0
    expected = apply(label.float().unsqueeze(1).repeat(5, 1, 1, 1), views)[:, 0] > 0.5
    assert torch.equal(seen[inside], expected[inside].long())
    assert (seen[~inside] == outside).all()
    assert (~inside).any()

    nobody = torch.full_like(label, IGNORE)
    assert (label_in(nobody, views, 2, outside)[inside] == IGNORE).all()
    half = torch.cat((label[:, :12], nobody[:, 12:]), 1)
    assert torch.equal(label_in(half[:1], one(1, (True, False)), 2), half[:1].flip(1))


def test_many_classes_interpolate_as_shares_and_not_as_numbers() -> None:
    label = torch.zeros(1, 16, 16, dtype=torch.long)
    label[:, 8:] = 3  # between 0 and 3 there is no 1 and no 2
    assert set(label_in(label, one(1.3, (False, False)), 4).unique().tolist()) == {0, 3}


def test_the_mean_over_views_of_one_belief_is_that_belief() -> None:
    """Where a zoomed-in view sees nothing it has no vote; as released it votes for the background."""
    prob = torch.tensor([0.3, 0.7], dtype=torch.float64).view(1, 2, 1, 1).expand(5, 2, 24, 24)
    views = draw_views(ALL, 1, 2)
    torch.testing.assert_close(ensemble(prob, views), prob[:1])
    released = ensemble(prob, views, outside=0)
    torch.testing.assert_close(released.sum(1), torch.ones(1, 24, 24, dtype=torch.float64))
    assert released[0, 1, 12, 12].item() == pytest.approx(0.7)
    assert released[0, 1, 0, 0].item() == pytest.approx(0.7 * 4 / 5)


@pytest.mark.parametrize("outside", [IGNORE, 0])
def test_disagreement_is_the_mean_over_pairs(outside: int) -> None:
    prob = torch.randn(10, 3, 16, 16, dtype=torch.float64).softmax(1)
    views = draw_views(ALL, 2, 2)
    aligned, rows = views.group(invert(prob, views, outside)), views.group(prob)
    seen = views.group(invert(torch.ones_like(prob[:, :1]), views))
    total, count = 0.0, 0.0
    for q, v in itertools.combinations(range(5), 2):
        frame = views.pick(torch.tensor([q]))
        error = (rows[q] - apply(aligned[v], frame, outside)).square().mean(1)
        both = apply(seen[v], frame)[:, 0] if outside == IGNORE else torch.ones_like(error)
        total, count = total + (error * both).sum(), count + both.sum()
    assert disagreement(prob, views, outside).item() == pytest.approx((total / count).item())


def test_views_that_agree_do_not_disagree() -> None:
    prob = torch.cat((x := smooth_image((48, 48)).sigmoid(), 1 - x), 1)
    views = draw_views(ALL, 1, 2)
    seen = apply(prob.repeat(5, 1, 1, 1), views)
    assert disagreement(seen, views) < 1e-5
    assert disagreement(seen.roll(1, 0), views) > 1e-3


def test_one_way_leaves_the_last_view_alone() -> None:
    prob = torch.randn(5, 2, 12, 12).softmax(1).requires_grad_()
    views = draw_views(ALL, 1, 2)
    for one_way in (True, False):
        (learnt,) = torch.autograd.grad(disagreement(prob, views, one_way=one_way), prob)
        assert (learnt[:4].flatten(1).abs().sum(1) > 0).all()
        assert (learnt[4].abs().sum() == 0) == one_way


def test_without_views_there_is_only_the_image() -> None:
    prob, label = torch.rand(3, 2, 8, 8), torch.randint(-1, 2, (3, 8, 8))
    views = draw_views((), 3, 2)
    assert torch.equal(apply(prob, views), prob)
    assert torch.equal(ensemble(prob, views), prob)
    assert torch.equal(label_in(label, views, 2), label)
    assert disagreement(prob, views) == 0


def test_half_precision_outside_changes_nothing() -> None:
    prob = torch.rand(5, 2, 12, 12)
    views = draw_views(ALL, 1, 2)
    plain = disagreement(prob, views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(disagreement(prob, views), plain)
