"""Rival methods: what each learns from, by hand on a few pixels, and what a step costs in passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskmend.functional.losses import ce, dice_by_class, kl, masked_mean, one_hot, sym_kl
from maskmend.functional.robust import sharpen
from maskmend.functional.teacher import margins
from maskmend.functional.warp import sampling_grid
from maskmend.methods import Method, find
from maskmend.methods.cdr import keep_critical_
from maskmend.methods.dividemix import clean_probability
from maskmend.methods.pick_and_learn import STAGES, Scorer, quality
from maskmend.types import IGNORE, Batch, Progress, Trust

from ..functional.test_warp import still

LATE = Progress(40, 100, 40, 1)
COST = {  # rows of the batch that go through networks: with a graph, without
    "gce": (1, 0),
    "rce": (1, 0),
    "sce": (1, 0),
    "t_loss": (1, 0),
    "mixup": (1, 0),
    "cdr": (1, 0),
    "pick_and_learn": (1, 0),
    "elr": (1, 0),
    "jocor": (2, 0),
    "idmps": (2, 0),
    "tri_network": (3, 0),
    "rmd": (4, 0),
    "dividemix": (4, 4),
}
LOCAL = sorted(COST.keys() - {"mixup", "pick_and_learn", "rmd", "dividemix"})
"""Methods whose loss at a pixel looks at that pixel alone, where the network does."""


class Net(nn.Module):
    """Two pointwise convolutions; counts the rows that it sees."""

    def __init__(self, channels: int = 1, classes: int = 3, dims: int = 2) -> None:
        super().__init__()
        self.channels, self.classes, self.dims = channels, classes, dims
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.first, self.head = conv(channels, 8, 1), conv(8, classes, 1)
        self.seen, self.learned = 0, 0

    def forward(self, image: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.learned += len(image)
        else:
            self.seen += len(image)
        return self.head(self.first(image).tanh())


class Fixed(Net):
    """Gives the logits it was given, (B, K, *S), whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(1, logits.shape[1], logits.ndim - 2)
        self.logits = nn.Parameter(logits.clone())

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


