"""Rival methods with teachers, clean cases or rewritten labels: closed forms, brute force, and passes counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmend.errors import InputError
from maskmend.functional import confident
from maskmend.functional.losses import ce, ce_dice, one_hot
from maskmend.functional.rng import seed_all
from maskmend.functional.robust import soft_ce_dice
from maskmend.methods import (
    adele,
    confident_learning,
    mean_teacher,
    mtcl,
    nl_reweighting,
    spatial_correction,
    strong_weak,
    ua_mt,
)
from maskmend.types import IGNORE, Batch, Progress, Trust

EARLY, LATE = Progress(0, 10, 0, 1), Progress(9, 10, 9, 1)
CLEAN, NOISY = int(Trust.CLEAN), int(Trust.NOISY)


class Net(nn.Module):
    """A convolution and a head; counts its passes and the rows they saw."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, classes, 1)
        self.passes, self.rows = 0, 0

    def features(self, image: Tensor) -> Tensor:
        self.passes, self.rows = self.passes + 1, self.rows + len(image)
        return self.body(image).relu()

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


class Given(nn.Module):
    """Says what the image says: (B, K, *S) logits are its channels, and one weight that may move."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale


def a_batch(trust: list[int], classes: int = 3) -> Batch:
    count = len(trust)
    label = torch.randint(0, classes, (count, 8, 8))
    maps = {"refined": label.clone()}
    return Batch(torch.randn(count, 1, 8, 8), label, torch.tensor(trust), torch.arange(count), maps)


def keep(loss: Tensor, group: str = "main") -> None:
    loss.backward()


def grads(module: nn.Module) -> Tensor:
    return torch.cat([torch.zeros(1) if p.grad is None else p.grad.flatten() for p in module.parameters()])


def taught(method: nn.Module, batch: Batch, at: Progress = LATE) -> dict[str, Tensor]:
    """One step from the same random state, without a change of weights; gradients stay."""
    method.zero_grad()
    seed_all(0)
    return method.step(batch, at, keep)


@dataclass
class Cases:
    """A training set in memory."""

    image: Tensor
    label: Tensor
    trust: Tensor
    classes: int
    written: dict[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(self.label.shape[1:]),) * len(self)

    @property
    def sizes(self) -> Tensor:
        return one_hot(self.label, self.classes).flatten(2).sum(2).long()

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        whole = Batch(self.image, self.label, self.trust, torch.arange(len(self)), {"refined": self.label})
        for rows in torch.arange(len(self)).split(batch_size):
            yield whole.rows(rows)

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        full = value.new_zeros(len(self), *value.shape[1:])
        full[index] = value
        return full

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        assert name == "refined"
        self.written |= dict(zip(index.tolist(), value, strict=True))


# --- confident learning -----------------------------------------------------------------------------------------------


def test_each_teacher_learns_its_half_in_one_pass() -> None:
    method, batch = confident_learning.ConfidentLearning(Net, confident_learning.Config()), a_batch([NOISY] * 6)
    taught(method, batch, EARLY)
    assert [net.passes for net in (*method.teachers, method.student)] == [1, 1, 0]
    assert [net.rows for net in method.teachers] == [3, 3]
    before = [grads(net) for net in method.teachers]
    label = batch.label.clone()
    label[1] = (label[1] + 1) % 3
    taught(method, replace(batch, label=label), EARLY)
    assert torch.equal(grads(method.teachers[0]), before[0])
    assert not torch.equal(grads(method.teachers[1]), before[1])


def test_a_batch_of_one_half_alone_teaches_that_half() -> None:
    method = confident_learning.ConfidentLearning(Net, confident_learning.Config())
    taught(method, a_batch([NOISY] * 4).rows(torch.tensor([1, 3])), EARLY)
    assert not grads(method.teachers[0]).any()
    assert grads(method.teachers[1]).any()


@pytest.mark.parametrize("eps", [0.25, 1.0])
def test_doubtful_pixels_are_smoothed(eps: float) -> None:
    method = confident_learning.ConfidentLearning(Net, confident_learning.Config(smoothing=eps))
    batch = a_batch([NOISY] * 2)
    batch.maps["refined"][0, :4] = (batch.label[0, :4] + 1) % 3
    batch.label[1, 0] = batch.maps["refined"][1, 0] = IGNORE
    logs = taught(method, batch)
    target = (1 - eps) * one_hot(batch.label, 3) + eps * one_hot(batch.maps["refined"], 3)
    soft = -(target * method.student(batch.image).log_softmax(1)).sum(1)
    torch.testing.assert_close(logs["loss"], soft[batch.label != IGNORE].mean())
    assert method.student.rows == 2 * 2
    assert [net.rows for net in method.teachers] == [0, 0]


def test_labels_are_judged_by_the_other_half() -> None:
    """The images hold the truth: a teacher that was told lies about its own half changes nothing in that half."""
    seed_all(0)
    truth = torch.randint(0, 3, (8, 16, 16))
    image = 2.5 * one_hot(truth, 3) + torch.rand(8, 3, 16, 16)
    label = torch.where(torch.rand(truth.shape) < 0.1, (truth + 1) % 3, truth)
    label[:, 0] = IGNORE
    trust = torch.tensor([NOISY] * 6 + [CLEAN] * 2)
    train = Cases(image, label, trust, 3)
    method = confident_learning.ConfidentLearning(Given, confident_learning.Config())
    before = method.predict(image)
    assert method.begin_epoch(EARLY, train) == {}
    assert not train.written
    method.eval()
    with torch.no_grad():
        method.teachers[1].scale.fill_(2.0)
        method.begin_epoch(Progress(5, 10, 5, 1), train)
    assert sorted(train.written) == [0, 1, 2, 3, 4, 5]
    found = torch.stack([train.written[i] for i in range(6)])
    sharp = torch.tensor([2.0, 1.0] * 3).view(-1, 1, 1, 1)  # even cases by the second teacher
    wrong = confident.find((sharp * image[:6]).softmax(1), label[:6])
    assert ((found != label[:6]) ^ wrong).sum() <= 0.02 * wrong.sum() + 1
    assert (found == truth[:6])[found != label[:6]].float().mean() > 0.99
    assert (label[:6] == IGNORE).eq(found == IGNORE).all()
    torch.testing.assert_close(before, image.softmax(1))
    with torch.no_grad():
        method.student.scale.fill_(3.0)
    torch.testing.assert_close(method.predict(image), (3 * image).softmax(1))
    train.written.clear()
    method.begin_epoch(LATE, train)
    assert not train.written


def test_sums_go_over_ranks_in_pieces() -> None:
    """Two ranks: what the other one gathers arrives too, and a rank without cases adds nothing."""
    other = torch.arange(1300) ** 2
    seen: list[int] = []

    class Ranks(Cases):
        def gather(self, index: Tensor, value: Tensor) -> Tensor:
            full = super().gather(index, value)
            full[1] = other[sum(seen) : sum(seen) + value.shape[1]]
            seen.append(value.shape[1])
            return full

    train = Ranks(torch.zeros(4, 1, 2, 2), torch.zeros(4, 2, 2), torch.zeros(4), 2)
    mine = torch.arange(1300)
    portions = [(torch.tensor([0]), mine), (torch.tensor([2]), mine)]
    assert torch.equal(confident_learning.total(train, portions, mine * 0), 2 * mine + other)
    assert max(seen) <= confident_learning.PIECE
    seen.clear()
    assert torch.equal(confident_learning.total(train, [], mine * 0), other)


# --- steps that lack a kind of case -----------------------------------------------------------------------------------

LACKING = [mean_teacher.MeanTeacher, ua_mt.UAMT, mtcl.MTCL, strong_weak.StrongWeak]


@pytest.mark.parametrize("cls", LACKING)
@pytest.mark.parametrize("trust", [CLEAN, NOISY, int(Trust.UNLABELED)])
def test_a_step_of_one_kind_alone_is_taken(cls: type[nn.Module], trust: int) -> None:
    """Clean cases alone teach as plain training does; others alone move what they may, and nothing breaks."""
    module = sys.modules[cls.__module__]
    method, batch = cls(Net, module.Config()), a_batch([trust] * 3)
    if trust == Trust.UNLABELED:
        batch.label[:] = IGNORE
    logs = taught(method, batch)
    assert torch.isfinite(logs["loss"])
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in method.parameters())
    if trust == CLEAN:
        net = getattr(method, "student", None) or method.strong
        torch.testing.assert_close(logs["loss"], ce_dice(net(batch.image), batch.label, together=True)[0])


@pytest.mark.parametrize(
    ("cls", "trust"),
    [
        (nl_reweighting.NLReweighting, CLEAN),
        (nl_reweighting.NLReweighting, NOISY),
        (spatial_correction.SpatialCorrection, CLEAN),
    ],
)
def test_a_step_that_would_teach_nothing_is_told(cls: type[nn.Module], trust: int) -> None:
    method = cls(Net, sys.modules[cls.__module__].Config())
    with pytest.raises(InputError, match=r"train\.batch"):
        taught(method, a_batch([trust] * 3))


# --- mean teachers ----------------------------------------------------------------------------------------------------


def test_the_mean_teacher_costs_one_pass_and_agrees() -> None:
    method = mean_teacher.MeanTeacher(Net, mean_teacher.Config(noise=0.0))
    batch = a_batch([CLEAN] * 2 + [NOISY] * 3)
    with torch.no_grad():
        method.teacher.head.bias[0] += 0.5
    logs = taught(method, batch)
    assert (method.student.passes, method.student.rows) == (1, 5)
    assert (method.teacher.passes, method.teacher.rows) == (1, 3)
    student, clean, rest = method.student, batch.clean, batch.imperfect
    torch.testing.assert_close(logs["high"], ce_dice(student(clean.image), clean.label, together=True)[0])
    shift = torch.tensor([0.5, 0.0, 0.0]).view(1, 3, 1, 1)
    agree = ((student(rest.image) + shift).softmax(1) - student(rest.image).softmax(1)).square().mean()
    torch.testing.assert_close(logs["consistency"], agree)
    torch.testing.assert_close(logs["loss"], logs["high"] + 0.1 * torch.tensor(-5 * 0.01).exp() * agree)  # step 9 of 10


@pytest.mark.parametrize("kind", [mean_teacher, ua_mt])
def test_given_labels_of_imperfect_cases_count_as_much_as_asked(kind: object) -> None:
    name = "MeanTeacher" if kind is mean_teacher else "UAMT"
    batch = a_batch([CLEAN] * 2 + [NOISY] * 2)
    other = replace(batch, label=torch.cat((batch.label[:2], (batch.label[2:] + 1) % 3)))
    for given in (0.0, 1.0):
        seed_all(1)
        method = getattr(kind, name)(Net, kind.Config(given=given))
        losses = []
        for one in (batch, other):
            seed_all(0)
            with torch.no_grad():  # the teacher of the second look is the first's
                method.teacher.load_state_dict(method.student.state_dict())
            losses.append(method.step(one, LATE, lambda loss, group="main": None)["loss"])
        assert torch.equal(*losses) == (given == 0)


def test_ua_mt_believes_only_what_is_sure() -> None:
    batch = a_batch([CLEAN, NOISY])

    def agreement(sure: float, weight: float) -> dict[str, Tensor]:
        seed_all(2)
        method = ua_mt.UAMT(Net, ua_mt.Config(sure=sure, passes=3, noise=0.0))
        with torch.no_grad():
            method.teacher.head.weight *= weight  # surer where it knows something
            method.teacher.head.bias.zero_()
        logs = taught(method, batch, EARLY)
        assert (method.teacher.passes, method.student.passes) == (4, 1)
        student = method.student(batch.image[1:]).softmax(1)
        seed_all(2)
        net = Net()
        with torch.no_grad():
            net.head.weight *= weight
            net.head.bias.zero_()
        teacher = net(batch.image[1:]).softmax(1)
        entropy = torch.special.entr(teacher).sum(1)
        limit = method.limit(EARLY, 3)
        mask = entropy < limit
        squared = (student - teacher).square().mean(1)
        expected = squared[mask].mean() if mask.any() else torch.zeros(())
        torch.testing.assert_close(logs["consistency"], expected)
        assert logs["sure"] == mask.float().mean()
        return logs

    assert agreement(1.1, 3.0)["sure"] == 1
    assert 0 < agreement(0.9, 3.0)["sure"] < 1
    assert agreement(0.01, 0.0)["sure"] == 0


def test_the_limit_of_ua_mt_rises_to_the_largest_entropy() -> None:
    method = ua_mt.UAMT(Net, ua_mt.Config())
    limits = [method.limit(Progress(e, 10, e, 1), 4) / torch.tensor(4.0).log() for e in range(11)]
    assert limits[0] == pytest.approx(0.75 + 0.25 * torch.tensor(-5.0).exp().item())
    assert limits == sorted(limits)
    assert limits[-1] == pytest.approx(1.0)


# --- MTCL -------------------------------------------------------------------------------------------------------------


def corrected(classes: int, **options: object) -> tuple[Batch, Tensor, Tensor, Tensor]:
    """A batch, the teacher's probabilities, errors everywhere that it differs, and the soft labels."""
    seed_all(3)
    method = mtcl.MTCL(lambda: Net(classes), mtcl.Config(**options))
    rest = a_batch([NOISY] * 2, classes)
    prob = method.look(rest.image, 0.0)
    errors = prob.argmax(1) != rest.label
    return rest, prob, errors, method.corrected(rest, prob, errors)


