"""MLB-Seg's parts: warm start, who is believed, its ablations and their cost, what it refuses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.errors import InputError
from maskmend.functional import meta
from maskmend.functional.views import Variants, look
from maskmend.methods.mlb_seg import Config, MLBSeg, Pass
from maskmend.networks import NetworkConfig, build
from maskmend.types import IGNORE, Batch, Progress, Trust

CLEAN, NOISY, UNLABELED = Trust.CLEAN, Trust.NOISY, Trust.UNLABELED
PRESETS = sorted((Path(__file__).parents[2] / "configs" / "mlb_seg").glob("*.yaml"))
LATE = Progress(5, 10, 500, 100)
TABLE_5 = {  # row -> settings, forward passes of student and teacher in a step without a clean step
    "bootstrapping": ({"weights": "fixed", "views": (), "teaching": 0}, (2, 0)),
    "MLB": ({"views": (), "teaching": 0}, (3, 0)),
    "MLB + mean teacher": ({"views": ()}, (3, 1)),
    "MLB + PLE": ({"teaching": 0}, (3, 0)),
    "all": ({}, (3, 1)),
}


class Counting(nn.Module):
    """A small network that counts its calls and the images it sees."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(True), nn.Conv2d(6, classes, 1)
        )
        self.calls: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.calls.append(len(image))
        return self.net(image)


def a_batch(trust: tuple[Trust, ...] = (CLEAN, CLEAN, NOISY), dims: int = 2, classes: int = 3) -> Batch:
    label = torch.randint(0, classes, (len(trust), *(16,) * dims))
    label[torch.tensor(trust) == UNLABELED] = IGNORE
    image = torch.randn(len(trust), 1, *(16,) * dims)
    return Batch(image, label, torch.tensor(trust), torch.arange(len(trust)), {"refined": label.clone()})


def backward(loss: Tensor, group: str = "main") -> None:
    loss.backward()


@pytest.mark.parametrize("row", TABLE_5)
def test_every_row_of_table_5_trains_at_its_cost(row: str) -> None:
    settings, passes = TABLE_5[row]
    method = MLBSeg(Counting, Config(clean_step="none", **settings))
    logs = method.step(a_batch(), LATE, backward)
    assert (len(method.student.calls), len(method.teacher.calls)) == passes
    variants = 1 if "views" in settings else 5
    assert method.student.calls == [2] + [variants] * (passes[0] - 1)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.student.parameters())
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(torch.isfinite(torch.as_tensor(value)) for value in logs.values())


def test_the_merged_clean_step_costs_nothing_and_adds_the_clean_gradient() -> None:
    batch, method = a_batch(), MLBSeg(Counting, Config())
    parts: dict[str, list[Tensor]] = {}
    for kind in ("none", "merged"):
        method.config = Config(clean_step=kind, clean_loss="ce")
        method.zero_grad()
        method.student.calls.clear()
        torch.manual_seed(1)
        method.step(batch, LATE, backward)
        assert method.student.calls == [2, 5, 5]
        parts[kind] = [p.grad.clone() for p in method.student.parameters()]
    method.zero_grad()
    nn.functional.cross_entropy(method.student(batch.clean.image), batch.clean.label).backward()
    for none, merged, p in zip(parts["none"], parts["merged"], method.student.parameters(), strict=True):
        torch.testing.assert_close(merged, none + p.grad, rtol=1e-3, atol=1e-5)


def test_the_released_clean_step_is_a_second_update() -> None:
    method, updates = MLBSeg(Counting, Config(clean_step="own", clean_views=True, virtual_lr=0.005)), []

    def update(loss: Tensor, group: str = "main") -> None:
        loss.backward()
        updates.append(loss.item())

    method.step(a_batch(), LATE, update)
    assert len(updates) == 2
    assert method.student.calls == [5, 10, 5, 10]  # virtual step and step, clean gradient, forward mode, clean step
    assert method.teacher.calls == [5, 10]


def test_warm_start_learns_from_clean_cases_alone_and_ends_in_the_teacher() -> None:
    method, batch = MLBSeg(Counting, Config(warm=0.2, warm_most=0)), a_batch((CLEAN, CLEAN, NOISY, UNLABELED))
    assert [method.warm_epochs(Progress(0, epochs, 0, 1)) for epochs in (1, 10, 50)] == [1, 2, 10]
    method.step(batch, Progress(1, 10, 1, 1), backward)
    assert method.student.calls == [2]
    assert not method.teacher.calls
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1)
    train = FakeSet(batch)
    method.begin_epoch(Progress(1, 10, 1, 1), train)
    assert not train.written
    method.eval()
    method.begin_epoch(Progress(2, 10, 2, 1), train)
    expected = method.predict(batch.image[3:]).argmax(1)
    assert list(train.written) == [3]  # the one without a label
    assert torch.equal(train.written[3], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(method.student.parameters(), method.teacher.parameters(), strict=True))