def make(name: str, build: Any = Net, **settings: object) -> Method:
    cls, config = find(name)
    method = cls(build, config(**settings))
    if name == "dividemix":
        method.clean = torch.tensor([[0.9, 0.9], [0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    if name == "elr":
        method.visits.fill_(9)
    return method


def with_logits(name: str, logits: list[Tensor], **settings: object) -> Method:
    """The method, its networks giving these logits."""
    each: Iterator[Tensor] = iter(logits)
    return make(name, lambda: Fixed(next(each)), **settings)


def a_batch(count: int = 4, shape: tuple[int, ...] = (8, 8)) -> Batch:
    trust = torch.full((count,), int(Trust.NOISY))
    maps = {f"target_{k}": torch.rand(count, *shape) / 3 for k in (1, 2)}
    return Batch(
        torch.randn(count, 1, *shape), torch.randint(0, 3, (count, *shape)), trust, torch.arange(count) % 4, maps
    )


def losses_of(method: Method, batch: Batch, at: Progress = LATE) -> dict[str, Tensor]:
    """What each group of parameters would learn from."""
    seen: dict[str, Tensor] = {}
    method.step(batch, at, lambda loss, group="main": seen.__setitem__(group, loss))
    return seen


def smallest(pixels: list[float], count: int) -> list[int]:
    return sorted(range(len(pixels)), key=lambda i: pixels[i])[:count]


@pytest.mark.parametrize("name", COST)
@pytest.mark.parametrize("dims", [2, 3])
def test_every_rival_learns_at_its_cost(name: str, dims: int) -> None:
    method, batch = make(name, lambda: Net(dims=dims)), a_batch(shape=(8,) * dims)

    def update(loss: Tensor, group: str = "main") -> None:
        loss.backward(inputs=method.parameter_groups()[group])

    method.step(batch, LATE, update)
    nets = [net for net in method.modules() if isinstance(net, Net)]
    rows = [sum(net.learned for net in nets) / len(batch), sum(net.seen for net in nets) / len(batch)]
    assert tuple(rows) == COST[name]
    groups = [p for group in method.parameter_groups().values() for p in group]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in groups)
    assert len(groups) == sum(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize("name", LOCAL)
def test_a_pixel_nobody_annotated_pulls_at_nothing(name: str) -> None:
    method, batch = make(name), a_batch()
    batch.label[:, 2:4] = IGNORE
    image = batch.image.requires_grad_()
    for loss in losses_of(method, batch).values():
        (pull,) = torch.autograd.grad(loss, image, retain_graph=True)
        assert (pull[:, :, 2:4] == 0).all()
        assert (pull != 0).any()


@pytest.mark.parametrize("name", COST)
def test_nothing_annotated_is_finite(name: str) -> None:
    method, batch = make(name), a_batch()
    batch.label[:] = IGNORE
    for group, loss in losses_of(method, batch).items():
        loss.backward(retain_graph=True)
        assert torch.isfinite(loss)
        grads = [p.grad for p in method.parameter_groups()[group] if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads)
        if name != "dividemix":  # which guesses
            assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_jocor_by_hand() -> None:
    """Of 16 pixels one is not annotated; of the 15 a fifth is dropped: 12 of smallest joint loss are learned."""
    z1, z2 = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    batch = a_batch(1, (4, 4))
    batch.label[0, 0, 0] = IGNORE
    method = with_logits("jocor", [z1, z2], lam=0.3, tau=0.2)
    joint = []
    for i in range(1, 16):
        y = batch.label.flatten()[i]
        p, q = (z.softmax(1).flatten(2)[0, :, i] for z in (z1, z2))
        agreement = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
        joint.append(0.7 * -(p[y].log() + q[y].log()).item() + 0.3 * agreement.item())
    wanted = sum(sorted(joint)[:12]) / 12
    assert losses_of(method, batch)["main"].item() == pytest.approx(wanted, rel=1e-5)


def test_jocor_ramps_and_predicts() -> None:
    batch = a_batch(1, (4, 4))
    z1, z2 = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    method = with_logits("jocor", [z1, z2], tau=0.5)
    everything = masked_mean(
        0.35 * (ce(z1, batch.label) + ce(z2, batch.label)) + 0.65 * sym_kl(z1, z2), batch.label > -1
    )
    torch.testing.assert_close(losses_of(method, batch, Progress(0, 100, 0, 1))["main"].detach(), everything)
    torch.testing.assert_close(method.predict(batch.image).detach(), (z1.softmax(1) + z2.softmax(1)) / 2)
    first = with_logits("jocor", [z1, z2], inference="first")
    torch.testing.assert_close(first.predict(batch.image).detach(), z1.softmax(1))


@pytest.mark.parametrize("selector", ["agreement", "difference"])
def test_two_networks_choose_for_the_third(selector: str) -> None:
    losses = [torch.rand(1, 4, 4) for _ in range(3)]
    label = torch.randint(0, 3, (1, 4, 4))
    method = make("tri_network", selector=selector)
    chosen = method.choose(losses, label, 3, 0.25)
    flat = [loss.flatten().tolist() for loss in losses]
    for third, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        if selector == "agreement":
            wanted = set(smallest(flat[i], 12)) & set(smallest(flat[j], 12))
        else:
            wanted = set(smallest([abs(a - b) for a, b in zip(flat[i], flat[j], strict=True)], 12))
        assert set(chosen[third].flatten().nonzero().flatten().tolist()) == wanted


def test_what_no_pair_agrees_on_teaches_nobody() -> None:
    """The others' easy pixels do not meet: nothing to learn from, and nothing breaks."""
    easy_left, easy_top = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    easy_left[0, 0] = torch.tensor([[9.0, 0.0], [9.0, 1.0]])
    easy_top[0, 0] = torch.tensor([[0.0, 9.0], [1.0, 9.0]])
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long), torch.ones(1), torch.arange(1), {})
    method = with_logits("tri_network", [torch.zeros(1, 2, 2, 2), easy_left, easy_top], tau=0.5)
    losses = losses_of(method, batch)
    assert losses["net1"].item() == 0
    assert losses["net2"].item() > 0


def test_mixup_weighs_both_labels() -> None:
    method, batch = make("mixup"), a_batch(2)
    batch.label[0, 0] = IGNORE
    swapped = torch.tensor([1, 0])
    mixed = method.net(0.3 * batch.image + 0.7 * batch.image[swapped])
    own, others = (masked_mean(ce(mixed, y), y != IGNORE) for y in (batch.label, batch.label[swapped]))
    torch.testing.assert_close(method.loss(batch, 0.3, swapped), 0.3 * own + 0.7 * others)
    plain = masked_mean(ce(method.net(batch.image), batch.label), batch.label != IGNORE)
    torch.testing.assert_close(method.loss(batch, 1.0, swapped), plain)


def test_cdr_keeps_the_critical_weights() -> None:
    """All weights are ranked together, those of 3D convolutions too; the rest stands still."""
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1))
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    before = {name: p.grad.clone() for name, p in net.named_parameters()}
    scores = sorted(
        ((p * p.grad).abs().flatten()[i].item(), name, i)
        for name, p in net.named_parameters()
        if name in ("0.weight", "2.weight")
        for i in range(p.numel())
    )
    kept = {(name, i) for _, name, i in scores[-int(0.75 * len(scores)) :]}
    keep_critical_(list(net.parameters()), 0.75)
    for name, p in net.named_parameters():
        if p.ndim == 1:
            assert torch.equal(p.grad, before[name])
            continue
        factor = torch.tensor([0.75 * ((name, i) in kept) for i in range(p.numel())]).view_as(p)
        torch.testing.assert_close(p.grad, before[name] * factor)