@pytest.mark.parametrize(("how", "share"), [("hard", 1.0), ("fs", 0.8)])
def test_a_wrong_binary_label_moves_by_its_share(how: str, share: float) -> None:
    """y' = y + e (-1)^y s."""
    rest, _, errors, soft = corrected(2, correction=how)
    y = rest.label.float()
    torch.testing.assert_close(soft[:, 1], y + errors * (-1) ** y * share)
    torch.testing.assert_close(soft.sum(1), torch.ones_like(y))


def test_released_rounding_lets_fixed_smoothing_only_delete() -> None:
    rest, _, errors, soft = corrected(2, correction="fs", hard_cast=True)
    hard = soft.argmax(1)
    assert set(soft.unique().tolist()) == {0.0, 1.0}
    assert (hard[errors] == 0).all()
    assert (hard == rest.label)[~errors].all()


def test_uncertainty_softens_less_where_the_teacher_is_torn() -> None:
    rest, _, errors, soft = corrected(3, correction="uds", passes=4)
    moved = 1 - soft.gather(1, rest.label.unsqueeze(1)).squeeze(1)
    assert (moved[~errors] == 0).all()
    assert ((moved[errors] > 0) & (moved[errors] < 1)).all()
    rest, prob, errors, soft = corrected(3, correction="hard")
    assert torch.equal(soft.argmax(1), torch.where(errors, prob.argmax(1), rest.label))


