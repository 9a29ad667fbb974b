"""GSD-Net's parts: its ablations and their cost, who is mended and who is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskmend.config import RunConfig, load_config
from maskmend.functional.mix import transfer_region
from maskmend.functional.select import believed
from maskmend.methods.gsd_net import Config, Draw, GSDNet
from maskmend.networks import NetworkConfig, build
from maskmend.types import IGNORE, Batch, Progress

TABLE_7 = {
    "JoCoR": {"weight": "none", "refine": "none", "transfer": "none"},
    "GDA": {"refine": "none", "transfer": "none"},
    "GDA + LR": {"refine": "pixel", "transfer": "none"},
    "GDA + SGLR": {"transfer": "none"},
    "GDA + LR + KT": {"refine": "pixel"},
    "all": {},
}
"""Settings 1 to 6, in the paper's order."""
START = Progress(0, 10, 0, 1)
CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = {  # tau, agreement, jitter, weight_cap, epochs of a ring, side, axes, batch: Sec. 4.2 and released scripts
    "paper_kvasir": (0.05, 1.0, 0.5, 10, 10, 256, 2, 16),
    "paper_shenzhen": (0.1233, 1.0, 0.5, 10, 10, 256, 2, 16),
    "paper_bu_suc": (0.0443, 1.0, 0.05, 10, 10, 256, 2, 16),
    "paper_lidc": (0.003, 1.0, 0.05, 5, 10, 128, 2, 16),
    "paper_mmis": (0.008, 1.0, 0.05, 5, 10, 128, 2, 16),
    "paper_brats": (0.01, 1.0, 0.05, 5, 10, 128, 3, 4),
    "released_kvasir": (0.05, 0.5, 0.5, 10, 10, 256, 2, 16),
    "released_shenzhen": (0.17, 0.5, 0.5, 10, 10, 256, 2, 16),
    "released_bu_suc": (0.062, 0.5, 0.05, 10, 10, 256, 2, 16),
    "released_lidc": (0.003, 0.1, 0.05, 10, 10, 128, 2, 16),
    "released_mmis": (0.008, 0.5, 0.0, 10, 20, 128, 2, 16),
}
OF_A_DATA_SET = {"tau", "agreement", "jitter", "weight_cap", "weight_epochs"}


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


def test_transfer_sums_the_two_composites_of_a_pair() -> None:
    """Eqs. 15 to 18, one composite after the other."""
    method, batch = GSDNet(Counting, Config(tau=0, agreement=0)), a_batch().rows(torch.arange(2))
    batch.label.clamp_(min=0)
    coin, view = torch.tensor([0.9, 0.1]), torch.randn(2, 1, 8, 8)
    draw = Draw(view, alpha=torch.tensor(0.5), partner=torch.tensor([1, 0]), coin=coin)
    terms = method.losses(batch, Progress(3, 10, 3, 1), draw)
    weight, given = method.weigh(batch, Progress(3, 10, 3, 1)), transfer_region(batch.label, coin)
    transfer, agree = 0.0, 0.0
    for i, j in ((0, 1), (1, 0)):
        x1, x2, y, w = (torch.where(given[i], t[i], t[j]) for t in (batch.image, view, batch.label, weight))
        z1, z2 = method.net1(x1[None]), method.net2(x2[None])
        for z in (z1, z2):
            p, one_hot = z.softmax(1)[0], nn.functional.one_hot(y, 3).permute(2, 0, 1)
            dice = 1 - 2 * (p * one_hot).sum() / (p.square().sum() + one_hot.sum())
            transfer = transfer + (nn.functional.cross_entropy(z, y[None], reduction="none")[0] * w).mean() + dice
        p, q = z1.softmax(1)[0], z2.softmax(1)[0]
        agree = agree + ((p * (p / q).log()).sum(0) * w).mean()
    torch.testing.assert_close(terms["transfer"], transfer, rtol=1e-4, atol=0)
    torch.testing.assert_close(terms["agree"], agree, rtol=1e-4, atol=0)


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_among_which_pixels_are_ranked(scope: str) -> None:
    method, batch = (
        GSDNet(Counting, Config(tau=0.5, tau_epochs=0, scope=scope, refine="none", transfer="none")),
        a_batch(),
    )
    batch.label[:] = 1
    batch.label[0] = 0
    for net in (method.net1, method.net2):
        net.net.weight.data *= 0.01
        net.net.bias.data = torch.tensor([0.0, 5.0, 0.0])  # the first image is all wrong
    kept = method.losses(batch, START, method.draw(batch))["kept"]
    assert kept == 0.5
    z = method.net1(batch.image)
    clean = believed(nn.functional.cross_entropy(z, batch.label, reduction="none"), 0.5, batch.label, 3, "all", scope)
    assert bool(clean[0].any()) == (scope == "image")


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


