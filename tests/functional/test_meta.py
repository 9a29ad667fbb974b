"""Meta-learned weights against an explicit virtual step, differentiated twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from maskmend import networks
from maskmend.functional import meta
from maskmend.networks import NetworkConfig, build
from maskmend.types import IGNORE

CASES = [(dims, classes, norm) for dims in (2, 3) for classes in (2, 4) for norm in ("batch", "instance")]


def a_net(dims: int, classes: int, norm: str = "batch") -> nn.Module:
    return build(NetworkConfig(name="unet", width=4, strides=[2, 2], norm=norm), 1, classes, dims).double()


def a_scene(dims: int, classes: int, count: int = 3) -> tuple[Tensor, Tensor]:
    size = (8,) * dims
    return torch.randn(count, 1, *size, dtype=torch.float64), torch.randint(classes, (count, *size))


def mean_ce(image: Tensor, label: Tensor) -> Callable[[meta.Net], Tensor]:
    return lambda net: nn.functional.cross_entropy(net(image), label)


def by_double_backward(
    net: nn.Module,
    image: Tensor,
    labels: list[Tensor],
    clean: Callable[[meta.Net], Tensor],
    smooth: Callable[[meta.Net], Tensor] | None = None,
    lr: float = 0.1,
) -> Tensor:
    """-dL_clean / dw at w = 0 through the step theta - lr grad (sum w l + smooth), (L, B, *S). Eqs. 4-7."""

    def at(weights: meta.Weights) -> meta.Net:
        copies = {name: b.clone() for name, b in net.named_buffers()}
        return lambda x: functional_call(net, weights | copies, (x,))

    theta = meta.learnable(net)
    logits = at(theta)(image)
    losses = torch.stack([nn.functional.cross_entropy(logits, y, reduction="none") for y in labels])
    w = torch.zeros_like(losses, requires_grad=True)
    total = (w * losses).sum() + (0 if smooth is None else smooth(at(theta)))
    step = torch.autograd.grad(total, list(theta.values()), create_graph=True)
    virtual = {name: p - lr * g for (name, p), g in zip(theta.items(), step, strict=True)}
    (found,) = torch.autograd.grad(clean(at(virtual)), w)
    return (-found / lr).clamp_min(0)


def by_forward_mode(
    net: nn.Module, image: Tensor, labels: list[Tensor], clean: Callable[[meta.Net], Tensor], at: meta.Weights | None
) -> Tensor:
    _, toward = meta.gradient(net, clean, at)
    logits, slope = meta.tangent(net, image, toward)
    return torch.stack([meta.worth(logits, slope, y) for y in labels])


@pytest.mark.parametrize(("dims", "classes", "norm"), CASES)
@pytest.mark.parametrize("smooth", [False, True], ids=["eq4", "with_consistency"])
def test_weights_equal_double_backward(dims: int, classes: int, norm: str, smooth: bool) -> None:
    net = a_net(dims, classes, norm)
    (image, given), (x, y) = a_scene(dims, classes), a_scene(dims, classes, 2)
    labels, lr, here = [given, net(image).argmax(1)], 0.1, meta.learnable(net)
    target = torch.rand(3, classes, *image.shape[2:])
    extra = (lambda f: (f(image).softmax(1) - target).square().mean()) if smooth else None
    at = meta.virtual_step(net, meta.gradient(net, extra, here)[1], lr) if extra else here
    found = by_forward_mode(net, image, labels, mean_ce(x, y), at)
    expected = by_double_backward(net, image, labels, mean_ce(x, y), extra, lr)
    assert torch.equal(found > 0, expected > 0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


def test_the_virtual_step_is_that_of_sgd_with_momentum_and_weight_decay() -> None:
    """Over several steps, of a rate that falls; nothing of the optimiser is known but its settings."""
    net, (image, label) = a_net(2, 2), a_scene(2, 2)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)
    before, last = None, 1.0
    for lr in (0.1, 0.1, 0.08, 0.05):
        loss = nn.functional.cross_entropy(net(image), label)
        found = meta.virtual_step(net, meta.gradient_of(loss, net), lr, 0.05, 0.9 * lr / last, before)
        before, last = {name: p.detach().clone() for name, p in net.named_parameters()}, lr
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for name, p in net.named_parameters():
            torch.testing.assert_close(found[name], p.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("classes", [2, 4])
def test_given_and_pseudo_labels_compete(classes: int) -> None:
    net = a_net(2, classes)
    (image, given), (x, y) = a_scene(2, classes), a_scene(2, classes, 2)
    pseudo = net(image).argmax(1)
    given, pseudo = by_forward_mode(net, image, labels := [given, pseudo], mean_ce(x, y), None)
    agree = labels[0] == labels[1]
    assert torch.equal(given[agree], pseudo[agree])
    assert agree.any()
    if classes == 2:
        assert ((given > 0) ^ (pseudo > 0))[~agree].all()
    raw = torch.stack((given, pseudo))
    assert meta.normalise(raw).sum().item() == pytest.approx(1)
    assert meta.normalise(raw, "separate").sum((1, 2, 3)).tolist() == pytest.approx([1, 1])
    torch.testing.assert_close(meta.normalise(1e-20 * raw), meta.normalise(raw))  # whatever the step sizes
    assert not meta.normalise(0 * raw).any()


def test_a_wrong_label_weighs_nothing_where_the_clean_cases_say_so() -> None:
    """One weight a class, the same image everywhere: what is right on clean pixels is right on all."""
    net = nn.Conv2d(1, 2, 1, bias=False).double()
    image, truth = torch.ones(1, 1, 4, 4, dtype=torch.float64), torch.ones(1, 4, 4, dtype=torch.long)
    worth = by_forward_mode(net, image, [truth, 1 - truth], mean_ce(image, truth), None)
    assert (worth[0] > 0).all()
    assert not worth[1].any()


def test_unknown_labels_weigh_nothing() -> None:
    logits, slope = torch.randn(2, 2, 3, 8, 8)
    label = torch.randint(-1, 3, (2, 8, 8))
    assert not meta.worth(logits, slope, label)[label == IGNORE].any()


def test_the_forward_pass_leaves_no_trace() -> None:
    """Running statistics, random state and gradients are as before; the next pass drops the same units."""
    net = nn.Sequential(a_net(2, 4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1).double())
    image, label = a_scene(2, 2)
    _, toward = meta.gradient(net, mean_ce(image, label), meta.learnable(net))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    logits, slope = meta.tangent(net, image, toward)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not logits.requires_grad
    assert not slope.requires_grad
    assert all(p.grad is None for p in net.parameters())
    torch.testing.assert_close(net(image), logits, rtol=0, atol=1e-12)


def test_a_pass_before_drops_the_same_units() -> None:
    net = nn.Sequential(a_net(2, 4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1).double())
    image, label = a_scene(2, 2)
    with meta.apart(image.device):
        logits = net(image)
    _, toward = meta.gradient(net, mean_ce(image, label), meta.learnable(net))
    torch.testing.assert_close(meta.tangent(net, image, toward)[0], logits.detach(), rtol=0, atol=1e-12)


def test_weights_as_one_vector() -> None:
    net = a_net(2, 2)
    vector = meta.flat(meta.learnable(net))
    assert vector.shape == (sum(p.numel() for p in net.parameters()),)
    assert all(
        torch.equal(part, p) for part, p in zip(meta.shaped(vector, net).values(), net.parameters(), strict=True)
    )


def test_half_precision_outside_changes_nothing() -> None:
    net = a_net(2, 2).float()
    image, label = a_scene(2, 2)
    plain = by_forward_mode(net, image.float(), [label], mean_ce(image.float(), label), None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = by_forward_mode(net, image.float(), [label], mean_ce(image.float(), label), None)
    assert torch.equal(plain, inside)


def test_a_known_gradient_as_a_loss() -> None:
    net = a_net(2, 2)
    image, label = a_scene(2, 2)
    value, known = meta.gradient(net, mean_ce(image, label))
    loss = 3 * meta.as_loss(value, known, net)
    loss.backward()
    assert loss.item() == pytest.approx(3 * value.item())
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.grad, 3 * known[name])


@pytest.mark.parametrize("name", networks.names())
@pytest.mark.parametrize("dims", [2, 3])
def test_every_network_has_a_forward_mode(name: str, dims: int) -> None:
    """Its slope is that of central differences, in float64 and evaluation mode."""
    width = 8 if name == "mit_unet" else 4
    net = build(NetworkConfig(name=name, width=width, norm="batch"), 1, 2, dims).double().eval()
    image = torch.randn(1, 1, *(max(s, 8) for s in net.stride), dtype=torch.float64)
    label = torch.randint(2, (1, *image.shape[2:]))
    _, toward = meta.gradient(net, mean_ce(image, label), meta.learnable(net))
    logits, slope = meta.tangent(net, image, toward)
    torch.testing.assert_close(logits, net(image))
    step, here = 1e-6, meta.learnable(net)
    plus, minus = (
        functional_call(net, {n: p + s * toward[n] for n, p in here.items()}, (image,)) for s in (step, -step)
    )
    error = ((plus - minus) / (2 * step) - slope).norm() / slope.norm()
    assert error < 1e-2