@pytest.mark.parametrize(("how", "passes"), [("hard", 2), ("fs", 2), ("uds", 2 + 5)])
def test_mtcl_costs_its_passes(how: str, passes: int) -> None:
    method = mtcl.MTCL(Net, mtcl.Config(correction=how, passes=5))
    logs = taught(method, a_batch([CLEAN] * 2 + [NOISY] * 2))
    assert (method.student.passes, method.student.rows) == (1, 4)
    assert (method.teacher.passes, method.teacher.rows) == (passes, 2 * passes)
    assert logs["low"] > 0


def test_before_its_start_imperfect_labels_teach_nothing() -> None:
    method = mtcl.MTCL(Net, mtcl.Config(start=0.5))
    logs = taught(method, a_batch([CLEAN, NOISY]), EARLY)
    assert logs["low"] == 0
    assert method.teacher.passes == 1


def test_soft_losses_of_hard_labels_are_the_usual_ones() -> None:
    logits, label = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6))
    label[0, :2] = IGNORE
    soft = soft_ce_dice(logits, one_hot(label, 3), label != IGNORE)
    torch.testing.assert_close(soft, ce_dice(logits, label, together=True)[0])


def test_mtcl_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """L = L_s + w (L_c + 5 L_cl), w = 0.1 exp(-5 (1 - t / 7.5)^2); L_cl by hand, from labels that confident learning
    moved by 0.8."""
    method = mtcl.MTCL(Net, mtcl.Config(correction="fs", noise=0.0))
    batch, at = a_batch([CLEAN, NOISY, NOISY]), Progress(3, 10, 3, 1)
    rest = batch.imperfect
    errors = torch.rand(2, 8, 8) < 0.3
    monkeypatch.setattr(confident, "find", lambda prob, label, rule: errors)
    with torch.no_grad():
        method.teacher.head.bias[1] += 2.0
        p, taught_by = method.student(rest.image).softmax(1), method.teacher(rest.image).softmax(1)
    logs = taught(method, batch, at)
    share = 0.8 * errors.unsqueeze(1)
    y = (1 - share) * one_hot(rest.label, 3) + share * one_hot(taught_by.argmax(1), 3)
    dice = [(2 * (p * y)[:, k].sum() + 1e-5) / ((p**2 + y**2)[:, k].sum() + 1e-5) for k in range(3)]
    low = (-(y * p.log()).sum(1).mean() + 1 - sum(dice) / 3) / 2
    weight = 0.1 * torch.tensor(-5 * (1 - 3 / 7.5) ** 2).exp()
    torch.testing.assert_close(logs["low"], low)
    torch.testing.assert_close(logs["consistency"], (p - taught_by).square().mean())
    torch.testing.assert_close(logs["loss"], logs["high"] + weight * (logs["consistency"] + 5 * low))