class Seer(nn.Module):
    """Sees each pixel's class in its value, up to the largest class that it has learnt."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.weight = most, nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        seen = image[:, 0].round().clamp(0, self.most).long()
        return self.weight * nn.functional.one_hot(seen, 3).movedim(-1, 1).float()


def test_the_warm_start_lasts_until_every_class_is_found_on_clean_cases() -> None:
    batch = a_batch((CLEAN, CLEAN, NOISY))
    batch = replace(batch, image=batch.label.unsqueeze(1).float())
    batch.image[2] = 0  # nothing is seen on the noisy case, and nobody asks
    for learnt_at, ends in ((0, 1), (3, 3), (99, 6)):  # at least a tenth of ten epochs, at most six tenths
        method, warm = MLBSeg(lambda: Seer(1), Config(warm_most=0.6)), []
        for epoch in range(10):
            method.student.most = 2 if epoch >= learnt_at else 1
            at = Progress(epoch, 10, epoch, 1)
            method.begin_epoch(at, FakeSet(batch))
            warm.append(at.epoch < method.warm_epochs(at))
            resumed = MLBSeg(lambda: Seer(1), Config(warm_most=0.6))
            resumed.load_state_dict(method.state_dict())
            assert resumed.warm_epochs(at) == method.warm_epochs(at)
        assert warm == [True] * ends + [False] * (10 - ends)


def test_how_well_classes_are_found_counts_the_clean_cases_that_have_them() -> None:
    """Of class 2 the first case has 4 pixels, of which 2 are seen and 2 too many: 4 / 8; the second has none."""
    label = torch.zeros(3, 4, 4, dtype=torch.long)
    label[0, 0], label[0, 1], label[1, 0], label[2] = 2, IGNORE, 1, 2
    image = label.clamp_min(2).float() * (label != 0)
    image[0, 0, :2], image[0, 2, :2], image[1, 0] = 0, 2, 1
    batch = Batch(image.unsqueeze(1), label, torch.tensor([CLEAN, CLEAN, NOISY]), torch.arange(3))
    assert MLBSeg(lambda: Seer(2), Config()).least_dice(FakeSet(batch)).item() == pytest.approx(0.5)


def plain() -> nn.Module:
    """Without batch normalisation a case's gradient does not depend on those beside it."""
    return build(NetworkConfig(width=4, strides=[2], norm="instance"), 1, 3, 2)


@pytest.mark.parametrize("steps", [100, 11], ids=["a full batch", "the end of an epoch"])
def test_the_warm_start_gathers_a_batch_of_many_cases_over_several_steps(steps: int) -> None:
    batches, grads = [a_batch((CLEAN,) * 2 + (NOISY,)) for _ in range(4 if steps == 100 else 3)], []
    config = Config(warm_batch=8, warm_most=0)
    method = MLBSeg(plain, config)
    for step, batch in enumerate(batches, start=8):
        fresh = MLBSeg(plain, config)  # as a run that is killed and resumed at each step
        fresh.load_state_dict(method.state_dict())
        fresh.step(batch, Progress(0, 10, step, steps), lambda loss, group="main": grads.append(loss.backward()))
        method = fresh
    assert len(grads) == 1
    rows = [batch.clean for batch in batches]
    all_at_once = look(torch.cat([b.image for b in rows]), torch.cat([b.label for b in rows]), (), 0)
    twin = MLBSeg(plain, config)
    twin.load_state_dict(method.state_dict())
    twin.supervised(twin.student(all_at_once.image), all_at_once).backward()
    for p, q in zip(method.student.parameters(), twin.student.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6)
    assert not method.gathered.any()


def test_clean_cases_teach_by_cross_entropy_and_dice() -> None:
    """Two pixels of 0.8 and one of 0.6 for class 1, given 1, 0 and nothing: CE of two, Dice of those annotated."""
    prob, label = torch.tensor([0.8, 0.8, 0.6]), torch.tensor([[[1, 0, IGNORE]]])
    logits = torch.stack((1 - prob, prob)).log().view(1, 2, 1, 3)
    seen = look(torch.zeros(1, 1, 1, 3), label, (), 0)
    plain = -(math.log(0.8) + math.log(0.2)) / 2
    for kind, dice in (("ce", 0.0), ("ce_dice", 1 - (2 * 0.8 + 1) / (1.6 + 1 + 1))):
        loss = MLBSeg(Counting, Config(clean_loss=kind)).supervised(logits, seen)
        assert loss.item() == pytest.approx(plain + dice, rel=1e-6)


