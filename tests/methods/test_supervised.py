"""Plain training with several networks, and with averaged weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskmend.methods.supervised import Config, Supervised
from maskmend.types import Batch, Progress

STEPS = 3


def learned(seed: int, steps: int = STEPS, **settings: object) -> Supervised:
    """A method of one convolution a network, after some steps on the same batch."""
    torch.manual_seed(seed)
    method = Supervised(lambda: nn.Conv2d(1, 2, 1), Config.model_validate(settings))
    optimizer = torch.optim.SGD(method.parameter_groups()["main"], lr=0.5)

    def update(loss: Tensor, group: str = "main") -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    image = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    batch = Batch(image, (image[:, 0] > 0).long(), torch.ones(4, dtype=torch.long), torch.arange(4))
    for step in range(steps):
        method.step(batch, Progress(0, 1, step, steps), update)
    return method


def test_two_networks_learn_as_each_would_alone_and_predict_together() -> None:
    two, one = learned(0, networks=2), learned(0)
    assert torch.equal(two.net.weight, one.net.weight), "the other takes nothing from it"
    image = torch.randn(2, 1, 8, 8)
    each = [net(image).softmax(1) for net in two.nets]
    assert not torch.allclose(each[0], each[1])
    torch.testing.assert_close(two.predict(image), (each[0] + each[1]) / 2)


def test_the_moving_average_predicts() -> None:
    """With a decay that is never reached it is the mean of the weights after each step."""
    method = learned(0, ema=0.99)
    (mean,) = method.means
    weights = [learned(0, steps).net.weight for steps in range(1, STEPS + 1)]
    torch.testing.assert_close(mean.weight, torch.stack(weights).mean(0))  # type: ignore[arg-type]
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(method.predict(image), mean(image).softmax(1))
    assert all(not parameter.requires_grad for parameter in mean.parameters())


def test_one_network_keeps_the_checkpoints_it_had() -> None:
    assert set(learned(0).state_dict()) == {"net.weight", "net.bias"}