def test_released_rounding_lets_uncertainty_add_only_where_it_is_nil() -> None:
    rest, prob, errors, _ = corrected(2, correction="uds", hard_cast=True)
    method = mtcl.MTCL(lambda: Net(2), mtcl.Config(correction="uds", hard_cast=True))
    sure = torch.rand(2, 8, 8) < 0.5
    method.uncertainty = lambda image: torch.where(sure, 0.0, 0.01)
    hard = method.corrected(rest, prob, errors).argmax(1)
    wanted = torch.where(errors, torch.where(sure, 1 - rest.label, 0), rest.label)
    assert torch.equal(hard, wanted)


# --- two heads, pixel weights -----------------------------------------------------------------------------------------


def test_clean_labels_teach_the_strong_head_and_imperfect_ones_the_weak_head() -> None:
    method, batch = strong_weak.StrongWeak(Net, strong_weak.Config()), a_batch([CLEAN] * 2 + [NOISY] * 2)
    taught(method, batch)
    assert (method.strong.passes, method.strong.rows) == (1, 4)
    assert grads(method.strong.body).any()

    def changed(case: int) -> tuple[bool, bool]:
        taught(method, batch)
        strong, weak = grads(method.strong.head), grads(method.weak_head)
        label = batch.label.clone()
        label[case] = (label[case] + 1) % 3
        taught(method, replace(batch, label=label))
        return not torch.equal(grads(method.strong.head), strong), not torch.equal(grads(method.weak_head), weak)

    assert changed(0) == (True, False)
    assert changed(3) == (False, True)
    torch.testing.assert_close(method.predict(batch.image), method.strong(batch.image).softmax(1))


