"""Superpixel votes, transplants, distance weights and ramps: loops and hand-worked cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from maskmend.functional.geometry import distance_weight, ring_weight
from maskmend.functional.mix import partners, transfer_region, transplant
from maskmend.functional.schedule import ramp
from maskmend.functional.superpixel import pool, totals, unpool, vote


@pytest.mark.parametrize("shape", [(6, 7), (3, 4, 5)])
def test_pooling_against_a_loop(shape: tuple[int, ...]) -> None:
    value = torch.randn(2, 3, *shape)
    ids = torch.randint(0, 5, (2, *shape))
    ids[1] = ids[1].clamp_max(2)  # fewer superpixels in the second case
    means, sizes = pool(value, ids)
    for b in range(2):
        for s in range(int(ids.max()) + 1):
            inside = ids[b] == s
            assert sizes[b, s] == inside.sum()
            expected = value[b][:, inside].mean(1) if inside.any() else torch.zeros(3)
            torch.testing.assert_close(means[b, :, s], expected)
            torch.testing.assert_close(totals(value, ids)[b, :, s], value[b][:, inside].sum(1))
    assert torch.equal(unpool(torch.arange(5.0).expand(2, 5), ids), ids.float())


def test_a_vote_by_hand() -> None:
    prob = torch.tensor([[[0.9, 0.4], [0.4, 0.1]], [[0.1, 0.6], [0.6, 0.9]]])[None]
    ids = torch.tensor([[[0, 0], [0, 1]]])  # three pixels at .57 for background on average, one at .1
    assert vote(prob, ids).tolist() == [[[0, 0], [0, 1]]]


def test_the_authors_votes(golden: Callable[[str], dict[str, np.ndarray]]) -> None:
    misc = golden("sp_gsd_gsd_misc")
    prob = torch.from_numpy(misc["sp_score"])[None]
    prob = prob if torch.allclose(prob.sum(1), torch.ones_like(prob[:, 0])) else prob.softmax(1)
    found = vote(prob, torch.from_numpy(misc["sp_seg"]).long()[None])[0]
    assert np.array_equal(found.numpy(), misc["sp_refine05"])


@pytest.mark.parametrize("count", [2, 3, 8])
def test_everyone_has_one_partner_and_nobody_himself(count: int) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        partner = partners(count, torch.device("cpu"))
        assert sorted(partner.tolist()) == list(range(count))
        assert (partner != torch.arange(count)).all()


def test_which_region_is_given() -> None:
    label = torch.tensor([[[1, 1, 1, 0]], [[2, 0, 0, 0]]])  # foreground shares 3/4 and 1/4
    coin = torch.tensor([0.5, 0.5])
    assert transfer_region(label, coin).tolist() == [[[False, False, False, True]], [[True, False, False, False]]]


def test_a_transplant_moves_image_and_label_alike() -> None:
    giver, receiver = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    region = torch.tensor([[[True, False], [False, False]]])
    assert transplant(giver, receiver, region).sum() == 3
    assert transplant(giver[:, 0], receiver[:, 0], region).tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def test_the_papers_weights(golden: Callable[[str], dict[str, np.ndarray]]) -> None:
    gda = golden("sp_gsd_gda")
    for epoch, released in zip(gda["epochs"], gda["W_official_disk"], strict=True):
        rings = torch.from_numpy(np.floor(gda["dist_float_disk"]))
        assert np.array_equal(ring_weight(rings, int(epoch), 10, 10).numpy(), released)


def test_distance_weights_by_hand() -> None:
    distance = torch.tensor([0.0, 3.0, 8.0, 1000.0])
    assert distance_weight(distance, 0.0, 10).tolist() == [1.0, 3.0, 8.0, 10.0]
    assert distance_weight(distance, 0.5, 10).tolist() == [1.0, 1.0, 3.0, 5.0]
    assert distance_weight(distance, 1.0, 10).tolist() == [1.0, 1.0, 1.0, 1.0]


def test_ramps() -> None:
    assert [ramp(x, 0, 10) for x in (-1, 0, 5, 10, 11)] == [0, 0, 0.5, 1, 1]
    assert ramp(0, 0, 0) == 1  # no ramp: there at once
