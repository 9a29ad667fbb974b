from __future__ import annotations

import pytest
import torch
from torch import nn

from maskmend.errors import InputError
from maskmend.networks import NetworkConfig, build, names, total_stride

SIZE = {2: (32, 64), 3: (16, 32, 32)}


def small(name: str, dims: int, channels: int = 1, classes: int = 2, **more: object) -> nn.Module:
    if name == "nnunet":
        more = {"strides": (2, 2, 2)} | more
    return build(NetworkConfig(name=name, width=4, **more), channels, classes, dims)


def count(name: str, channels: int, classes: int, dims: int, **more: object) -> int:
    net = build(NetworkConfig(name=name, **more), channels, classes, dims)
    return sum(parameter.numel() for parameter in net.parameters())


def test_gsd_nets_unet_has_the_published_size() -> None:
    assert count("unet", 3, 2, 2) == 1_082_050


def test_gsd_nets_3d_unet() -> None:
    net = build(NetworkConfig(), 1, 2, 3)
    stages = [stage[-3].out_channels for stage in net.down]
    assert stages == [16, 32, 64, 128, 256]
    assert [stage[-3].out_channels for stage in net.join] == [128, 64, 32, 16]


@pytest.mark.parametrize(
    ("channels", "strides", "published", "unused_heads"),
    [
        (3, (2, 2, 2, 2, 2), 18_670_368, (480, 256, 128, 64)),  # ISIC
        (1, (2, 2, 2, 2, 2, 2), 29_966_112, (480, 480, 256, 128, 64)),  # JSRT lungs and heart
        (1, (2, 2, 2, 2, (1, 2)), 18_208_992, (480, 256, 128, 64)),  # JSRT clavicles
    ],
)
def test_sp_guideds_network_has_the_published_size(
    channels: int, strides: tuple[int | tuple[int, int], ...], published: int, unused_heads: tuple[int, ...]
) -> None:
    assert count("nnunet", channels, 2, 2, strides=strides, norm="batch") == published - 2 * sum(unused_heads)


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
def test_every_parameter_learns(name: str, dims: int) -> None:
    net = small(name, dims)
    net(torch.randn(2, 1, *SIZE[dims])).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert next(net.parameters()).grad.abs().sum() > 0


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dims", [2, 3])
def test_channels_last_gives_the_same(name: str, dims: int) -> None:
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    net, image = small(name, dims).eval(), torch.randn(2, 1, *SIZE[dims])
    before = net(image)
    after = net.to(memory_format=layout)(image.to(memory_format=layout))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", names())
def test_forward_mode_passes_through(name: str) -> None:
    """The virtual step of meta-learning needs it."""
    net = small(name, 2, norm="instance")
    weights = {key: p.detach() for key, p in net.named_parameters()}
    image = torch.randn(1, 1, 32, 32)

    def run(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(net, values, image).square().mean()

    _, slope = torch.func.jvp(run, (weights,), ({key: torch.ones_like(p) for key, p in weights.items()},))
    gradient = torch.func.grad(run)(weights)
    torch.testing.assert_close(slope, sum(g.sum() for g in gradient.values()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["unet", "nnunet"])
def test_strides_may_differ_between_axes(name: str) -> None:
    net = small(name, 3, strides=((1, 2, 2), 2))
    assert net.stride == (2, 4, 4)
    assert net(torch.randn(2, 1, 6, 8, 12)).shape == (2, 2, 6, 8, 12)


@pytest.mark.parametrize("name", names())
def test_a_size_the_stride_does_not_divide_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"multiples of \(\d+, \d+\), not \(32, 33\)"):
        small(name, 2)(torch.randn(1, 1, 32, 33))


def test_total_stride_is_that_of_all_networks_within() -> None:
    model = nn.ModuleList([small("unet", 2, strides=(2, 3)), small("unet", 2, strides=((1, 4),))])
    assert total_stride(model, 2) == (6, 12)
    assert total_stride(nn.Conv2d(1, 1, 1), 2) == (1, 1)


def test_two_networks_start_differently_and_a_seed_repeats_them() -> None:
    first, second = small("unet", 2), small("unet", 2)
    torch.manual_seed(0)
    again = small("unet", 2)
    assert not torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(first.head.weight, again.head.weight)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (NetworkConfig(name="nnunt"), "unknown network 'nnunt' in network.name; did you mean 'nnunet'?"),
        (NetworkConfig(name="???"), "there are basic_unet, nnunet, unet."),
        (NetworkConfig(strides=(2, (1, 2, 2))), "network.strides has the entry [1, 2, 2], but the images are 2D"),
        (NetworkConfig(name="basic_unet", strides=(2, 2)), "always halves four times"),
    ],
)
def test_a_wrong_setting_is_one_sentence(config: NetworkConfig, words: str) -> None:
    with pytest.raises(InputError) as caught:
        build(config, 1, 2, 2)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