def test_pixels_weigh_what_the_virtual_step_says() -> None:
    """w_j ~ max(0, -dL_clean(theta - grad sum_k eps_k l_k) / d eps_j) at eps = 0, by a second-order graph."""
    seed_all(5)
    method = nl_reweighting.NLReweighting(Net, nl_reweighting.Config(clean_step="none"))
    method.double()
    batch = a_batch([CLEAN, NOISY])
    batch = replace(batch, image=batch.image.double())
    batch.label[1, 0] = IGNORE
    clean, rest, net = batch.clean, batch.imperfect, method.net
    eps = torch.zeros(rest.label.shape, dtype=torch.float64, requires_grad=True)
    weights = dict(net.named_parameters())
    pixels = F.cross_entropy(net(rest.image), rest.label, reduction="none", ignore_index=IGNORE)
    step = torch.autograd.grad((eps * pixels).sum(), list(weights.values()), create_graph=True)
    moved = {name: w - g for (name, w), g in zip(weights.items(), step, strict=True)}
    outer = F.cross_entropy(torch.func.functional_call(net, moved, (clean.image,)), clean.label)
    worth = (-torch.autograd.grad(outer, eps)[0]).clamp_min(0)
    weight = worth / worth.sum()
    logs = taught(method, batch)
    torch.testing.assert_close(logs["loss"].double(), (weight * pixels).sum(), rtol=1e-4, atol=1e-6)
    assert logs["used"] == pytest.approx((weight > 0).sum().item() / 56)


