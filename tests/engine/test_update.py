"""The optimiser step: learning rates, optimisers by name, clipping, several groups, half precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from maskmend.engine.update import OPTIMIZERS, OptimConfig, Updater, check_optimizer, learning_rate, make_optimizer
from maskmend.engine.world import World
from maskmend.errors import InputError
from maskmend.methods import Method
from maskmend.types import Progress


class TwoWeights(Method):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.a, self.b = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"a": [self.a], "b": [self.b]}


@pytest.mark.parametrize(
    ("options", "epoch", "expected"),
    [
        ({"schedule": "constant"}, 7, 0.1),
        ({"schedule": "poly", "power": 0.9}, 5, 0.1 * 0.5**0.9),
        ({"schedule": "step", "every": 3, "gamma": 0.5}, 7, 0.1 * 0.25),
        ({"schedule": "exponential", "gamma": 0.9}, 2, 0.1 * 0.81),
        ({"schedule": "inverse", "every": 20}, 5, 0.1 * 0.8),
    ],
)
def test_learning_rates(options: dict[str, object], epoch: int, expected: float) -> None:
    config = OptimConfig(lr=0.1, **options)
    assert learning_rate(config, Progress(epoch, 10, epoch * 4, 4)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sgd", "SGD", "adam", "AdamW", "rmsprop"])
def test_optimisers_by_name(name: str) -> None:
    optimizer = make_optimizer(OptimConfig(name=name, lr=0.3, weight_decay=0.01), [nn.Parameter(torch.ones(1))])
    assert type(optimizer).__name__.lower() == name.lower()
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert optimizer.param_groups[0]["weight_decay"] == 0.01


def test_an_unknown_optimiser_is_named() -> None:
    with pytest.raises(ValueError, match="use sgd"):
        make_optimizer(OptimConfig(name="sdg"), [nn.Parameter(torch.ones(1))])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "lbfgs"}, "closure"),
        ({"name": "sparseadam"}, "dense gradients"),
        ({"name": "muon"}, "2D"),
        ({"nesterov": True, "momentum": 0}, "Nesterov"),
    ],
)
def test_an_optimiser_that_does_not_fit_is_refused_before_it_is_needed(options: dict[str, object], said: str) -> None:
    groups = {"main": [torch.ones(3), torch.ones(3, 2, 1, 1)]}
    with pytest.raises(InputError, match=rf"optim\.name=\w+ cannot take a step .*{said}.*; correct the settings"):
        check_optimizer(OptimConfig(**options), groups)


def test_every_other_optimiser_fits() -> None:
    groups = {"a": [torch.ones(3)], "b": [torch.ones(3, 2, 1, 1), torch.ones(3, 2, 1, 1, 1)]}
    for name in OPTIMIZERS.keys() - {"lbfgs", "sparseadam", "muon"}:
        check_optimizer(OptimConfig(name=name), groups)


@pytest.mark.parametrize("field", ["lr", "weight_decay", "clip", "power"])
def test_no_setting_is_infinite_or_no_number(field: str) -> None:
    for value in (math.inf, math.nan):
        with pytest.raises(ValueError, match="finite number"):
            OptimConfig(**{field: value})
    with pytest.raises(ValueError, match="below 1e38"):
        OptimConfig(**{field: 1e300})


def test_no_setting_is_a_number_that_no_machine_counts() -> None:
    with pytest.raises(ValueError, match="below 2"):
        OptimConfig(every=2**63)


def test_a_group_moves_alone_and_a_gradient_is_clipped() -> None:
    method = TwoWeights()
    update = Updater(method, OptimConfig(lr=1.0, momentum=0, weight_decay=0, clip=0.5), World())
    update(100 * method.a.sum() + method.b.sum(), "a")
    assert method.a.item() == pytest.approx(0.5)
    assert method.b.item() == 2.0


def test_the_scaler_changes_nothing_but_the_scale() -> None:
    results = []
    for scaled in (False, True):
        method = TwoWeights()
        update = Updater(method, OptimConfig(lr=0.1, momentum=0.9, weight_decay=0, clip=1.0), World(), scaled=scaled)
        for _ in range(3):
            update((method.a**2).sum(), "a")
        results.append(method.a.item())
    assert results[0] == pytest.approx(results[1])


class Halved(TwoWeights):
    """Learns at half the gradient."""

    def after_backward(self, group: str) -> None:
        for p in self.parameter_groups()[group]:
            p.grad *= 0.5


def test_a_method_may_change_its_gradients_before_they_are_clipped() -> None:
    for clip, expected in ((None, 1.0 - 0.5 * 4.0), (1.0, 1.0 - 1.0)):
        method = Halved()
        update = Updater(method, OptimConfig(lr=1.0, momentum=0, weight_decay=0, clip=clip), World())
        update((4 * method.a).sum(), "a")
        assert method.a.item() == pytest.approx(expected, abs=1e-5)
        assert method.b.item() == 2.0
