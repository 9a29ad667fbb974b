"""What a method takes for granted is compared with the masks, and what is broken is named."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from maskmend.functional.assumptions import erased, faint, uncovered, unparted
from maskmend.methods import find, names
from maskmend.networks import NetworkConfig, build
from maskmend.types import TrainSet, Trust


def masks(sizes: list[list[int]], trust: list[Trust] | None = None) -> TrainSet:
    """A training set as far as assumptions look."""
    of = torch.tensor([int(each) for each in trust or [Trust.NOISY] * len(sizes)])
    return cast(TrainSet, SimpleNamespace(classes=("background", "liver", "duct"), sizes=torch.tensor(sizes), trust=of))


LIVERS = masks([[900, 100, 0], [880, 100, 20]])


@pytest.mark.parametrize(("tau", "named"), [(0.01, ["'duct' (1.00%)"]), (0.1, ["'liver' (10.00%)", "'duct' (1.00%)"])])
def test_a_class_that_tau_can_erase_is_named(tau: float, named: list[str]) -> None:
    (said,) = erased(LIVERS, tau, "all")
    assert "method.ranking=class" in said
    assert [name for name in ("'background'", "'liver' (10.00%)", "'duct' (1.00%)") if name in said] == named


def test_a_small_tau_or_a_ranking_by_class_erases_nothing() -> None:
    assert erased(LIVERS, 0.009, "all") == erased(LIVERS, 0.2, "class") == []


def test_clean_masks_of_one_kind_only_are_named() -> None:
    sizes = [[900, 100, 0], [880, 100, 20]]
    (said,) = uncovered(masks(sizes, [Trust.CLEAN, Trust.NOISY]))
    assert said.startswith("no clean mask holds 'duct', so")
    assert uncovered(masks(sizes, [Trust.NOISY, Trust.CLEAN])) == []
    assert uncovered(masks(sizes)) == []
    assert "'liver' and 'duct'" in uncovered(masks([[9, 0, 0], [7, 1, 1]], [Trust.CLEAN, Trust.NOISY]))[0]


def test_a_faint_foreground_is_told_with_its_share() -> None:
    (said,) = faint(masks([[991, 9, 0]]), 0.01, "method.x=y")
    assert "0.90%" in said
    assert "method.x=y" in said
    assert faint(masks([[980, 20, 0]]), 0.01, "") == faint(masks([[980, 0, 0]]), 0.01, "") == []


def assumed(name: str, train: TrainSet, **settings: Any) -> list[str]:
    method, config = find(name)
    return method(partial(build, NetworkConfig(width=1, strides=()), 1, 3, 2), config(**settings)).assumptions(train)


@pytest.mark.parametrize("name", ["co_teaching", "gsd_net", "jocor", "rmd", "sp_guided", "tri_network"])
def test_methods_that_rank_all_pixels_declare_that_no_class_is_smaller_than_tau(name: str) -> None:
    assert any("'duct'" in said for said in assumed(name, LIVERS, tau=0.05))
    assert not assumed(name, LIVERS, tau=0.05, ranking="class")


@pytest.mark.parametrize("name", [each for each in names() if "clean" in find(each)[0].supervision])
def test_methods_that_need_clean_cases_declare_that_these_hold_every_class(name: str) -> None:
    clean = masks([[900, 100, 0], [880, 100, 20]], [Trust.CLEAN, Trust.NOISY])
    assert any("'duct'" in said for said in assumed(name, clean))


def test_gsd_net_declares_that_the_foreground_is_not_tiny() -> None:
    nodules = masks([[991, 9, 0]])
    assert any("transfer_dice=by_class" in said for said in assumed("gsd_net", nodules, tau=0.001))
    assert not assumed("gsd_net", nodules, tau=0.001, transfer_dice="by_class")


def test_losses_that_do_not_fall_into_two_groups_are_said() -> None:
    one = torch.randn(200, generator=torch.Generator().manual_seed(0))
    alike, two = torch.full((9,), 0.3), torch.cat((one, one + 8))
    assert unparted({"liver": two, "duct": torch.empty(0)}) == []
    for loss in (one, alike):
        (said,) = unparted({"liver": loss})
        assert said.startswith("the losses of liver do not fall into two groups")