@pytest.mark.parametrize(("own", "updates", "passes"), [("none", 1, 3), ("merged", 1, 3), ("own", 2, 4)])
def test_reweighting_costs_two_passes_and_a_dual_one(own: str, updates: int, passes: int) -> None:
    method, calls = nl_reweighting.NLReweighting(Net, nl_reweighting.Config(clean_step=own)), []
    method.step(a_batch([CLEAN, CLEAN, NOISY]), LATE, lambda loss, group="main": calls.append(loss))
    assert (len(calls), method.net.passes) == (updates, passes)


# --- ADELE ------------------------------------------------------------------------------------------------------------


def an_adele(**options: object) -> adele.ADELE:
    return adele.ADELE(Given, adele.Config(**options))


def test_early_learning_ends_where_the_slope_has_fallen() -> None:
    """IoU .8 (1 - exp(-t / 3)): the slope is a tenth of that at 1 from t = 1 + 3 ln 10 = 7.9 on."""
    curve = (0.8 * (1 - torch.exp(-torch.arange(1, 15) / 3))).tolist()
    method = an_adele()
    assert next(n for n in range(1, 15) if method.over(curve[:n])) == 8
    assert not method.over((torch.arange(1, 15) * 0.05).tolist())


def test_epochs_before_the_rise_do_not_count() -> None:
    curve = [0.0] * 5 + (0.8 * (1 - torch.exp(-torch.arange(1, 15) / 2))).tolist()
    method = an_adele()
    assert next(n for n in range(1, len(curve)) if method.over(curve[:n])) == 5 + 6  # 1 + 2 ln 10 = 5.6


def classes_in(label: Tensor) -> Tensor:
    return one_hot(label, 4).flatten(2).any(2)


def test_labels_are_rewritten_where_all_conditions_hold() -> None:
    method = an_adele(scales=(1.0,))
    method.corrected[1] = True
    label = torch.tensor([[[0, 0, 1, 1, 2, 0, IGNORE, 0]]])
    predicted = torch.tensor([1, 1, 0, 2, 1, 2, 1, 3])
    logits = 9 * one_hot(predicted.view(1, 1, 8), 4)
    logits[..., 1] *= 0.05  # the second pixel is not sure
    batch = Batch(logits, label, torch.tensor([NOISY]), torch.tensor([0]), {"refined": label})
    assert method.rewritten(batch, classes_in(label)).flatten().tolist() == [1, 0, 0, 1, 2, 0, IGNORE, 0]
    clean = replace(batch, trust=torch.tensor([CLEAN]))
    assert torch.equal(method.rewritten(clean, classes_in(label)), label)
    absent = replace(batch, label=torch.zeros_like(label))
    assert not method.rewritten(absent, classes_in(absent.label)).any()  # a mask that was left out is not redrawn


def test_scales_are_sizes_that_the_network_takes() -> None:
    sizes = []

    class Strided(Net):
        stride = (4, 8)

        def features(self, image: Tensor) -> Tensor:
            sizes.append(tuple(image.shape[2:]))
            return super().features(image)

    method = adele.ADELE(Strided, adele.Config())
    batch = a_batch([NOISY] * 2)
    batch = replace(batch, image=torch.randn(2, 1, 16, 16), label=torch.zeros(2, 16, 16).long())
    batch = replace(batch, maps={"refined": batch.label})
    logs = taught(method, batch)
    assert sizes == [(12, 8), (16, 16), (24, 24)]
    assert method.net.passes == 3
    assert logs["spread"] > 0


def test_three_scales_learn_and_agree() -> None:
    """mean_s CE_s + lambda mean_s KL(p_s || m), m the mean of the softmaxes, not held fixed; and their slopes."""
    method = adele.ADELE(lambda: Net(), adele.Config(scales=(0.5, 1.0, 1.5), agreement=0.4))
    batch = a_batch([NOISY] * 2)
    batch.maps["refined"][0] = (batch.label[0] + 1) % 3
    batch.label[1, :3] = batch.maps["refined"][1, :3] = IGNORE
    logs = taught(method, batch)
    found = grads(method)
    method.zero_grad()
    sizes = [F.interpolate(batch.image, n, mode="bilinear") for n in (4, 8, 12)]
    logits = [F.interpolate(method.net(x), 8, mode="bilinear") for x in sizes]
    probs, seen = [z.softmax(1) for z in logits], batch.label != IGNORE
    mean = sum(probs) / 3
    learned = sum(F.cross_entropy(z, batch.maps["refined"], ignore_index=IGNORE) for z in logits) / 3
    spread = sum((p * (p / mean).log()).sum(1)[seen].mean() for p in probs) / 3
    (learned + 0.4 * spread).backward()
    torch.testing.assert_close(logs["loss"], learned + 0.4 * spread)
    torch.testing.assert_close(grads(method), found, rtol=1e-4, atol=1e-6)


