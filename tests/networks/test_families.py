"""Each network against what its paper says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.networks import NetworkConfig, build, names
from maskmend.networks.mit_unet import _Attention, _map, _tokens

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def unfilled(name: str, channels: int, classes: int, dims: int, **more: object) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build(NetworkConfig(name=name, **more), channels, classes, dims)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "dims", "published"),
    [
        ("unet", 3, 2, 2, 1_082_050),  # GSD-Net
        ("unetpp", 1, 1, 2, 36_628_481),  # MLB-Seg
        ("vnet", 1, 2, 3, 9_448_866),  # UA-MT, ALC
        ("residual_unet", 1, 1, 2, 1_151_929),  # Deep Self-cleansing, Table 1 with three convolutions in block 3
    ],
)
def test_the_size_is_the_published(name: str, channels: int, classes: int, dims: int, published: int) -> None:
    assert size(unfilled(name, channels, classes, dims)) == published


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
    net = unfilled("nnunet", channels, 2, 2, strides=strides, norm="batch")
    assert size(net) == published - 2 * sum(unused_heads)


@pytest.mark.parametrize(("width", "published"), [(32, 3_319_392), (64, 13_151_424)])
def test_the_encoders_of_mit_b0_and_b1_have_the_published_size(width: int, published: int) -> None:
    """3.3 and 13.2 million in SegFormer; exactly, for three channels and without a classifier, by arithmetic."""
    first, dims = width, [width * times for times in (1, 2, 5, 8)]
    counted = 0
    for into, f, patch, ratio in zip((3, *dims), dims, (7, 3, 3, 3), (8, 4, 2, 1), strict=False):
        embed = into * f * patch**2 + f + 2 * f
        attention = 4 * (f * f + f) + (f * f * ratio**2 + f + 2 * f if ratio > 1 else 0)
        mix = 4 * f * f + 4 * f + 4 * f * 9 + 4 * f + 4 * f * f + f
        counted += embed + 2 * (2 * f + attention + 2 * f + mix) + 2 * f
    assert counted == size(unfilled("mit_unet", 3, 2, 2, width=first).down) == published


def test_gsd_nets_3d_unet() -> None:
    net = build(NetworkConfig(), 1, 2, 3)
    stages = [stage[-3].out_channels for stage in net.down]
    assert stages == [16, 32, 64, 128, 256]
    assert [stage[-3].out_channels for stage in net.join] == [128, 64, 32, 16]


class Released3D(nn.Module):
    """GSD-Net's 3D U-Net, layer by layer as its description says: pairs of convolutions with parameter-free instance
    norm, pooling, trilinear upsampling, dropout of 0.3 after the deepest pair and before the head."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        f = (16, 32, 64, 128, 256)
        self.down = nn.ModuleList([self.pair(a, b) for a, b in zip((channels, *f), f, strict=False)])
        self.up = nn.ModuleList([self.pair(b + a, a) for a, b in zip(f[3::-1], f[:0:-1], strict=True)])
        self.drop, self.head = nn.Dropout(0.3), nn.Conv3d(f[0], classes, 1)

    @staticmethod
    def pair(a: int, b: int) -> nn.Module:
        one, two = nn.Conv3d(a, b, 3, padding=1), nn.Conv3d(b, b, 3, padding=1)
        return nn.Sequential(one, nn.InstanceNorm3d(b), nn.ReLU(), two, nn.InstanceNorm3d(b), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for stage in self.down:
            x = stage(nn.functional.max_pool3d(x, 2) if kept else x)
            kept.append(x)
        x = self.drop(kept.pop())
        for stage in self.up:
            x = stage(torch.cat((kept.pop(), nn.Upsample(scale_factor=2, mode="trilinear")(x)), 1))
        return self.head(self.drop(x))


def test_the_preset_of_brats_is_the_released_3d_unet() -> None:
    preset = load_config(Path(__file__).parents[2] / "configs" / "gsd_net" / "paper_brats.yaml")
    ours, theirs = build(preset.network, 4, 2, 3).eval(), Released3D(4, 2).eval()
    assert size(ours) == size(theirs)
    assert ours.dropout.p == theirs.drop.p
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data.copy_(other.data)
    image = torch.randn(1, 4, 32, 32, 32)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", names())
def test_normalisation_without_scale_and_shift(name: str) -> None:
    for affine in (True, False):
        net = build(NetworkConfig(name=name, width=4, affine=affine, norm="instance"), 1, 2, 2)
        norms = [m for m in net.modules() if isinstance(m, nn.InstanceNorm2d)]
        assert norms
        assert all((m.weight is None) != affine for m in norms)


@pytest.mark.parametrize("dims", [2, 3])
def test_unetpp_is_the_recursion_of_its_equation_1(dims: int) -> None:
    net = build(NetworkConfig(name="unetpp", width=2), 1, 2, dims).eval()
    image = torch.randn(1, 1, *(16, 16, 32)[-dims:])
    climbs = [*net.nested, *net.join]  # from stage 1, 2, 3, 4; each upwards
    places = [(level, n - level) for n in range(1, 5) for level in reversed(range(n))]
    nodes = dict(zip(places, climbs, strict=True))

    def x(i: int, j: int) -> Tensor:
        if j == 0:
            return net.down[i](x(i - 1, 0) if i else image)
        enlarged = nn.functional.interpolate(
            x(i + 1, j - 1), scale_factor=2, mode={2: "bilinear", 3: "trilinear"}[dims], align_corners=True
        )
        return nodes[i, j](torch.cat([*(x(i, k) for k in range(j)), enlarged], dim=1))

    torch.testing.assert_close(net.features(image), x(0, 4))


@pytest.mark.parametrize("dims", [2, 3])
def test_vnet_has_ua_mts_stages(dims: int) -> None:
    net = build(NetworkConfig(name="vnet", width=2), 1, 2, dims)
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[dims]

    def wide(stage: nn.Module) -> int:
        return sum(isinstance(layer, kind) and layer.kernel_size == (3,) * dims for layer in stage.modules())

    assert [wide(stage) for stage in net.down] == [1, 2, 3, 3, 3]
    assert [wide(stage) for stage in net.join] == [3, 3, 2, 1]
    assert net.dropout.p == 0.5


def test_vnet_adds_what_it_kept() -> None:
    net = build(NetworkConfig(name="vnet", width=2, strides=(2,)), 1, 2, 2).eval()
    kept, deepest = net.encode(torch.randn(1, 1, 8, 8))
    expected = net.join[0](kept + net.up[0](deepest))
    torch.testing.assert_close(net.decode([kept, deepest]), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_residual_unets_features_are_the_f_of_lcm(dims: int) -> None:
    """Non-negative, so that cosines lie in [0, 1]; 32 of them, the output of block 6."""
    net = build(NetworkConfig(name="residual_unet"), 1, 2, dims)
    features = net.features(torch.randn(2, 1, *(16,) * dims))
    assert features.shape[1] == 32
    assert features.min() == 0
    assert features.max() > 0


def test_residual_unets_block_adds_its_input() -> None:
    block = build(NetworkConfig(name="residual_unet"), 1, 2, 2).join[-1]
    convolution, norm = block.convolutions
    x = torch.randn(2, 32, 8, 8)
    torch.testing.assert_close(block(x), (norm(convolution(x)) + x).relu())


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_residual_unets_head_is_never_narrower_than_its_classes(classes: int) -> None:
    head = build(NetworkConfig(name="residual_unet"), 1, classes, 2).head
    assert head[0].out_channels == max(2, classes)
    assert head(torch.randn(1, 32, 8, 8)).shape == (1, classes, 8, 8)


def test_mix_transformers_attention_is_that_of_torch() -> None:
    ours, torchs = _Attention(10, 5, 1, 2).eval(), nn.MultiheadAttention(10, 5, batch_first=True).eval()
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key_value.weight)))
        torchs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key_value.bias)))
        torchs.out_proj.weight.copy_(ours.out.weight)
        torchs.out_proj.bias.copy_(ours.out.bias)
    tokens = torch.randn(2, 12, 10)
    torch.testing.assert_close(ours(tokens, torch.Size((3, 4))), torchs(tokens, tokens, tokens)[0])


@pytest.mark.parametrize("dims", [2, 3])
def test_mix_transformer_attends_to_the_whole_image(dims: int) -> None:
    attention = _Attention(4, 2, 2, dims).eval()
    size = torch.Size((4, 2, 6)[:dims])
    tokens = torch.randn(1, size.numel(), 4, requires_grad=True)
    torch.testing.assert_close(_tokens(_map(tokens, size)), tokens)
    attention(tokens, size)[0, 0].sum().backward()
    assert tokens.grad.ne(0).any(-1).all()


def test_the_page_says_how_large_each_network_is() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    written = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    expected = []
    for name in names():
        nets = [unfilled(name, 1, 2, dims) for dims in (2, 3)]
        strides = dict.fromkeys(str(net.stride[0]) for net in nets)
        sizes = [f"{size(net):,}" for net in nets]
        expected.append([name, *sizes, " / ".join(strides), f"{nets[0].dropout.p:g}"])
    assert sorted(row for row in written if not row[0].startswith("network.")) == expected


def test_the_pages_samples_differ() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: dict[str, Tensor] = {}
    exec(code, found)
    assert found["samples"].shape == (8, 4, 2, 64, 64)
    assert found["samples"].std(0).min() > 0
