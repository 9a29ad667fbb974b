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
from maskmend.methods.pick_and_learn import Scorer, quality
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
    "elr": (1, 1),
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
    return method


def with_logits(name: str, logits: list[Tensor], **settings: object) -> Method:
    """The method, its networks giving these logits."""
    each: Iterator[Tensor] = iter(logits)
    return make(name, lambda: Fixed(next(each)), **settings)


def a_batch(count: int = 4, shape: tuple[int, ...] = (8, 8)) -> Batch:
    trust = torch.full((count,), int(Trust.NOISY))
    return Batch(
        torch.randn(count, 1, *shape), torch.randint(0, 3, (count, *shape)), trust, torch.arange(count) % 4, {}
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


def test_elr_holds_to_the_average_of_its_weights() -> None:
    method, batch = make("elr", lam=2.0), a_batch()
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
def test_the_scorer_takes_any_size(shape: tuple[int, ...]) -> None:
    assert Scorer(4, len(shape))(torch.randn(3, 4, *shape)).shape == (3,)


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
        self.batch, self.trust = batch, batch.trust
        self.sizes = torch.stack([(batch.label == k).flatten(1).sum(1) for k in range(3)], 1)

    def __len__(self) -> int:
        return len(self.batch)

    def scan(self, batch_size: int = 8) -> Iterator[Batch]:
        for row in range(len(self)):
            yield self.batch.rows(torch.tensor([row]))

    def gather(self, index: Tensor, value: Tensor) -> Tensor:
        full = torch.zeros(len(self), *value.shape[1:])
        full[index] = value
        return full


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


def test_t_loss_learns_a_number_for_each_foreground_class() -> None:
    method, batch = make("t_loss", lambda: Net(classes=4)), a_batch()
    assert method.log_nu.shape == (3,)
    losses_of(method, batch)["main"].backward()
    assert (method.log_nu.grad != 0).all()
    assert any(p is method.log_nu for p in method.parameter_groups()["main"])
