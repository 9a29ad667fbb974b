"""A U-Net whose way down is SegFormer's Mix Transformer."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..errors import InputError
from .base import CONV, NetworkConfig, Norm, UShaped, convolutions

WIDTH = 32
NORM: Norm = "batch"
TIMES = (1, 2, 5, 8)
DEPTHS = (2, 2, 2, 2)
STEPS = (4, 2, 2, 2)
REDUCTIONS = (8, 4, 2, 1)


class MiTUNet(UShaped):
    """Mix Transformer encoder (Xie et al., SegFormer, NeurIPS 2021) and a convolutional decoder; not pretrained.

    The "ViT U-Net" of GSD-Net's Table 8; the paper does not say which of SegFormer's sizes. The default is MiT-B0, 32,
    64, 160, 256 features; width 64 is MiT-B1. The decoder doubles the size five times (nearest neighbour), joins the
    stages at 1/16, 1/8 and 1/4, and convolves twice each time: 256, 128, 64, 32, 16 features at width 32, as in
    Segmentation Models PyTorch.

    The encoder starts from random weights, as SegFormer's before ImageNet: nothing is downloaded, so numbers of a
    pretrained one are out of reach. Its stochastic depth of 0.1 is left out. In 3D every convolution is 3D. ``norm``
    is the decoder's; the encoder has layer normalisation.

    Raises:
        InputError: ``strides`` are given; this network always reduces by 4, 2, 2, 2.
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__(config, channels, classes, dims)
        if config.strides is not None:
            raise InputError(
                "network.strides is set, but mit_unet always reduces by 4, 2, 2, 2; choose unet, nnunet or vnet."
            )
        width, norm = config.width or WIDTH, config.norm or NORM
        self.stride = (32,) * dims
        features = [width * times for times in TIMES]
        self.down = nn.ModuleList(
            _Stage(into, features[level], level, dims) for level, into in enumerate((channels, *features[:-1]))
        )
        self.down.apply(_initialise)

        kept, ways = (*features[-2::-1], 0, 0), [max(width * share // 2, 1) for share in (16, 8, 4, 2, 1)]
        self.up = nn.ModuleList(nn.Upsample(scale_factor=2, mode="nearest") for _ in ways)
        self.join = nn.ModuleList(
            convolutions((deep + skip, out, out), norm, dims, bias=False)
            for deep, skip, out in zip((features[-1], *ways[:-1]), kept, ways, strict=True)
        )
        self.head = CONV[dims](ways[-1], classes, 3, padding=1)


class _Stage(nn.Module):
    """Overlapped patches, then transformer blocks (Sec. 3.1): (B, C, *S) -> (B, F, *S / step)."""

    def __init__(self, into: int, features: int, level: int, dims: int) -> None:
        super().__init__()
        step = STEPS[level]
        self.embed = CONV[dims](into, features, 2 * step - 1, step, padding=step - 1)
        self.norm_in = nn.LayerNorm(features)
        self.blocks = nn.ModuleList(
            _Block(features, TIMES[level], REDUCTIONS[level], dims) for _ in range(DEPTHS[level])
        )
        self.norm_out = nn.LayerNorm(features, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image)
        size = x.shape[2:]
        tokens = self.norm_in(_tokens(x))
        for block in self.blocks:
            tokens = block(tokens, size)
        return _map(self.norm_out(tokens), size)


class _Block(nn.Module):
    """Attention, then a Mix-FFN, both residual and normalised before."""

    def __init__(self, features: int, heads: int, reduction: int, dims: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(features, eps=1e-6) for _ in range(2))
        self.attention = _Attention(features, heads, reduction, dims)
        self.mix = _MixFFN(features, dims)

    def forward(self, tokens: Tensor, size: torch.Size) -> Tensor:
        """(B, N, F), N pixels of ``size`` -> (B, N, F)."""
        tokens = tokens + self.attention(self.norm1(tokens), size)
        return cast(Tensor, tokens + self.mix(self.norm2(tokens), size))


class _Attention(nn.Module):
    """Efficient self-attention (Eqs. 1 and 2): keys and values of an image ``reduction`` times smaller on every axis.

    Written out, because the fused kernels have no forward-mode derivative.
    """

    def __init__(self, features: int, heads: int, reduction: int, dims: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (features // heads) ** -0.5
        self.query, self.key_value = nn.Linear(features, features), nn.Linear(features, 2 * features)
        self.out = nn.Linear(features, features)
        self.reduce: nn.Module | None = None
        if reduction > 1:
            self.reduce = CONV[dims](features, features, reduction, reduction)
            self.norm = nn.LayerNorm(features)

    def forward(self, tokens: Tensor, size: torch.Size) -> Tensor:
        """(B, N, F), N pixels of ``size`` -> (B, N, F)."""
        few = tokens if self.reduce is None else self.norm(_tokens(self.reduce(_map(tokens, size))))
        query = self._split(self.query(tokens) * self.scale)
        key, value = (self._split(x) for x in self.key_value(few).chunk(2, dim=-1))
        mixed = (query @ key.transpose(-1, -2)).softmax(-1) @ value
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, N, F) -> (B, heads, N, F / heads)."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class _MixFFN(nn.Module):
    """Two linear layers, a depth-wise 3-wide convolution between them that tells the tokens where they are (Eq. 3)."""

    def __init__(self, features: int, dims: int) -> None:
        super().__init__()
        wide = 4 * features
        self.widen, self.narrow = nn.Linear(features, wide), nn.Linear(wide, features)
        self.convolution = CONV[dims](wide, wide, 3, padding=1, groups=wide)
        self.rectify = nn.GELU()

    def forward(self, tokens: Tensor, size: torch.Size) -> Tensor:
        """(B, N, F), N pixels of ``size`` -> (B, N, F)."""
        wide = _tokens(self.convolution(_map(self.widen(tokens), size)))
        return cast(Tensor, self.narrow(self.rectify(wide)))


def _tokens(x: Tensor) -> Tensor:
    """(B, F, *S) -> (B, N, F)."""
    return x.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, size: torch.Size) -> Tensor:
    """(B, N, F) -> (B, F, *size)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)


def _initialise(module: nn.Module) -> None:
    """SegFormer's: linear layers normal with sd 0.02, convolutions normal after their fan-out; biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.Conv3d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
