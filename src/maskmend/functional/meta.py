"""Meta-learned weights of pixels (MLB-Seg Sec. 3.1) by one forward-mode pass, without a second-order graph.

With all weights at 0 the virtual step is theta' = theta - a sum_k w_k grad l_k(theta), linear in w. So
-dL_clean(theta') / dw_k = a <v, grad l_k>, v = grad L_clean(theta): the change of pixel k's loss along v. Cross-entropy
needs of it only the change of the logits, whatever the label, and Eq. 8 removes a. Momentum, weight decay and further
terms of the virtual step merely move the point at which v is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from ..types import IGNORE

Net = Callable[[Tensor], Tensor]
Weights = dict[str, Tensor]


def learnable(net: nn.Module) -> Weights:
    """The network's learnable weights, by name."""
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


@contextmanager
def apart(device: torch.device) -> Iterator[None]:
    """In full precision; and the random state is put back, so that the next pass drops the same units."""
    with (
        torch.autocast(device.type, enabled=False),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        yield


def gradient(net: nn.Module, loss: Callable[[Net], Tensor], at: Weights | None = None) -> tuple[Tensor, Weights]:
    """Value () and gradient of ``loss(net)``, at its own weights or at others; ``apart``.

    At others, running statistics stay untouched: they work on a copy.
    """
    weights = learnable(net) if at is None else {name: w.detach().requires_grad_() for name, w in at.items()}
    copies = {} if at is None else {name: b.clone() for name, b in net.named_buffers()}
    with apart(next(iter(weights.values())).device):
        value = loss(lambda image: functional_call(net, weights | copies, (image,)))
        found = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
    return value.detach(), dict(zip(weights, found, strict=True))


def gradient_of(value: Tensor, net: nn.Module) -> Weights:
    """Gradient of a value () that the network's weights led to. Its graph stays, for what else is learnt from it."""
    weights = learnable(net)
    found = torch.autograd.grad(value, list(weights.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def virtual_step(
    net: nn.Module,
    gradient: Weights,
    lr: float,
    decay: float = 0.0,
    momentum: float = 0.0,
    before: Weights | None = None,
) -> Weights:
    """The weights after a step of gradient descent that is not taken; with ``decay`` and ``momentum``, of torch's SGD.

    Its buffer of momentum need not be known: lr times the buffer is how far the last step went, and the weights
    ``before`` it tell. If that step had another lr, ``momentum`` is to be multiplied by the ratio of this one to it.
    """
    here = {name: w.detach() for name, w in learnable(net).items()}
    step = {name: w - lr * (gradient[name] + decay * w) for name, w in here.items()}
    return step if before is None else {name: w + momentum * (here[name] - before[name]) for name, w in step.items()}


def tangent(net: nn.Module, image: Tensor, direction: Weights) -> tuple[Tensor, Tensor]:
    """Logits (B, K, *S) and their change per unit of ``direction``, the weights being moved along it.

    One dual forward pass, near three plain ones, without a graph; ``apart``: forward mode and autocast do not mix.
    Running statistics stay untouched.
    """
    weights = {name: w.detach() for name, w in learnable(net).items()}

    def forward(weights: Weights) -> Tensor:
        copies = {name: b.clone() for name, b in net.named_buffers()}
        logits: Tensor = functional_call(net, weights | copies, (image,))
        return logits

    with torch.no_grad(), apart(image.device):
        found = jvp(forward, (weights,), (direction,))
    return found[0], found[1]


def worth(logits: Tensor, slope: Tensor, label: Tensor) -> Tensor:
    """How fast each pixel's cross-entropy rises along the clean gradient, (B, *S), at least 0. MLB-Seg Eqs. 6 and 7.

    Where it rises, descending on it lowers the clean loss as well. logits and slope (B, K, *S) of ``tangent``;
    label (B, *S), 0 where it is ``IGNORE``.
    """
    mean = (logits.softmax(1) * slope).sum(1)
    rise = mean - slope.gather(1, label.clamp_min(0).unsqueeze(1)).squeeze(1)
    return torch.where(label == IGNORE, 0.0, rise.clamp_min(0))


def normalise(worth: Tensor, over: Literal["joint", "separate"] = "joint") -> Tensor:
    """Weights (L, B, *S) that sum to 1 over everything, or for each kind of label L by itself. MLB-Seg Eq. 8.

    All 0 where all are 0.
    """
    total = worth.sum() if over == "joint" else worth.flatten(1).sum(1).view(-1, *[1] * (worth.ndim - 1))
    return worth / total.clamp_min(torch.finfo(worth.dtype).tiny)


def as_loss(value: Tensor, gradient: Weights, net: nn.Module) -> Tensor:
    """A loss of this value whose backward pass costs nothing: its gradient is known."""
    linear = torch.stack([(w * gradient[name]).sum() for name, w in learnable(net).items()]).sum()
    return value + linear - linear.detach()


def flat(weights: Weights) -> Tensor:
    """All of them as one vector (P,)."""
    return torch.cat([w.flatten() for w in weights.values()])


def shaped(vector: Tensor, net: nn.Module) -> Weights:
    """What ``flat`` (P,) was made of, in the shapes of the network's weights."""
    weights = learnable(net)
    parts = vector.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}
