"""What a network is: logits with the size of the image, features a method may look at, and one total stride."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import InputError
from ..types import Config

Norm = Literal["batch", "instance"]
Factor = Annotated[int, Field(ge=1)]

CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class NetworkConfig(Config):
    """Which network, and how large. What is left out is the family's own choice, written in its file."""

    name: str = Field("unet", description="unet, nnunet, basic_unet: a file of maskmend/networks")
    width: int | None = Field(None, gt=0, description="features of the first stage")
    strides: tuple[Factor | tuple[Factor, ...], ...] | None = Field(
        None, description="one per downsampling, a number or one per axis: [2, 2, [1, 2]]"
    )
    norm: Norm | None = Field(None, description="batch or instance")


class Network(nn.Module):
    """Image (B, C, *S) -> logits (B, K, *S); ``forward`` is ``head`` of ``features``.

    Every length in ``*S`` must be a multiple of the axis' ``stride``, the product of all downsamplings.
    """

    stride: tuple[int, ...]
    head: nn.Module

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__()

    def features(self, image: Tensor) -> Tensor:
        """(B, C, *S) -> (B, F, *S), the decoder's last features.

        Raises:
            ValueError: a length is not a multiple of ``stride``.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(image))
        return logits

    def check(self, image: Tensor) -> None:
        """Refuse (B, C, *S) whose lengths the downsamplings do not divide."""
        size = tuple(image.shape[2:])
        if any(n % s for n, s in zip(size, self.stride, strict=True)):
            raise ValueError(f"{type(self).__name__} takes sizes that are multiples of {self.stride}, not {size}")


class UShaped(Network):
    """Stages down, each kept; then up again, each joined with the one of its size (Ronneberger et al., MICCAI 2015).

    ``down`` has one stage more than ``up`` and ``join``; ``down[i]`` includes its own downsampling.
    """

    down: nn.ModuleList
    up: nn.ModuleList
    join: nn.ModuleList

    def features(self, image: Tensor) -> Tensor:
        self.check(image)
        x, skips = image, []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat((skips.pop(), up(x)), dim=1))
        return x


def normalise(kind: Norm, features: int, dims: int) -> nn.Module:
    """The normalisation layer, with scale and shift, eps 1e-5."""
    if kind == "batch":
        return {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims](features)
    return {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims](features, affine=True)


def per_axis(strides: Sequence[int | tuple[int, ...]], dims: int) -> list[tuple[int, ...]]:
    """``[2, (1, 2)]`` in 2D -> ``[(2, 2), (1, 2)]``.

    Raises:
        InputError: an entry names another number of axes than ``dims``.
    """
    found = [(stride,) * dims if isinstance(stride, int) else stride for stride in strides]
    for stride in found:
        if len(stride) != dims:
            raise InputError(
                f"network.strides has the entry {list(stride)}, but the images are {dims}D; give {dims} numbers."
            )
    return found


def product(strides: Sequence[tuple[int, ...]], dims: int) -> tuple[int, ...]:
    """Total downsampling of each axis."""
    return tuple(math.prod(stride[axis] for stride in strides) for axis in range(dims))
