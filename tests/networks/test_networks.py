"""What holds for every network of the folder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from maskmend.errors import InputError
from maskmend.networks import Network, NetworkConfig, build, names, total_stride

SIZE = {2: (32, 64), 3: (32, 32, 64)}


def small(name: str, dims: int, channels: int = 1, classes: int = 2, **more: object) -> Network:
    if name == "nnunet":
        more = {"strides": (2, 2, 2)} | more
    return build(NetworkConfig(name=name, width=4, **more), channels, classes, dims)


def smallest(net: Network, batch: int) -> torch.Tensor:
    """Images (batch, 1, *S) that shrink to two pixels in the deepest stage."""
    *rest, last = net.stride
    return torch.randn(batch, 1, *rest, 2 * last)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_logits_are_the_head_of_the_features(name: str, dims: int, norm: str) -> None:
    net = small(name, dims, channels=3, classes=4, norm=norm).eval()
    image = torch.randn(2, 3, *SIZE[dims])
    features = net.features(image)
    assert features.shape[0] == 2
    assert features.shape[2:] == image.shape[2:]
    assert net(image).shape == (2, 4, *SIZE[dims])
    assert torch.equal(net(image), net.head(features))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("train", [False, True])
def test_logits_are_the_head_of_decode_of_encode(name: str, dims: int, train: bool) -> None:
    net = small(name, dims, dropout=0.5).train(train)
    image = torch.randn(2, 1, *SIZE[dims])
    torch.manual_seed(1)
    whole = net(image)
    stages = net.encode(image)
    torch.manual_seed(1)
    assert torch.equal(whole, net.head(net.decode(stages)))


@pytest.mark.parametrize("name", names())
def test_samples_of_dropout_share_one_encode(name: str) -> None:
    net, image = small(name, 2, dropout=0.5), torch.randn(2, 1, *SIZE[2])
    stages = net.encode(image)
    assert all(torch.equal(a, b) for a, b in zip(stages, net.encode(image), strict=True))
    before = [stage.clone() for stage in stages]
    first, second = net.decode(stages), net.decode(stages)
    assert not torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(stages, before, strict=True))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
def test_dropout_takes_whole_channels_and_only_in_training(name: str, dims: int) -> None:
    net = small(name, dims, dropout=0.5)
    image = smallest(net, 4)
    empty = (net.features(image) == 0).flatten(2).all(-1)
    assert empty.any()
    assert not empty.all()

    plain = small(name, dims, dropout=0)
    assert plain.state_dict().keys() == net.state_dict().keys() == small(name, dims).state_dict().keys()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(image), plain.eval()(image))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
def test_every_parameter_learns(name: str, dims: int) -> None:
    net = small(name, dims)
    net(torch.randn(2, 1, *SIZE[dims])).square().mean().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.ndim == 1 or parameter.grad.any(), key


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
def test_channels_last_gives_the_same(name: str, dims: int) -> None:
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    net, image = small(name, dims).eval(), torch.randn(2, 1, *SIZE[dims])
    before = net(image)
    after = net.to(memory_format=layout)(image.to(memory_format=layout))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
def test_forward_mode_passes_through(name: str, dims: int) -> None:
    """The virtual step of meta-learning needs it: <J v, u> = <v, J' u>, in training, and no buffer moves."""
    net = small(name, dims, norm="batch").double()
    weights = {key: p.detach() for key, p in net.named_parameters()}
    buffers = {key: b.clone() for key, b in net.named_buffers()}
    direction = {key: torch.randn_like(p) for key, p in weights.items()}
    image = smallest(net, 2).double()

    def run(values: dict[str, torch.Tensor]) -> torch.Tensor:
        torch.manual_seed(1)  # the same dropout
        copies = {key: b.clone() for key, b in buffers.items()}
        return torch.func.functional_call(net, (values, copies), image)

    logits, tangent = torch.func.jvp(run, (weights,), (direction,))
    again, pull = torch.func.vjp(run, weights)
    towards = torch.randn_like(logits)
    (gradient,) = pull(towards)
    torch.testing.assert_close(logits, again)
    expected = sum((gradient[key] * direction[key]).sum() for key in weights)
    torch.testing.assert_close((tangent * towards).sum(), expected, rtol=1e-8, atol=0)
    assert all(torch.equal(b, buffers[key]) for key, b in net.named_buffers())


@pytest.mark.parametrize("name", sorted({*names()} - {"basic_unet", "mit_unet"}))
def test_strides_may_differ_between_axes(name: str) -> None:
    net = small(name, 3, strides=((1, 2, 2), 2))
    assert net.stride == (2, 4, 4)
    assert net(torch.randn(2, 1, 6, 8, 12)).shape == (2, 2, 6, 8, 12)


@pytest.mark.parametrize("name", sorted({*names()} - {"basic_unet", "mit_unet"}))
def test_there_need_be_no_stride_at_all(name: str) -> None:
    net = small(name, 2, strides=())
    assert net.stride == (1, 1)
    assert net(torch.randn(2, 1, 5, 7)).shape == (2, 2, 5, 7)


@pytest.mark.parametrize("name", names())
def test_a_size_the_stride_does_not_divide_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"multiples of \(\d+, \d+\), not \(32, 33\)"):
        small(name, 2)(torch.randn(1, 1, 32, 33))


def test_total_stride_is_that_of_all_networks_within() -> None:
    model = nn.ModuleList([small("unet", 2, strides=(2, 3)), small("unet", 2, strides=((1, 4),))])
    assert total_stride(model, 2) == (6, 12)
    assert total_stride(nn.Conv2d(1, 1, 1), 2) == (1, 1)


@pytest.mark.parametrize("name", names())
def test_two_networks_start_differently_and_a_seed_repeats_them(name: str) -> None:
    first, second = small(name, 2).state_dict(), small(name, 2).state_dict()
    torch.manual_seed(0)
    again = small(name, 2).state_dict()
    weights = [key for key, value in first.items() if value.ndim > 1]
    assert not any(torch.equal(first[key], second[key]) for key in weights)
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (NetworkConfig(name="nnunt"), "unknown network 'nnunt' in network.name; did you mean 'nnunet'?"),
        (NetworkConfig(name="???"), "there are basic_unet, mit_unet, nnunet, "),
        (NetworkConfig(strides=(2, (1, 2, 2))), "network.strides has the entry [1, 2, 2], but the images are 2D"),
        (NetworkConfig(name="basic_unet", strides=(2, 2)), "always halves four times"),
        (NetworkConfig(name="mit_unet", strides=(2, 2)), "always reduces by 4, 2, 2, 2"),
    ],
)
def test_a_wrong_setting_is_one_sentence(config: NetworkConfig, words: str) -> None:
    with pytest.raises(InputError) as caught:
        build(config, 1, 2, 2)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5])
def test_dropout_is_a_probability_below_one(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout"):
        NetworkConfig(dropout=dropout)
