"""SP-guided against arrays computed by the authors' own functions, and against the paper's equations image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.functional.select import class_weight
from maskmend.methods.sp_guided import Config, SPGuided, raised
from maskmend.types import Batch, Progress

Arrays = dict[str, np.ndarray]
PRESETS = Path(__file__).parents[2] / "configs" / "sp_guided"


def preset(name: str) -> dict[str, object]:
    return {key: value for key, value in load_config(PRESETS / f"{name}.yaml").method.items() if key != "name"}


class Given(nn.Module):
    """A network whose answer to images 0, 1, ... is given."""

    def __init__(self, logits: Tensor | None = None) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3, 2, 32, 32) if logits is None else logits.clone())

    def forward(self, image: Tensor) -> Tensor:
        return self.logits[image[:, 0, 0, 0].long()]


class Cases:
    """A training set of one batch, which remembers what is written."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.refined = batch, torch.zeros_like(batch.label)
        self.shapes = tuple(tuple(label.shape) for label in batch.label)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        for rows in torch.arange(len(self.batch)).split(batch_size):
            yield self.batch.rows(rows)

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        assert name == "refined"
        self.refined[index] = value

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        return value


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def a_batch(arrays: Arrays) -> Batch:
    noisy = tensor(arrays["noisy"]).long()
    maps = {"superpixel": tensor(arrays["seg"]).long(), "refined": noisy}
    image = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 32, 32)
    return Batch(image, noisy, torch.ones(3, dtype=torch.long), torch.arange(3), maps)


def a_method(arrays: Arrays, **options: object) -> SPGuided:
    method = SPGuided(Given, Config(**options))
    for net, name in ((method.net1, "logits1"), (method.net2, "logits2")):
        net.logits.data = tensor(arrays[name]).float()
    return method


@pytest.mark.parametrize("case", ["sp", "sp_small", "pixel", "sp_lam0"])
def test_the_released_step(case: str, golden: Callable[[str], Arrays]) -> None:
    arrays = golden("sp_gsd_sp_step")
    wrong_bg, wrong_fg, agreement, pooled = arrays[f"{case}/cfg"].tolist()
    unit = "part" if pooled else "pixel"
    now = {"tau": (wrong_bg, wrong_fg), "tau_epochs": 0, "agreement": agreement, "unit": unit}
    method, batch = a_method(arrays, **preset("released_isic") | now), a_batch(arrays)
    logs = method.step(batch, Progress(9, 200, 0, 1), lambda loss, group="main": loss.backward())

    assert logs["loss"].item() == pytest.approx(float(arrays[f"{case}/loss"]), rel=1e-5)
    assert logs["kept"].item() == pytest.approx(arrays[f"{case}/select"].mean(), abs=1e-7)
    assert method.gap.tolist() == pytest.approx([float(arrays[f"{case}/loss_gap"]), 1.0], rel=1e-5)
    units = method.units(method.net1.logits.detach(), method.net2.logits.detach(), batch)
    kept = method.select(units, method.keep(2), "drop").gather(1, method.place(batch, units).flatten(1))
    assert np.array_equal(kept.view(3, 32, 32).numpy(), arrays[f"{case}/select"])
    for net, name in ((method.net1, "grad1"), (method.net2, "grad2")):
        torch.testing.assert_close(net.logits.grad, tensor(arrays[f"{case}/{name}"]), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("bg", "fg"), [(0.05, 0.2), (0.02, 0.07)])
def test_the_released_relabelling(bg: float, fg: float, golden: Callable[[str], Arrays]) -> None:
    arrays = golden("sp_gsd_sp_step")
    method, cases = a_method(arrays, **preset("released_isic") | {"tau": (bg, fg)}), Cases(a_batch(arrays))
    prob = tensor(arrays["refine_probs"]).float()
    for net in (method.net1, method.net2):
        net.logits.data = torch.stack((torch.zeros_like(prob), prob.logit()), dim=1)
    method.relabel(cases)
    assert np.array_equal(cases.refined.numpy(), arrays[f"refine_{bg}_{fg}"])


@pytest.mark.parametrize("keep", [0.7, 0.9])
def test_the_papers_step_and_relabelling(keep: float, golden: Callable[[str], Arrays]) -> None:
    arrays, paper = golden("sp_gsd_sp_step"), golden("sp_gsd_paper_ref")
    options = preset("paper_isic") | {"tau": 1 - keep}
    for image in range(3):
        method, batch = a_method(arrays, **options), a_batch(arrays).rows(torch.tensor([image]))
        logs = method.step(batch, Progress(9, 200, 0, 1), lambda loss, group="main": loss.backward())
        assert logs["loss"].item() == pytest.approx(paper[f"R{keep}/loss_per_image"][image], rel=1e-5)
        assert float(method.gap[0]) == pytest.approx(paper[f"R{keep}/gap_per_image"][image], rel=1e-5)
        z1, z2 = (net.logits.detach()[image : image + 1] for net in (method.net1, method.net2))
        units = method.units(z1, z2, batch)
        np.testing.assert_allclose(units.loss[units.size > 0], paper[f"R{keep}/l_sp_img{image}"], rtol=1e-4)
        kept = method.select(units, method.keep(2), "keep")[0][method.superpixels(batch)[0]]
        assert np.array_equal(kept.numpy(), paper[f"R{keep}/select"][image])
        assert np.array_equal(~kept.numpy(), paper[f"R{keep}/unreliable"][image])
    cases = Cases(a_batch(arrays))
    a_method(arrays, **options).relabel(cases)
    assert np.array_equal(cases.refined.numpy(), paper[f"R{keep}/refined"])


@pytest.mark.parametrize("keep", [0.9796, 0.9335])
def test_the_released_ramp(keep: float, golden: Callable[[str], Arrays]) -> None:
    """Its epoch 0 does not train: the trained ones drop a quarter of the share, a half, three quarters, all of it."""
    arrays, applied = golden("sp_gsd_sp_step"), []
    method = a_method(arrays, **preset("released_isic") | {"tau": (1 - keep, 1 - keep)})
    method.keep = lambda classes, risen: applied.append((1 - keep) * risen) or [1.0, 1.0]
    for epoch in range(200):
        method.step(a_batch(arrays), Progress(epoch, 200, epoch, 1), lambda loss, group="main": None)
    np.testing.assert_allclose(applied, arrays[f"pfr_R{keep}"][1:], atol=1e-12)
    assert np.allclose(applied[:5], np.array([0.25, 0.5, 0.75, 1, 1]) * (1 - keep))


def test_how_the_released_share_kept_grows(golden: Callable[[str], Arrays]) -> None:
    for before, after in golden("sp_gsd_sp_step")["rem_update"]:
        assert raised(before, 1.1, 0.9, 1) == pytest.approx(after)


def test_the_released_class_weights(golden: Callable[[str], Arrays]) -> None:
    arrays = golden("sp_gsd_sp_step")
    for name, foreground in (("cw_few_fg", 10), ("cw_many_fg", 90)):
        label = torch.zeros(1, 10, 10, dtype=torch.long)
        label.view(-1)[:foreground] = 1
        weight = class_weight(label, torch.ones_like(label, dtype=torch.bool), 2, 1e6)
        np.testing.assert_allclose([weight[0, -1, -1], weight[0, 0, 0]], arrays[name], rtol=1e-5)


def test_the_papers_preset_is_the_default() -> None:
    assert preset("paper_isic") == Config().model_dump()