def test_iou_is_with_given_labels_over_all_steps() -> None:
    method, label = an_adele(), torch.tensor([[[0, 1, 1, 2, IGNORE, 1]]])
    method.watch(torch.tensor([[[0, 1, 0, 2, 1, 2]]]), label, 3)
    method.watch(torch.tensor([[[1, 1, 1, 1, 1, 1]]]), label, 3)
    assert method.overlap[:, :3].tolist() == [[1, 1 + 3, 1], [2 + 1, 3 + 5, 2 + 1]]


def test_the_curve_survives_a_resume_and_corrections_wait() -> None:
    label = torch.zeros(4, 8, 8).long()
    label[:, 2:6, 2:6] = 1
    image = 9 * one_hot(label, 2)
    train = Cases(image, label, torch.full((4,), NOISY), 2)
    method = an_adele(scales=(1.0,), every=3)
    corrections = []
    for epoch in range(12):
        with torch.no_grad():
            train.written.clear()
            method.begin_epoch(Progress(epoch, 12, epoch, 1), train)
        corrections += [epoch] * bool(train.written)
        method.watch(label, label, 2)
        method.overlap[0] *= 1 - torch.exp(torch.tensor(-epoch - 1.0))
        again = an_adele(scales=(1.0,), every=3)
        again.load_state_dict(method.state_dict())
        assert torch.equal(again.curve, method.curve)
        method = again
    assert corrections
    assert {b - a for a, b in pairwise(corrections)} == {3}
    assert method.curve.shape == (11, 2)


# --- Spatial Correction -----------------------------------------------------------------------------------------------


