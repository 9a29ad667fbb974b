"""Soft labels: the prediction becomes the share of the raters, and what nobody annotated teaches nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from maskmend.methods.soft_labels import Config, SoftLabels
from maskmend.types import IGNORE, Batch, Progress

SHARES = (0.4, 0.5, 0.1)


class Biases(nn.Module):
    """The same logits for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(SHARES)))

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.view(1, -1, 1, 1).expand(len(image), -1, *image.shape[2:])


def rated(name: str, label: int = 1) -> Batch:
    maps = {f"{name}_{k}": torch.full((2, 4, 4), SHARES[k]) for k in (1, 2)}
    labels = torch.full((2, 4, 4), label)
    return Batch(torch.zeros(2, 1, 4, 4), labels, torch.ones(2, dtype=torch.int64), torch.arange(2), maps)


def learn(method: SoftLabels, batch: Batch, steps: int = 600) -> Tensor:
    optimiser = torch.optim.Adam(method.parameters(), lr=0.02)

    def update(loss: Tensor, group: str = "main") -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for step in range(steps):
        method.step(batch, Progress(0, 1, step, steps), update)
    return method.predict(batch.image)[0, :, 0, 0].detach()


@pytest.mark.parametrize("loss", ["ce", "dice", "both"])
@pytest.mark.parametrize("target", ["average", "staple"])
def test_the_prediction_becomes_the_share(target: str, loss: str) -> None:
    method = SoftLabels(Biases, Config(target=target, loss=loss))
    assert method.maps == (target,)
    found = learn(method, rated(target))
    torch.testing.assert_close(found, torch.tensor(SHARES), atol=0.02, rtol=0)


def test_what_nobody_annotated_teaches_nothing() -> None:
    assert learn(SoftLabels(Biases, Config()), rated("average", IGNORE), 5).tolist() == pytest.approx([1 / 3] * 3)


def test_one_step_by_hand() -> None:
    """Cross-entropy of even odds is log 3, Dice by hand; the mean of both."""
    method, seen = SoftLabels(Biases, Config()), []
    method.step(rated("average"), Progress(0, 1, 0, 1), lambda loss, group="main": seen.append(loss.item()))
    dice = [(16 * (1 / 3 + s) - 16 * abs(1 / 3 - s) + 1) / (16 * (1 / 3 + s) + 1) for s in SHARES[1:]]
    assert seen == pytest.approx([(torch.tensor(3.0).log().item() + 1 - sum(dice) / 2) / 2], rel=1e-5)
