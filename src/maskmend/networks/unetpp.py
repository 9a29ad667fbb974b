"""UNet++: nested joins between the way down and the way up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import CONV, POOL, NetworkConfig, Norm, UShaped, convolutions, doubling, product

WIDTH = 64
STRIDES = (2, 2, 2, 2)
NORM: Norm = "batch"
LINEAR = {2: "bilinear", 3: "trilinear"}


class UNetPP(UShaped):
    """UNet++ (Zhou et al., DLMIA 2018) without deep supervision, as MLB-Seg (MICCAI 2023) trains it.

    Node X(i, j) of stage i joins X(i, 0), ..., X(i, j - 1) with X(i + 1, j - 1), enlarged (Eq. 1). The nodes i + j = n
    climb from stage n of the way down to the top; the last climb, n = 4, is the way up of an ordinary U-Net.
    64, 128, 256, 512, 1024 features; 36,628,481 parameters for one channel and one class in 2D.
    PyTorch's default initialisation.
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__(config, channels, classes, dims)
        features, strides = doubling(config, WIDTH, STRIDES, dims)
        self.stride, norm = product(strides, dims), config.norm or NORM

        def node(level: int, kept: int) -> nn.Sequential:
            here = features[level]
            return convolutions((kept * here + features[level + 1], here, here), norm, dims)

        self.down = nn.ModuleList([convolutions((channels, features[0], features[0]), norm, dims)])
        for level, stride in enumerate(strides):
            convs = convolutions((features[level], features[level + 1], features[level + 1]), norm, dims)
            self.down.append(nn.Sequential(POOL[dims](stride), *convs))

        deepest = len(strides)
        self.nested = nn.ModuleList(node(level, n - level) for n in range(1, deepest) for level in reversed(range(n)))
        self.join = nn.ModuleList(node(level, deepest - level) for level in reversed(range(deepest)))
        self.up = nn.ModuleList(
            nn.Upsample(scale_factor=stride, mode=LINEAR[dims], align_corners=True) for stride in reversed(strides)
        )
        self.head = CONV[dims](features[0], classes, 1)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Every node but those of the last climb; those of one stage are concatenated, as ``join`` takes them."""
        *stages, deepest = super().encode(image)
        rows, nodes = [[x] for x in stages], iter(self.nested)
        for n in range(1, len(stages)):
            x = stages[n]
            for level in reversed(range(n)):
                x = next(nodes)(torch.cat((*rows[level], self.up[-1 - level](x)), dim=1))
                rows[level].append(x)
        return [*(torch.cat(row, dim=1) for row in rows), deepest]