def test_cdr_ramps_and_all_weights_learn_without_noise() -> None:
    method, batch = make("cdr", tau=0.4, tau_epochs=20), a_batch()
    for epoch, keep in ((0, 1.0), (10, 0.8), (30, 0.6)):
        losses_of(method, batch, Progress(epoch, 100, epoch, 1))["main"].backward()
        assert method.keep == pytest.approx(keep)
        before = [p.grad.clone() for p in method.parameters()]
        method.after_backward("main")
        same = all(torch.equal(p.grad, b) for p, b in zip(method.parameters(), before, strict=True))
        assert same == (keep == 1)


def test_elr_stores_an_average_of_past_predictions() -> None:
    """t <- 0.6 t + 0.4 p from 0, p the clamped and normalised prediction of each time; its sum is 1 - 0.6^n."""
    method, batch = make("elr", beta=0.6, lam=2.0), a_batch()
    method.visits.zero_()
    batch.maps.update({name: torch.zeros(4, 8, 8) for name in batch.maps})
    train, t = Cases(batch), torch.zeros(4, 3, 8, 8)
    assert method.maps == ("target",)
    with torch.no_grad():
        assert method.begin_epoch(Progress(0, 9, 0, 5), train) == {}
        assert not train.written
        for epoch in range(1, 4):
            method.net.head.bias[epoch % 3] += 30.0 * (epoch == 2)  # surer than the clamp
            p = method.net(batch.image).softmax(1).clamp(1e-4, 1 - 1e-4)
            t = 0.6 * t + 0.4 * p / p.sum(1, keepdim=True)
            method.begin_epoch(Progress(epoch, 9, 5 * epoch, 5), train)
            batch.maps.update({f"target_{k}": train.written["target"][:, k - 1] for k in (1, 2)})
            torch.testing.assert_close(method.target(batch), t)
            torch.testing.assert_close(t.sum(1), torch.full((4, 8, 8), 1 - 0.6**epoch))
        prob = method.net(batch.image).softmax(1)
    early = (1 - (prob.clamp(1e-4, 1 - 1e-4) * t).sum(1)).log().mean()
    wanted = ce(method.net(batch.image), batch.label).mean() + 2 * early
    torch.testing.assert_close(losses_of(method, batch)["main"], wanted)
    again = make("elr")
    again.load_state_dict(method.state_dict())
    assert again.visits == 3


def test_elr_pulls_towards_its_target() -> None:
    """Along -grad of the second term the probability of the target's class rises, whatever the given label."""
    logits = torch.zeros(1, 3, 4, 4)
    method, batch = with_logits("elr", [logits], lam=3.0), a_batch(1, (4, 4))
    batch.maps.update(target_1=torch.full((1, 4, 4), 0.9), target_2=torch.zeros(1, 4, 4))
    losses_of(method, batch)["main"].backward()
    pull, label = -method.net.logits.grad[0] * 16, batch.label[0]
    held = 1 - 0.7**9
    t = torch.tensor([held - 0.9, 0.9, 0.0])
    regular = (t - t.sum() / 3) / 3 / (1 - t.sum() / 3)  # p (t - <t, p>) / (1 - <t, p>) at p = 1/3
    for k in range(3):
        plain = (label == k).float() - 1 / 3
        torch.testing.assert_close(pull[k], plain + 3 * regular[k])