# --- presets ----------------------------------------------------------------------------------------------------------


def preset(name: str, method: str = "gsd_net") -> RunConfig:
    return load_config(CONFIGS / method / f"{name}.yaml")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_the_published_numbers(name: str) -> None:
    run, general = preset(name), preset(name.partition("_")[0])
    method = run.method
    tau, agreement, jitter, cap, ring, side, axes, batch = PRESETS[name]
    assert (method["tau"], method["agreement"], method["jitter"]) == (tau, agreement, jitter)
    assert (method["weight_cap"], method["weight_epochs"]) == (cap, ring)
    assert {run.data.size, run.data.patch} == {(side,) * axes, None}
    assert run.train.batch == {"any": batch}
    assert {key for key in method if method[key] != general.method[key]} <= OF_A_DATA_SET
    network = NetworkConfig(norm="instance", affine=False, dropout=0.3) if name == "paper_brats" else general.network
    assert (run.train.epochs, run.optim, run.network) == (general.train.epochs, general.optim, network)
    if name.startswith("paper"):  # 1024 superpixels, 4096 supervoxels
        size = run.data.sidemaps.superpixel_size(axes)
        assert side**axes / size == (1024 if axes == 2 else 4096)


def test_every_preset_is_checked_and_each_data_set_has_both_readings() -> None:
    there = {path.stem for path in (CONFIGS / "gsd_net").glob("*.yaml")}
    assert there == PRESETS.keys() | {"paper", "released"}


@pytest.mark.parametrize("other", ["supervised", "co_teaching"])
@pytest.mark.parametrize(("table", "ours"), [("4", "kvasir"), ("5", "brats"), ("6", "lidc")])
def test_rivals_have_the_same_network_data_and_budget(other: str, table: str, ours: str) -> None:
    rival, gsd = preset(f"gsd_net_table{table}", other), preset(f"paper_{ours}")
    for group in ("network", "data", "augment", "train", "optim"):
        assert getattr(rival, group) == getattr(gsd, group)
    if other == "co_teaching":
        assert rival.method["tau"] == gsd.method["tau"]


@pytest.mark.parametrize("backbone", ["unetpp", "mit_unet"])
def test_the_backbones_of_table_8(backbone: str) -> None:
    network = load_config(method="gsd_net", overrides=[f"network.name={backbone}", "network.width=8"]).network
    method = GSDNet(lambda: build(network, 1, 3, 2), Config(weight_cap=2))
    label = torch.randint(0, 3, (2, 64, 64))
    maps = {"superpixel": (torch.arange(4096) // 64).view(64, 64).expand(2, 64, 64), "distance": torch.rand(2, 64, 64)}
    batch = Batch(torch.randn(2, 1, 64, 64), label, torch.ones(2, dtype=torch.long), torch.arange(2), maps)
    logs = method.step(batch, START, lambda loss, group="main": loss.backward())
    assert torch.isfinite(logs["loss"])
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    assert method.predict(batch.image).shape == (2, 3, 64, 64)