def test_the_released_virtual_step_is_the_optimisers_own() -> None:
    """An honest step of a copy of network and optimiser, in each of several training steps of a falling rate."""
    released = {"virtual_lr": 0.1, "virtual_every": 3, "virtual_decay": 0.01, "virtual_momentum": 0.9}
    method = MLBSeg(lambda: Counting().double(), Config(clean_step="own", **released))
    optimiser = torch.optim.SGD(method.student.parameters(), 0.1, 0.9, weight_decay=0.01)
    seen: list[tuple[meta.Weights, Tensor]] = []

    def update(loss: Tensor, group: str = "main") -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def see_ahead(rest: Variants, target: Tensor, at: Progress) -> Pass:
        now = type(method).see_ahead(method, rest, target, at)
        twin, own = deepcopy((method.student, optimiser))
        logits = twin(rest.image)
        own.zero_grad()
        method.smooth(logits, rest, target).backward()
        for p, q in zip(twin.parameters(), now.ahead.values(), strict=True):
            seen.append((p.grad.clone(), q))
        own.step()
        for p, q in zip(twin.parameters(), now.ahead.values(), strict=True):
            torch.testing.assert_close(p.detach(), q, rtol=1e-6, atol=1e-9)
        return now

    method.see_ahead = see_ahead
    batch = a_batch()
    batch = replace(batch, image=batch.image.double())
    for step in range(4, 9):
        at = Progress(step // 2, 10, step, 2)
        optimiser.param_groups[0]["lr"] = 0.1 * 3 / (at.epoch + 3)
        method.step(batch, at, update)
    assert len(seen) == 5 * len(list(method.student.parameters()))


def test_the_pass_of_the_virtual_step_is_also_learnt_from() -> None:
    method = MLBSeg(plain, Config(virtual_lr=0.1))
    rest = look(torch.randn(2, 1, 16, 16), torch.zeros(2, 16, 16, dtype=torch.long), ("in", "flip"), 0.02)
    target, slope, grads = method.target(rest), torch.randn(6, 3, 16, 16), []
    for now in (method.see(rest, target), method.see_ahead(rest, target, LATE)):
        method.zero_grad()
        ((slope * now.logits).mean() + now.smooth).backward()
        grads.append([p.grad.clone() for p in method.student.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_without_labels_only_pseudo_labels_weigh() -> None:
    method = MLBSeg(Counting, Config())
    assert method.step(a_batch((CLEAN, CLEAN, UNLABELED)), LATE, backward)["believed"] == 0
    assert 0 < method.step(a_batch((CLEAN, CLEAN, NOISY, UNLABELED)), LATE, backward)["believed"] < 1


def test_unknown_pixels_have_neither_weight_nor_loss() -> None:
    method, logits, slope = MLBSeg(Counting, Config()), *torch.randn(2, 2, 3, 8, 8)
    given, pseudo = torch.randint(-1, 3, (2, 2, 8, 8))
    for config in (Config(), Config(weights="fixed")):
        method.config = config
        weight = method.weigh(logits, slope if config.weights == "meta" else None, given, pseudo)
        assert not weight[0][given == IGNORE].any()
        assert not weight[1][pseudo == IGNORE].any()
        assert weight.sum().item() == pytest.approx(1)


def scene(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bright discs in noise and their masks."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    centre = torch.randint(12, 20, (count, 2, 1, 1), generator=draw)
    mask = (y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < 64
    return mask.unsqueeze(1) + 0.3 * torch.randn(count, 1, 32, 32, generator=draw), mask.long()


@pytest.mark.parametrize("normalise", ["joint", "separate"])
@pytest.mark.parametrize(("clean_loss", "steps"), [("ce", 25), ("ce_dice", 16)])
def test_wrong_labels_are_believed_less_than_right_ones(normalise: str, clean_loss: str, steps: int) -> None:
    """With Dice four clean cases are sooner known by heart, and then their gradient says little."""
    (image, truth), (x, y) = scene(4, 0), scene(4, 1)
    wrong = truth.roll((9, 9), (1, 2))
    config = Config(normalise=normalise, clean_loss=clean_loss, warm=0.5)
    method = MLBSeg(lambda: build(NetworkConfig(width=4, strides=[2]), 1, 2, 2), config)
    optimiser = torch.optim.Adam(method.student.parameters(), 0.02)

    def update(loss: Tensor, group: str = "main") -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    trust = torch.tensor([CLEAN] * 4 + [NOISY] * 4)

    def batch_with(label: Tensor) -> Batch:
        label = torch.cat((y, label))
        return Batch(torch.cat((x, image)), label, trust, torch.arange(8), {"refined": label})

    for step in range(steps):
        method.step(batch_with(wrong), Progress(0, 10, step, steps), update)
    method.teacher.load_state_dict(method.student.state_dict())
    clean = look(x, y, (), 0)
    _, toward = meta.gradient(method.student, lambda net: method.supervised(net(x), clean))
    z, slope = meta.tangent(method.student, image, toward)
    weight, bad = method.weigh(z, slope, wrong, z.argmax(1)), wrong != truth
    assert (z.argmax(1) == truth).float().mean() > 0.95
    assert weight[0][bad].sum() < 0.5 * weight[1][bad].sum()
    if normalise == "joint":
        right = method.step(batch_with(truth), LATE, lambda loss, group="main": None)["believed"]
        assert method.step(batch_with(wrong), LATE, lambda loss, group="main": None)["believed"] < right


def test_the_teachers_ramp_starts_with_the_run_or_with_the_epoch() -> None:
    for since, copies in (("run", False), ("epoch", True)):
        method = MLBSeg(Counting, Config(ema_since=since))
        with torch.no_grad():
            for p in method.student.parameters():
                p.add_(1)
        method.teach(Progress(5, 10, 500, 100))  # the first step of an epoch
        pairs = zip(method.student.parameters(), method.teacher.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == copies


@dataclass
class FakeSet:
    """A training set in memory."""

    batch: Batch
    written: dict[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def trust(self) -> Tensor:
        return self.batch.trust

    @property
    def sizes(self) -> Tensor:
        return torch.stack([torch.bincount(row[row >= 0], minlength=3) for row in self.batch.label.flatten(1)])

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        return (self.batch.rows(torch.arange(i, i + 1)) for i in range(len(self)))

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        return value.new_zeros(len(self), *value.shape[1:]).index_copy(0, index, value)

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        assert name == "refined"
        self.written |= dict(zip(index.tolist(), value, strict=True))


def test_it_refuses_data_it_cannot_learn_from() -> None:
    method = MLBSeg(Counting, Config())
    for trust in itertools.product((NOISY, UNLABELED), repeat=2):
        with pytest.raises(InputError, match="0 of 2 training cases are clean"):
            method.check(FakeSet(a_batch(trust)))
    with pytest.raises(InputError, match="needs both"):
        method.check(FakeSet(a_batch((CLEAN, CLEAN))))
    batch = a_batch()
    method.check(FakeSet(batch))
    batch.label[:2] = batch.label[:2].clamp_max(1)
    with pytest.raises(InputError, match="class 2 is in masks"):
        method.check(FakeSet(batch))
    with pytest.raises(InputError, match="needs clean and other cases"):
        method.step(a_batch((NOISY, NOISY)), LATE, backward)


def test_half_precision_learns_the_same_way() -> None:
    method, batch = MLBSeg(Counting, Config()), a_batch()
    steps = []
    for enabled in (False, True):
        method.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            logs = method.step(batch, LATE, backward)
        steps.append(torch.cat([p.grad.flatten() for p in method.student.parameters()]))
        assert 0 < logs["believed"] < 1
    assert torch.cosine_similarity(*steps, dim=0) > 0.99


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_run(path: Path) -> None:
    run = load_config(path)
    cls, config = run.method_parts()
    assert cls is MLBSeg
    small = run.network.model_copy(update={"width": 4, "strides": (2, 2)})
    method = cls(lambda: build(small, 1, 2, 2), config)
    rows = run.train.batch
    batch = a_batch((CLEAN,) * rows["clean"] + (NOISY,) * rows["imperfect"], classes=2)
    updates: list[Tensor] = []
    method.step(batch, LATE, lambda loss, group="main": updates.append(loss))
    assert len(updates) == (2 if config.clean_step == "own" else 1)
    assert all(torch.isfinite(loss) for loss in updates)
    assert method.warm_epochs(Progress(0, run.train.epochs, 0, 1)) == (2 if "la" in path.stem else 1)


def test_its_defaults_for_the_run() -> None:
    run = load_config(method="mlb_seg")
    assert (run.network.name, run.train.batch) == ("unetpp", {"clean": 2, "imperfect": 1})
    assert (run.optim.name, run.optim.momentum, run.optim.clip) == ("sgd", 0.9, 0.2)