def test_a_sure_and_full_target_stays_finite() -> None:
    method, batch = (
        with_logits("elr", [torch.tensor([0.0, 99.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)]),
        a_batch(1, (4, 4)),
    )
    method.visits.fill_(200)
    batch.maps.update(target_1=torch.ones(1, 4, 4), target_2=torch.zeros(1, 4, 4))
    loss = losses_of(method, batch)["main"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(method.net.logits.grad).all()


def test_elr_may_hold_to_the_average_of_its_weights() -> None:
    method, batch = make("elr", lam=2.0, target="weights"), a_batch()
    assert method.maps == ()
    assert method.begin_epoch(LATE, Cases(batch)) == {}
    with torch.no_grad():
        method.average.head.bias += 1
    target = method.average(batch.image).softmax(1).detach()
    logits = method.net(batch.image)
    early = (1 - (logits.softmax(1) * target).sum(1)).log().mean()
    wanted = ce(logits, batch.label).mean() + 2 * early
    torch.testing.assert_close(losses_of(method, batch)["main"], wanted)
    assert not any(p.requires_grad for p in method.average.parameters())
    method.step(batch, Progress(0, 1, 0, 1), lambda loss, group="main": None)
    assert torch.equal(method.average.head.weight, method.net.head.weight)
    assert (method.average.seen, method.net.learned) == (2 * 4, 3 * 4)


def test_idmps_learns_what_both_say() -> None:
    """Where both are sure of the same, so is the mixture; where they contradict each other, it weighs little."""
    agree, first, second = torch.tensor([9.0, 0.0]), torch.tensor([4.0, 0.0]), torch.tensor([0.0, 4.0])
    z1, z2 = (torch.stack((agree, z), 1).view(1, 2, 1, 2) for z in (first, second))
    method = with_logits("idmps", [z1, z2])
    sure = method.sureness(z1, z2)
    assert sure[0, 0, 0].item() == pytest.approx(1.0)
    assert sure[0, 0, 1].item() == pytest.approx((-sym_kl(z1, z2)[0, 0, 1] / 2).exp().item())
    assert sure[0, 0, 1] < 0.05
    assert (make("idmps", inconsistency="none").sureness(z1, z2) == 1).all()


def test_idmps_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the cross-entropies plus 0.5 x half the Dice losses against argmax(0.3 p1 + 0.7 p2), pixels by exp(-KL)."""
    z1, z2 = torch.randn(2, 1, 3, 4, 4)
    method, batch = with_logits("idmps", [z1, z2], weight=0.5), a_batch(1, (4, 4))
    batch.label[0, 0] = IGNORE
    monkeypatch.setattr(torch, "rand", lambda *size, **more: torch.tensor(0.3))
    p1, p2 = (z.softmax(1)[0].flatten(1)[:, 4:].T for z in (z1, z2))  # 12 annotated pixels
    label = batch.label.flatten()[4:].tolist()
    mixed = (0.3 * p1 + 0.7 * p2).argmax(1).tolist()
    weight = [
        (-((p - q) * (p.log() - q.log())).sum() / 2).exp().item() for p, q in zip(p1, p2, strict=True)
    ]  # KL of both directions, halved
    wanted = 0.0
    for p in (p1, p2):
        wanted += -sum(p[i, y].log().item() for i, y in enumerate(label)) / 12 / 2
        for k in range(3):
            hit = sum(w * p[i, k].item() for i, w in enumerate(weight) if mixed[i] == k)
            size = sum(w * (p[i, k].item() + (mixed[i] == k)) for i, w in enumerate(weight))
            wanted += 0.5 / 2 * (1 - (2 * hit + 1e-5) / (size + 1e-5)) / 3
    assert losses_of(method, batch)["main"].item() == pytest.approx(wanted, rel=1e-4)


def test_quality_is_bounded_and_of_labelled_cases_alone() -> None:
    labelled = torch.tensor([True, True, True, False])
    weight = quality(torch.tensor([100.0, -100.0, 0.0, 100.0]), labelled, 2.0)
    assert weight.sum().item() == pytest.approx(1.0)
    assert (weight[0] / weight[1]).item() == pytest.approx(torch.tensor(4.0).exp().item(), rel=1e-4)
    assert weight[3] == 0
    assert (quality(torch.ones(2), torch.zeros(2, dtype=torch.bool), 2.0) == 0).all()
    torch.testing.assert_close(
        quality(torch.tensor([0.3, -2.0]), labelled[:2], 2.0), (2 * torch.tensor([0.3, -2.0]).tanh()).softmax(0)
    )


@pytest.mark.parametrize("shape", [(7, 5), (16, 16), (5, 6, 7)])
@pytest.mark.parametrize("vgg", [True, False])
def test_the_scorer_takes_any_size(shape: tuple[int, ...], vgg: bool) -> None:
    score = Scorer(4, len(shape), STAGES["small"], vgg)(torch.randn(3, 4, *shape))
    assert score.shape == (3,)
    assert not vgg or (score >= 0).all()


def test_the_papers_scorer_is_vgg16() -> None:
    """Its 13 convolutions hold 14,714,688 numbers for three channels, their normalisations 8,448."""
    method = make("pick_and_learn", scorer="vgg16")
    extra = 9 * 64 * (1 + 3 - 3)  # an image and three classes in place of three channels
    assert sum(p.numel() for p in method.scorer.parameters()) == 14_714_688 + 8_448 + extra
    features = method.scorer.layers(torch.randn(2, 4, 64, 64))
    assert features.shape == (2, 512, 2, 2)
    method.eval()
    image = torch.randn(2, 4, 64, 64)
    torch.testing.assert_close(method.scorer(image), method.scorer.layers(image).mean((1, 2, 3)))


def test_scores_rise_where_the_loss_is_below_the_batch() -> None:
    """The pull at a score is its slope times w_i (L_i - sum w L): mass moves to cases that fit, until tanh is flat."""
    score, loss = torch.tensor([0.2, -0.5, 1.0, 30.0], requires_grad=True), torch.tensor([0.1, 0.9, 0.4, 0.3])
    weight = quality(score, torch.ones(4, dtype=torch.bool), 2.0)
    (weight * loss).sum().backward()
    wanted = 2 * (1 - score.tanh() ** 2) * weight * (loss - (weight * loss).sum())
    torch.testing.assert_close(score.grad, wanted.detach())
    assert score.grad[0] < 0 < score.grad[1]
    assert score.grad[3] == 0


@pytest.mark.parametrize("loss", ["dice", "ce", "both"])
def test_pick_and_learn_weighs_whole_cases(loss: str) -> None:
    method, batch = make("pick_and_learn", loss=loss), a_batch()
    seen = losses_of(method, batch)["main"]
    logits = method.net(batch.image)
    weight = quality(method.scorer(torch.cat((batch.image, one_hot(batch.label, 3)), 1)), torch.ones(4).bool(), 2.0)
    dice, entropy = dice_by_class(logits.softmax(1), batch.label), ce(logits, batch.label).flatten(1).mean(1)
    case = {"dice": dice, "ce": entropy, "both": (dice + entropy) / 2}[loss]
    torch.testing.assert_close(seen, (weight * case).sum())


class Cases:
    """A training set of whole cases, for one rank."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.trust, self.shapes = batch, batch.trust, (tuple(batch.label.shape[1:]),) * len(batch)
        self.sizes = torch.stack([(batch.label == k).flatten(1).sum(1) for k in range(3)], 1)
        self.written: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.batch)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        for row in range(len(self)):
            yield self.batch.rows(torch.tensor([row]))

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        full = torch.zeros(len(self), *value.shape[1:])
        full[index] = value
        return full

    def write(self, name: str, index: Tensor, value: Tensor) -> None:
        self.written.setdefault(name, value.new_zeros(len(self), *value.shape[1:]))[index] = value


@pytest.mark.parametrize("name", ["dividemix", "elr"])
def test_cases_are_looked_at_on_the_methods_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training set gives batches on the CPU, wherever the networks are."""
    method, moved = make(name), []

    def to(self: Batch, device: torch.device) -> Batch:
        moved.append(device)
        return self

    monkeypatch.setattr(Batch, "to", to)
    with torch.no_grad():
        method.begin_epoch(LATE, Cases(a_batch()))
    assert moved == [torch.device("cpu")] * 4


def test_dividemix_tells_the_cases_apart() -> None:
    """Labels of one kind fit, of the other do not; a clean case is clean, one without a label has none to keep."""
    batch = a_batch(8, (4, 4))
    logits = 3 * torch.randn(1, 3, 4, 4)
    batch = Batch(batch.image, logits.argmax(1).repeat(8, 1, 1), batch.trust, torch.arange(8), {})
    batch.label[4:] = (batch.label[4:] + 1) % 3
    batch.label[0] = IGNORE
    batch.trust[7] = int(Trust.CLEAN)
    method = with_logits("dividemix", [logits, logits])
    with torch.no_grad():
        method.net1.head.weight.zero_()
        assert method.begin_epoch(Progress(9, 100, 9, 1), Cases(batch)) == {}
        logs = method.begin_epoch(LATE, Cases(batch))
    clean = method.clean > 0.5
    assert clean.tolist() == [[False] * 2] + [[True] * 2] * 3 + [[False] * 2] * 3 + [[True] * 2]
    assert logs["clean"].item() == pytest.approx(0.5)
    again = make("dividemix", lambda: Fixed(logits))
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.clean, method.clean)


def test_losses_that_are_all_alike_are_clean() -> None:
    assert (clean_probability(torch.full((5,), 0.3)) == 1).all()
    two = clean_probability(torch.tensor([0.1, 0.11, 0.12, 0.9, 0.95]))
    assert (two > 0.5).tolist() == [True] * 3 + [False] * 2


def test_dividemix_targets() -> None:
    method, label = make("dividemix", temperature=0.5), torch.randint(0, 3, (3, 4, 4))
    label[0, 0, 0] = IGNORE
    own, both = torch.randn(2, 3, 3, 4, 4).softmax(2)
    target = method.target(label, own, both, torch.tensor([0.8, 1.0, 0.0]))
    hot = one_hot(label, 3)
    refined = sharpen(0.8 * hot + 0.2 * own, 0.5)
    torch.testing.assert_close(target[0, :, 1:], refined[0, :, 1:])
    torch.testing.assert_close(target[0, :, 0, 0], sharpen(own, 0.5)[0, :, 0, 0])
    torch.testing.assert_close(target[1], hot[1])
    torch.testing.assert_close(target[2], sharpen(both, 0.5)[2])
    torch.testing.assert_close(target.sum(1), torch.ones(3, 4, 4))


def test_dividemix_each_network_believes_its_peer() -> None:
    """All is clean to network 1 and nothing to network 2: network 2 learns from labels, network 1 from guesses."""
    batch = a_batch()
    z1, z2 = torch.randn(2, 8, 3, 8, 8)  # of two views each
    method = with_logits("dividemix", [z1, z2], mix=0.0, jitter=0.0, guess_weight=2.0, guess_epochs=10)
    method.clean = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    p1, p2 = (z.softmax(1).unflatten(0, (2, 4)).mean(0) for z in (z1, z2))
    half = Progress(15, 100, 15, 1)
    losses = losses_of(method, batch, half)
    guess = sharpen((p1 + p2) / 2, 0.5).repeat(2, 1, 1, 1)
    torch.testing.assert_close(losses["net1"].detach(), 2.0 * 0.5 * (z1.softmax(1) - guess).square().mean())
    torch.testing.assert_close(losses["net2"].detach(), ce(z2, batch.label.repeat(2, 1, 1)).mean())


def test_dividemix_mixes_views_and_targets_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """At share 0.7 the loss is that of 0.7 x + 0.3 x' against 0.7 y + 0.3 y', of the kind that x asks for."""
    method, batch = make("dividemix", jitter=0.0, guess_epochs=0, guess_weight=3.0), a_batch(2)
    method.clean = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    swap = torch.tensor([1, 0, 3, 2])
    monkeypatch.setattr(method, "share", lambda: 0.7)
    monkeypatch.setattr(torch, "randperm", lambda count, device=None: swap)
    found = losses_of(method, batch)["net1"]
    p1, p2 = (net(batch.image).softmax(1).detach() for net in method.nets)
    target = torch.stack((one_hot(batch.label, 3)[0], sharpen((p1 + p2) / 2, 0.5)[1])).repeat(2, 1, 1, 1)
    image = batch.image.repeat(2, 1, 1, 1)
    logits = method.net1(0.7 * image + 0.3 * image[swap])
    wanted = 0.7 * target + 0.3 * target[swap]
    taught = -(wanted * logits.log_softmax(1)).sum(1)[[0, 2]].mean()
    guessed = (logits.softmax(1) - wanted).square()[[1, 3]].mean()
    torch.testing.assert_close(found, taught + 3 * guessed)


def test_the_larger_share_is_an_images_own() -> None:
    shares = [make("dividemix").share() for _ in range(50)]
    assert 0.5 <= min(shares) < max(shares) <= 1
    assert make("dividemix", mix=0.0).share() == 1.0


def test_rmd_networks_teach_one_another() -> None:
    """Co-teaching: a pixel that is hard for one network is not learned by the other."""
    z1, z2 = torch.randn(2, 1, 3, 4, 4)
    label = torch.randint(0, 3, (1, 4, 4))
    taught1, taught2 = make("rmd", tau=0.25).teach(z1, z2, label, LATE)
    loss1, loss2 = (ce(z, label).flatten() for z in (z1, z2))
    easy1, easy2 = (smallest(loss.tolist(), 12) for loss in (loss1, loss2))
    torch.testing.assert_close(taught1, loss1[easy2].mean())
    torch.testing.assert_close(taught2, loss2[easy1].mean())


def test_rmd_distils_where_the_peer_is_reliable() -> None:
    """Of 15 annotated pixels the third whose logits the warp changes least, by the peer; targets have no gradient."""
    weak, strong = torch.randn(2, 1, 3, 4, 4).requires_grad_(), torch.randn(2, 1, 3, 4, 4).requires_grad_()
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    label[0, 3, 3] = IGNORE
    grid = sampling_grid(still(2, 1), (4, 4))
    learned = make("rmd").distil((weak[0], weak[1]), (strong[0], strong[1]), label, grid, 1 / 3)
    for k, peer in ((0, 1), (1, 0)):
        change = (margins(strong[peer]) - margins(weak[peer])).square().mean(1).flatten().tolist()[:15]
        reliable = smallest(change, 5)
        divergence = kl(weak[peer], strong[k]).flatten()[reliable].mean()
        torch.testing.assert_close(learned[k], divergence, rtol=1e-4, atol=1e-5)
    (learned[0] + learned[1]).backward()
    assert weak.grad is None
    assert strong.grad.abs().sum() > 0


class Skewed(Net):
    """Sees its right neighbour: not the same in a mirror."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, (1, 3), padding=(0, 1))


def test_rmd_step_weighs_what_a_mirror_changes() -> None:
    """All mirrored along both axes, epoch 5 of 10: co-teaching plus weight x ramp x KL(mirrored peer || own)."""
    method = make("rmd", Skewed, tau=0.0, flip=1.0, weight=0.5)
    batch, at = a_batch(2), Progress(5, 100, 5, 1)
    ramp = torch.tensor(-5 * 0.25).exp()
    losses = losses_of(method, batch, at)
    mirror = lambda x: x.flip(2, 3)  # noqa: E731
    with torch.no_grad():
        weak = [net(batch.image) for net in (method.net1, method.net2)]
        strong = [net(mirror(batch.image)) for net in (method.net1, method.net2)]
    for k, peer in ((0, 1), (1, 0)):
        change = (margins(strong[peer]) - margins(mirror(weak[peer]))).square().mean(1).flatten()
        reliable = smallest(change.tolist(), int(ramp * change.numel()))
        learned = kl(mirror(weak[peer]), strong[k]).flatten()[reliable].mean()
        wanted = ce(weak[k], batch.label).mean() + 0.5 * ramp * learned
        torch.testing.assert_close(losses[f"net{k + 1}"].detach(), wanted, rtol=1e-4, atol=1e-4)


def test_a_case_without_a_label_does_not_thin_t_loss() -> None:
    method, batch = make("t_loss"), a_batch()
    alone = losses_of(method, batch.rows(torch.tensor([0, 1, 2])))["main"]
    batch.label[3] = IGNORE
    torch.testing.assert_close(losses_of(method, batch)["main"], alone)


def test_t_loss_learns_a_number_for_each_foreground_class() -> None:
    method, batch = make("t_loss", lambda: Net(classes=4)), a_batch()
    assert method.log_nu.shape == (3,)
    losses_of(method, batch)["main"].backward()
    assert (method.log_nu.grad != 0).all()
    assert any(p is method.log_nu for p in method.parameter_groups()["main"])