def discs(radius: float, count: int = 3, size: int = 48) -> Tensor:
    """Signed distance to a circle, (count, size, size): above 0 inside."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = size / 2 + torch.arange(count).view(-1, 1, 1) - 1
    return radius - ((y - centre) ** 2 + (x - centre) ** 2).sqrt()


def logits_of(*margins: Tensor) -> Tensor:
    return torch.stack((torch.zeros_like(margins[0]), *margins), 1)


def corrector(**options: object) -> spatial_correction.SpatialCorrection:
    return spatial_correction.SpatialCorrection(Given, spatial_correction.Config(**options)).eval()


@pytest.mark.parametrize("grown", [-4.0, -2.5, 2.5, 4.0])
def test_a_boundary_that_lies_off_is_moved_back(grown: float) -> None:
    truth, image = (discs(14.0) > 0).long(), logits_of(discs(14.0 + grown))
    given = (discs(14.0 + grown) > 0).long()
    trust = torch.tensor([CLEAN, NOISY, NOISY])
    train = Cases(image, torch.where(trust.view(-1, 1, 1) == CLEAN, truth, given), trust, 2)
    method = corrector()
    with torch.no_grad():
        logs = method.begin_epoch(Progress(3, 10, 3, 1), train)
    assert logs["bias1"] == pytest.approx(-grown, abs=1.3)
    assert sorted(train.written) == [1, 2]

    def dice(found: Tensor) -> float:
        return float(2 * (found * truth[1]).sum() / (found.sum() + truth[1].sum()))

    assert dice(train.written[1]) > 0.5 * (1 + dice(given[1]))


def test_predictions_that_lie_right_replace_labels_and_end_it() -> None:
    truth = (discs(14.0) > 0).long()
    given = truth.roll(3, 2)
    trust = torch.tensor([CLEAN, NOISY, NOISY])
    train = Cases(logits_of(discs(14.0)), torch.where(trust.view(-1, 1, 1) == CLEAN, truth, given), trust, 2)
    method = corrector()
    with torch.no_grad():
        logs = method.begin_epoch(Progress(3, 10, 3, 1), train)
    assert logs["bias1"] == 0
    assert torch.equal(train.written[1], truth[1])
    train.written.clear()
    with torch.no_grad():
        assert method.begin_epoch(Progress(8, 10, 8, 1), train) == {}
    assert not train.written


def test_each_class_is_moved_by_its_own_bias() -> None:
    outer, inner = discs(18.0), 2 * discs(8.0)
    truth = ((discs(15.0) > 0).long() + (discs(8.0) > 0)).long()
    train = Cases(logits_of(outer, inner.maximum(torch.tensor(-50.0)) + outer), truth, torch.zeros(3).long(), 3)
    bias = corrector().bias(train)
    assert bias[0] < -1
    assert bias[1].abs() < 1


def test_a_shift_by_hand() -> None:
    """Scores 3 2 1 | -1 -2 -3 -4 of a row: by d = 2 the largest score up to 2 pixels outside, 2, is added as
    2 exp(-dist^2 / 8); by d = -2 the largest inside, 2, is taken away."""
    scores = torch.tensor([3.0, 2.0, 1.0, -1.0, -2.0, -3.0, -4.0])
    distance = torch.tensor([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
    bump = 2 * torch.exp(-distance.square() / 8)
    for d, sign in ((2.0, 1), (-2.0, -1)):
        peak = spatial_correction.peak(scores, distance, d)
        torch.testing.assert_close(spatial_correction.shift(distance, d, peak), sign * bump)
    image = torch.stack((torch.zeros(7), scores)).view(1, 2, 1, 7)
    batch = Batch(image, torch.zeros(1, 1, 7).long(), torch.tensor([NOISY]), torch.arange(1), {})
    method = corrector()
    with torch.no_grad():
        ((_, grown),), ((_, shrunk),) = (tuple(method.redrawn(batch, torch.tensor([d]))) for d in (2.0, -2.0))
    assert grown.flatten().tolist() == [1, 1, 1, 1, 0, 0, 0]  # -1 + 1.76 is above 0, -2 + 1.21 is not
    assert shrunk.flatten().tolist() == [1, 1, 0, 0, 0, 0, 0]  # 1 - 1.76 is not, 2 - 1.21 is


def test_after_a_correction_training_starts_again() -> None:
    truth = (discs(14.0) > 0).long()
    trust = torch.tensor([CLEAN, NOISY, NOISY])
    for restart in (True, False):
        method = corrector(restart=restart, rounds=1)
        with torch.no_grad():
            method.net.scale.fill_(2.0)
            train = Cases(logits_of(discs(18.0)), truth, trust, 2)
            method.begin_epoch(Progress(1, 8, 1, 1), train)
            assert not train.written
            method.begin_epoch(Progress(2, 8, 2, 1), train)
        assert train.written
        assert method.net.scale.item() == (1.0 if restart else 2.0)
        train.written.clear()
        with torch.no_grad():
            method.begin_epoch(Progress(6, 8, 6, 1), train)
        assert not train.written


def test_clean_cases_only_tell_the_bias_unless_asked() -> None:
    batch = a_batch([CLEAN] * 2 + [NOISY] * 2)
    for learn, rows in ((False, 2), (True, 4)):
        method = spatial_correction.SpatialCorrection(Net, spatial_correction.Config(learn_clean=learn))
        logs = taught(method, batch)
        assert method.net.rows == rows
        part = batch.label[4 - rows :]
        torch.testing.assert_close(logs["loss"], ce(method.net(batch.image[4 - rows :]), part).mean())


def test_distances_are_whole_pixels_to_the_other_side() -> None:
    inside = torch.zeros(1, 7, dtype=torch.bool)
    inside[0, 2:5] = True
    assert spatial_correction.signed_distance(inside).tolist() == [[2, 1, -1, -2, -1, 1, 2]]
    label = inside.long()
    assert spatial_correction.off(inside, label, 1) == 0
    assert spatial_correction.off(torch.zeros_like(inside), label, 1) == 1
    assert spatial_correction.off(inside, torch.zeros_like(label), 1) == -1
    assert spatial_correction.off(torch.zeros_like(inside), torch.zeros_like(label), 1) is None
