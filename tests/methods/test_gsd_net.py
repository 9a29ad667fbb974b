"""GSD-Net's parts: its ablations and their cost, who is mended and who is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from maskmend.methods.gsd_net import Config, GSDNet
from maskmend.types import IGNORE, Batch, Progress

TABLE_7 = {
    "JoCoR": {"weight": "none", "refine": "none", "transfer": "none"},
    "GDA": {"refine": "none", "transfer": "none"},
    "GDA + LR": {"refine": "pixel", "transfer": "none"},
    "GDA + SGLR": {"transfer": "none"},
    "GDA + LR + KT": {"refine": "pixel"},
    "all": {},
}
START = Progress(0, 10, 0, 1)


class Counting(nn.Module):
    """One convolution that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls = nn.Conv2d(1, 3, 3, padding=1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x)


def a_batch() -> Batch:
    label = torch.randint(0, 3, (4, 8, 8))
    label[:, 0] = IGNORE
    maps = {"superpixel": (torch.arange(64) // 8).view(8, 8).expand(4, 8, 8), "distance": torch.rand(4, 8, 8) * 10}
    return Batch(torch.randn(4, 1, 8, 8), label, torch.ones(4, dtype=torch.long), torch.arange(4), maps)


@pytest.mark.parametrize("row", TABLE_7)
def test_every_row_of_table_7_trains_at_its_cost(row: str) -> None:
    method = GSDNet(Counting, Config(tau=0.2, tau_epochs=0, **TABLE_7[row]))
    batch = a_batch()
    assert set(method.maps) <= set(batch.maps)
    logs = method.step(batch, START, lambda loss, group="main": loss.backward())
    passes = method.net1.calls + method.net2.calls
    assert passes == (4 if "KT" in row or row == "all" else 2)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert (logs["transfer"].item() > 0) == (row not in ("JoCoR", "GDA"))


def test_dropped_pixels_take_the_vote_and_others_keep_their_label() -> None:
    method, batch = GSDNet(Counting, Config()), a_batch()
    z1, z2 = torch.randn(2, 4, 3, 8, 8)
    clean = (torch.rand(4, 8, 8) < 0.7) & (batch.label != IGNORE)
    refined = method.refined(z1, z2, batch, clean, torch.tensor(0.25))
    assert torch.equal(refined[clean], batch.label[clean])
    assert (refined[:, 0] == IGNORE).all()
    prob = 0.25 * z1.softmax(1) + 0.75 * z2.softmax(1)
    for case in range(4):
        for row in range(1, 8):  # each row is one superpixel
            vote = prob[case, :, row].mean(1).argmax()
            dropped = ~clean[case, row]
            assert (refined[case, row][dropped] == vote).all()


def test_refinement_waits_for_its_epoch() -> None:
    method = GSDNet(Counting, Config(refine_from=5))
    method.step(a_batch(), START, lambda loss, group="main": None)
    assert method.net1.calls == 1
    method.step(a_batch(), Progress(5, 10, 5, 1), lambda loss, group="main": None)
    assert method.net1.calls == 3


def test_it_asks_only_for_the_maps_it_reads() -> None:
    assert GSDNet(Counting, Config()).maps == ("superpixel", "distance")
    assert GSDNet(Counting, Config(weight="rings", refine="rings")).maps == ("rings",)
    assert GSDNet(Counting, Config(weight="none", refine="pixel")).maps == ()
