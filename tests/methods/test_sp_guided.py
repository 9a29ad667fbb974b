"""SP-guided's parts: equations by loops, ablations, who is mended and who is not, when it relabels and stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests import toy
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.engine.update import OptimConfig
from maskmend.errors import InputError
from maskmend.methods.sp_guided import Config, SPGuided
from maskmend.types import IGNORE, Batch, Progress, Trust

PRESETS = sorted((Path(__file__).parents[2] / "configs" / "sp_guided").glob("*.yaml"))
TABLE_2 = {
    "ours": {},
    "pixels": {"unit": "pixel"},
    "no selection": {"selection": False},
    "no refinement": {"rounds": 0},
}


class Counting(nn.Module):
    """One convolution that counts its calls."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.net, self.calls = nn.Conv2d(1, classes, 3, padding=1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x)


def a_batch(classes: int = 3, shape: tuple[int, ...] = (8, 8)) -> Batch:
    """Four cases, the first slice not annotated; a superpixel is eight pixels in a row, in half of the rows sixteen."""
    label = torch.randint(0, classes, (4, *shape))
    label[:, 0] = IGNORE
    ids = torch.arange(label[0].numel()) // 8
    maps = {"superpixel": (ids - ids % 4 // 2).view(shape).expand_as(label), "refined": label.clone()}
    return Batch(torch.randn(4, 1, *shape), label, torch.ones(4, dtype=torch.long), torch.arange(4), maps)


class Cases:
    """A training set of one batch, which remembers what is written."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.written = batch, 0
        self.shapes = tuple(tuple(label.shape) for label in batch.label)
        self.classes = ("background", "liver", "spleen")
        self.sizes = torch.stack([(batch.label == kind).flatten(1).sum(1) for kind in range(3)], dim=1)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        for rows in torch.arange(len(self.batch)).split(batch_size):
            yield self.batch.rows(rows)

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        return value

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        assert name == "refined"
        self.written += 1
        self.before = self.batch.maps["refined"].clone()
        self.batch.maps["refined"][index] = value

    def undo(self) -> None:
        self.batch.maps["refined"].copy_(self.before)


def mended(method: SPGuided, batch: Batch) -> Tensor:
    ((_, found),) = method.mended(batch)
    return found


def step(method: SPGuided, batch: Batch, epoch: int = 9) -> dict[str, float]:
    logs = method.step(batch, Progress(epoch, 50, epoch, 1), lambda loss, group="main": loss.backward())
    return {name: float(torch.as_tensor(value).detach()) for name, value in logs.items()}


@pytest.mark.parametrize("unit", ["superpixel", "part"])
@pytest.mark.parametrize("shape", [(8, 8), (4, 4, 4)])
def test_units_against_a_loop(unit: str, shape: tuple[int, ...]) -> None:
    """Eqs. 1 and 2, class by class and superpixel by superpixel, over annotated pixels."""
    batch, lam, classes = a_batch(4, shape), 0.65, 4
    z1, z2 = torch.randn(2, 4, classes, *shape)
    units = SPGuided(Counting, Config(unit=unit)).units(z1, z2, batch)
    for b in range(4):
        for s in range(int(batch.maps["superpixel"].max()) + 1):
            inside = (batch.maps["superpixel"][b] == s) & (batch.label[b] != IGNORE)
            if not inside.any():
                assert units.size.view(4, -1, classes if unit == "part" else 1)[b, s].sum() == 0
                continue
            p1, p2 = (z[b].softmax(0)[:, inside].mean(1) for z in (z1, z2))
            soft = torch.stack([(batch.label[b][inside] == c).float().mean() for c in range(classes)])
            agree = (p1 * (p1 / p2).log()).sum() + (p2 * (p2 / p1).log()).sum()
            if unit == "superpixel":
                loss = -(1 - lam) * (soft * (p1.log() + p2.log())).sum() + lam * agree
                torch.testing.assert_close(units.loss[b, s], loss)
                assert units.size[b, s] == inside.sum()
                torch.testing.assert_close(units.prob[b, s], ((p1 + p2) / 2)[units.given[b, s]])
                assert soft[units.given[b, s]] == soft.max()
            else:
                mine = slice(s * classes, (s + 1) * classes)
                torch.testing.assert_close(units.loss[b, mine], -(1 - lam) * (p1.log() + p2.log()) + lam * agree)
                torch.testing.assert_close(units.size[b, mine], soft * inside.sum())
                torch.testing.assert_close(units.prob[b, mine], (p1 + p2) / 2)
            assert units.vote[b, s] == (p1 + p2).argmax()


@pytest.mark.parametrize("row", TABLE_2)
def test_every_row_of_table_2_trains_at_its_cost(row: str) -> None:
    method, batch = SPGuided(Counting, Config(tau=0.3, **TABLE_2[row])), a_batch()
    assert set(method.maps) <= set(batch.maps)
    logs = step(method, batch)
    assert method.net1.calls + method.net2.calls == 2
    trained = [p for net in method.nets for p in net.parameters()]
    assert {id(p) for p in trained} == {id(p) for p in method.parameter_groups()["main"]}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert 0.7 <= logs["kept"] < 1
    assert bool(method.gap[1]) == (row != "no refinement")


def test_without_selection_everything_annotated_is_learned() -> None:
    batch = a_batch()
    free, whole = SPGuided(Counting, Config(tau=0.3, selection=False)), SPGuided(Counting, Config(tau=0.0))
    whole.load_state_dict(free.state_dict())
    assert step(free, batch)["loss"] == pytest.approx(step(whole, batch)["loss"])


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_takes_a_step(path: Path) -> None:
    cls, parameters = load_config(path).method_parts()
    method, batch = cls(lambda: Counting(2), parameters), a_batch(2)
    assert step(method, batch, epoch=10)["loss"] > 0
    assert mended(method, batch).shape == batch.label.shape


@pytest.mark.parametrize("unit", ["superpixel", "part", "pixel"])
def test_pixels_nobody_annotated_count_nowhere(unit: str) -> None:
    method, batch = SPGuided(Counting, Config(tau=0.4, unit=unit)), a_batch()
    z1, z2 = torch.randn(2, 4, 3, 8, 8)
    before = method.units(z1, z2, batch)
    z1[:, :, 0] += 100 * torch.randn(4, 3, 8)
    after = method.units(z1, z2, batch)
    assert torch.equal(before.loss, after.loss)
    found = mended(method, batch)
    assert torch.equal(found == IGNORE, batch.label == IGNORE)
    assert (found != batch.label).any()


def test_masks_known_to_be_right_stay() -> None:
    method, batch = SPGuided(Counting, Config(tau=0.4)), a_batch()
    batch.trust[:2] = Trust.CLEAN
    changed = (mended(method, batch) != batch.label).flatten(1).any(1)
    assert changed.tolist() == [False, False, True, True]


@pytest.mark.parametrize("relabel_by", ["loss", "probability"])
def test_whole_superpixels_are_relabelled_within_the_budget(relabel_by: str) -> None:
    method, batch = SPGuided(Counting, Config(tau=0.4, relabel_by=relabel_by)), a_batch()
    units = method.units(method.net1(batch.image), method.net2(batch.image), batch)
    found, ids = mended(method, batch), batch.maps["superpixel"]
    for b in range(4):
        touched = ids[b][found[b] != batch.label[b]].unique()
        inside = torch.isin(ids[b], touched) & (batch.label[b] != IGNORE)
        assert torch.equal(found[b][inside], units.vote[b][ids[b][inside]])
        assert inside.sum() <= 0.4 * (batch.label[b] != IGNORE).sum()
        worst = units.loss[b] if relabel_by == "loss" else -units.prob[b]
        rest = (units.size[b] > 0) & ~torch.isin(torch.arange(len(worst)), touched)
        voted = torch.stack([(batch.label[b][ids[b] == s] == units.vote[b, s]).all() for s in range(len(worst))])
        assert worst[touched].min() >= worst[rest & ~voted].min()


def test_certain_networks_and_tiny_quotas_are_finite() -> None:
    """log(0) and a quota of no pixel, both of which end the released code."""
    method = SPGuided(Counting, Config(tau=1e-4, at_quota="drop", ranking="class", scope="batch"))
    for net in method.nets:
        net.net.weight.data *= 1e4
    batch = a_batch()
    logs = step(method, batch)
    assert logs["kept"] == 1
    assert torch.isfinite(torch.tensor(logs["loss"]))
    assert torch.isfinite(method.units(method.net1(batch.image), method.net2(batch.image), batch).loss).all()


def test_r_grows_by_class_up_to_its_cap() -> None:
    method = SPGuided(Counting, Config(tau=(0.02, 0.5, 0.3), keep_cap=(0.9, 0.9, 0.8), ranking="class", tau_epochs=4))
    assert method.keep(3, risen=0.5) == pytest.approx([0.99, 0.75, 0.85])
    for expected in ([0.98, 0.5, 0.7], [0.98, 0.55, 0.77], [0.98, 0.605, 0.8]):
        assert method.keep(3) == pytest.approx(expected)
        method.round += 1


def tell(method: SPGuided, gaps: list[float], train: Cases) -> list[int]:
    """Epochs with these mean gaps; what each leaves in ``round``. Each trains the networks by adding one."""
    rounds = []
    for epoch, gap in enumerate(gaps):
        for p in method.parameter_groups()["main"]:
            p.data += 1
        method.gap += torch.tensor([3 * gap, 3.0])
        with torch.no_grad():
            method.begin_epoch(Progress(epoch + 1, 50, epoch + 1, 1), train)
        rounds.append(int(method.round))
    return rounds


def test_it_relabels_with_the_networks_of_the_largest_gap_and_stops_without_gain() -> None:
    method, train = SPGuided(Counting, Config(tau=0.4, patience=2)), Cases(a_batch())
    start = method.net1.net.bias.clone()
    assert tell(method, [0.1, 0.3, 0.4, 0.35, 0.39], train) == [0, 0, 0, 0, 1]
    assert train.written == 1
    torch.testing.assert_close(method.net1.net.bias, start + 3)  # as after the third epoch
    assert tell(method, [0.2, 0.3], train) == [1, 1]  # a maximum is sought anew
    train.batch.maps["refined"].copy_(a_batch().label)
    assert tell(method, [0.25, 0.3], train) == [1, 2]
    assert not method.finished()
    assert train.written == 2
    assert (train.batch.maps["refined"] != train.before).any()
    tell(method, [0.3, 0.2, 0.1], train)  # never above its first value: the second relabelling did not help
    assert method.finished()
    assert train.written == 2
    assert torch.equal(train.batch.maps["refined"], train.before)
    torch.testing.assert_close(method.net1.net.bias, start + 5)  # as it relabelled


def test_it_does_not_relabel_before_the_gap_has_risen() -> None:
    method, train = SPGuided(Counting, Config(tau=0.4, patience=2)), Cases(a_batch())
    start = method.net1.net.bias.clone()
    assert tell(method, [0.5, 0.4, 0.3, 0.2, 0.1, 0.3], train) == [0] * 6
    torch.testing.assert_close(method.net1.net.bias, start + 6)
    assert tell(method, [0.6, 0.5, 0.5], train) == [0, 0, 1]
    torch.testing.assert_close(method.net1.net.bias, start + 7)


def test_a_gap_below_0_is_none() -> None:
    """The largest gap starts at 0, as in the released code."""
    method, train = SPGuided(Counting, Config(tau=0.4, patience=2, rounds=1, rollback=False)), Cases(a_batch())
    assert tell(method, [-0.3, -0.2], train) == [0, 1]


def test_it_stops_where_relabelling_changes_nothing() -> None:
    method, batch = SPGuided(Counting, Config(tau=0.4, patience=1)), a_batch()
    batch.trust[:] = Trust.CLEAN
    tell(method, [0.2, 0.3, 0.2], Cases(batch))
    assert method.finished()


def test_a_number_of_rounds_leaves_training_to_its_last_epoch() -> None:
    method, train = SPGuided(Counting, Config(tau=0.4, patience=1, rounds=1, rollback=False)), Cases(a_batch())
    start = method.net1.net.bias.clone()
    assert tell(method, [0.3, 0.2], train) == [0, 1]
    torch.testing.assert_close(method.net1.net.bias, start + 2)
    step(method, train.batch, epoch=2)
    assert method.gap[1] == 0
    assert not method.finished()
    assert len(method.best) == 0


def test_a_fixed_epoch_ends_a_round_whatever_the_gap_does() -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    method, train = SPGuided(Counting, Config(tau=0.4, stop=3, patience=1, rollback=False)), Cases(a_batch())
    start = method.net1.net.bias.clone()
    assert tell(method, rising, train) == [0, 0, 1, 1, 1, 2, 2]
    torch.testing.assert_close(method.net1.net.bias, start + len(rising))
    falling = SPGuided(Counting, Config(tau=0.4, stop=4, patience=1, rounds=1, rollback=False))
    assert tell(falling, rising[::-1], Cases(a_batch())) == [0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("gap", ["superpixel", "pixel"])
def test_the_gap_waits_for_tau(gap: str) -> None:
    for from_start, counted in ((False, 2), (True, 3)):
        method = SPGuided(Counting, Config(tau=0.4, tau_epochs=2, gap=gap, gap_from_start=from_start))
        batch = a_batch()
        for epoch in range(3):
            step(method, batch, epoch)
        assert method.gap[1] == counted
        assert method.gap[0] > 0


def test_what_is_out_of_reach_is_said_before_training() -> None:
    train = Cases(a_batch())
    SPGuided(Counting, Config()).check(train)
    train.sizes[:, 2] = torch.tensor([0, 3, 70, 1])
    with pytest.raises(
        InputError, match=r"median mask of 'spleen' has 3 pixels.*superpixel \(11\).*data\.sidemaps\.superpixel_pixels"
    ):
        SPGuided(Counting, Config()).check(train)
    SPGuided(Counting, Config(unit="pixel")).check(train)
    train.sizes[:, 2] = 0  # not there at all: nothing to lose
    SPGuided(Counting, Config()).check(train)
    for wrong in ({"tau": (0.1, 0.2), "ranking": "class"}, {"tau": (0.1, 0.2, 0.1)}):
        with pytest.raises(InputError, match=r"method\.tau=\[0\.1, 0\.2.*give 3, background first"):
            SPGuided(Counting, Config(**wrong)).check(train)


def test_one_network_predicts_or_both() -> None:
    image = torch.randn(2, 1, 8, 8)
    one, both = SPGuided(Counting, Config()), SPGuided(Counting, Config(inference="mean"))
    torch.testing.assert_close(one.predict(image), one.net1(image).softmax(1))
    torch.testing.assert_close(both.predict(image), sum(net(image).softmax(1) for net in both.nets) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(("clean", "lr"), [(4, 0.02), (12, 1e-9)], ids=["relabels", "finishes"])
def test_a_run_resumes_around_its_relabelling(
    clean: int, lr: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every mask is known to be right, relabelling changes nothing, and the run is over early."""
    options = {"epochs": 16, "optim": OptimConfig(name="adam", lr=lr)}
    monkeypatch.setitem(toy.SMALL, "sp_guided", {"tau": 0.1, "patience": 1, "ranking": "class"})
    root = toy.write_toy(tmp_path / "toy" / "data", clean=clean)
    straight = toy.toy_fit(root, tmp_path / "straight", "sp_guided", **options)
    straight.run()
    events = [json.loads(line) for line in (tmp_path / "straight" / "events.jsonl").read_text().splitlines()]
    turns = [event["step"] for event in events if event.get("relabelled_pixels") or event.get("round")]
    assert turns
    assert any(event.get("relabelled_pixels") for event in events) == (clean == 4)
    assert straight.method.finished() == (clean == 12) == (straight.done < 48)
    for stop in {turns[0], min(turns[0] + 1, straight.done)}:
        folder = tmp_path / str(stop)
        toy.toy_fit(root, folder, "sp_guided", **options, stop_after=stop).run()
        resumed = toy.toy_fit(root, folder, "sp_guided", **options, resume=True)
        resumed.run()
        assert resumed.done == straight.done
        assert toy.states_equal(straight.method, resumed.method)
        assert resumed.data.state_dict() == straight.data.state_dict()
