"""GSD-Net against arrays computed by the authors' own training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.functional.losses import ce, complement_ce, dice_by_class, kl, masked_mean, sym_kl
from maskmend.functional.schedule import ramp
from maskmend.functional.select import small_loss
from maskmend.methods.gsd_net import Config, Draw, GSDNet
from maskmend.types import Batch, Progress

Arrays = dict[str, np.ndarray]
PRESETS = Path(__file__).parents[2] / "configs" / "gsd_net"
RELEASED = {name: value for name, value in load_config(PRESETS / "released.yaml").method.items() if name != "name"}


class TinyNet(nn.Module):
    """The reference run's network: 3×3 convolution, tanh, 1×1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c2(torch.tanh(self.c1(x)))


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


@pytest.mark.parametrize("case", ["e5", "e25", "e40_slic", "e40_buggyseg", "e95_slic_ratecp01", "e40_slic_lam09"])
def test_the_released_step(case: str, golden: Callable[[str], Arrays]) -> None:
    arrays = golden("sp_gsd_gsd_step")
    epoch, co_lambda, majority, tau, *_ = arrays[f"{case}/cfg"]
    refine = "rings" if case == "e40_buggyseg" else "superpixel"
    options = RELEASED | {"tau": tau, "agreement": 1 - co_lambda, "majority": majority, "refine": refine}
    method = GSDNet(TinyNet, Config(**options))
    for name, network in (("net1", method.net1), ("net2", method.net2)):
        network.load_state_dict({k: tensor(arrays[f"{name}.{k}"]) for k in network.state_dict()})

    batch = Batch(
        image=tensor(arrays["imgs"]).float(),
        label=tensor(arrays["noisy"]).long(),
        trust=torch.ones(4, dtype=torch.long),
        index=torch.arange(4),
        maps={"superpixel": tensor(arrays["slic"]).long(), "rings": tensor(np.floor(arrays["dist_float"])).float()},
    )
    late = f"{case}/perm" in arrays
    draw = Draw(
        view=tensor(arrays["imgs_jit"]).float(),
        alpha=torch.tensor(float(arrays[f"{case}/alpha"]) if late else 0.5),
        partner=tensor(arrays[f"{case}/perm"]) if late else torch.arange(4),
        coin=torch.full((4,), float(majority)),
    )
    terms = method.losses(batch, Progress(int(epoch), 100, 0, 1), draw)
    total = terms["gda"] + terms["transfer"] + terms["agree"]
    total.backward()

    assert terms["gda"].item() == pytest.approx(float(arrays[f"{case}/loss_gda"]), rel=2e-5)
    assert total.item() == pytest.approx(float(arrays[f"{case}/loss_total"]), rel=2e-5)
    for name, network in (("net1", method.net1), ("net2", method.net2)):
        for parameter, value in network.named_parameters():
            assert value.grad is not None
            expected = tensor(arrays[f"{case}/{name}.grad.{parameter}"])
            torch.testing.assert_close(value.grad, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        method.weigh(batch, Progress(int(epoch), 100, 0, 1)), tensor(arrays[f"{case}/W"]).float(), rtol=0, atol=0
    )


def test_divergence_and_cross_entropy(golden: Callable[[str], Arrays]) -> None:
    misc = {name: tensor(value) for name, value in golden("sp_gsd_gsd_misc").items()}
    a, b, y = misc["a"].float(), misc["b"].float(), misc["y"]
    torch.testing.assert_close(kl(b, a), misc["kl_ab"].float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kl(a, b), misc["kl_ba"].float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kl(misc["d4"], misc["c4"]), misc["kl_c4d4"].float(), rtol=1e-5, atol=1e-6)
    for keep in (0.5, 0.9):
        jocor = ce(a, y) + ce(b, y) + (1 - keep) * sym_kl(a, b)
        torch.testing.assert_close(jocor, misc[f"jocor_lam{keep}"].float(), rtol=1e-5, atol=1e-6)


def test_soft_dice(golden: Callable[[str], Arrays]) -> None:
    misc = {name: tensor(value) for name, value in golden("sp_gsd_gsd_misc").items()}
    loss = dice_by_class(misc["a"].softmax(1), misc["y"], background=True).mean()
    assert loss.item() == pytest.approx(misc["softdice_nomask"].item(), rel=1e-5)


def test_search_loss(golden: Callable[[str], Arrays]) -> None:
    misc = {name: tensor(value) for name, value in golden("sp_gsd_gsd_misc").items()}
    a, b, y = misc["a"].float(), misc["b"].float(), misc["y"]
    valid = torch.ones_like(y, dtype=torch.bool)
    order = ce(a, y) + ce(b, y) + 0.5 * sym_kl(a, b)
    for tau, expected in zip(misc["lsearch_tau"], misc["lsearch"], strict=True):
        clean = small_loss(order, 1 - float(tau), valid)
        flipped = complement_ce(a, y) + complement_ce(b, y)
        found = masked_mean(torch.where(clean, ce(a, y) + ce(b, y), flipped), valid)
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("tau", [0.05, 0.17])
def test_the_share_dropped_grows_as_released_and_as_written(tau: float, golden: Callable[[str], Arrays]) -> None:
    misc = golden("sp_gsd_gsd_misc")
    released = [tau * ramp(epoch, 0, 19) for epoch in range(100)]
    written = [tau * ramp(epoch, 0, 10) for epoch in range(100)]
    np.testing.assert_allclose(released, misc[f"forget_official_tau{tau}"], atol=1e-12)
    np.testing.assert_allclose(written, misc[f"forget_paper_tau{tau}"], atol=1e-12)


def test_the_papers_preset_is_the_default() -> None:
    preset = {name: value for name, value in load_config(PRESETS / "paper.yaml").method.items() if name != "name"}
    assert preset == Config().model_dump()
