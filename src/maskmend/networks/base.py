"""What a network is: logits with the size of the image, features a method may look at, and one total stride."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, cast

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
DROPOUT: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}


class NetworkConfig(Config):
    """Which network, and how large. What is left out is the family's own choice, written in its file."""

    name: str = Field("unet", description="unet, nnunet, vnet, ...: a file of maskmend/networks")
    width: int | None = Field(None, gt=0, description="features of the first stage")
    strides: tuple[Factor | tuple[Factor, ...], ...] | None = Field(
        None, description="one per downsampling, a number or one per axis: [2, 2, [1, 2]]"
    )
    norm: Norm | None = Field(None, description="batch or instance")
    affine: bool = Field(True, description="whether it learns to scale and shift what it normalised")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="probability that a channel is dropped, after the deepest stage and before the head",
    )


class Network(nn.Module):
    """Image (B, C, *S) -> logits (B, K, *S): ``head`` of ``features``, which are ``decode`` of ``encode``.

    Every length in ``*S`` must be a multiple of the axis' ``stride``, the product of all downsamplings. All dropout is
    in ``decode``, so that samples of one image (Monte Carlo dropout) share one ``encode``.
    """

    default_dropout: ClassVar[float] = 0.0

    channels: int
    classes: int
    dims: int
    stride: tuple[int, ...]
    head: nn.Module

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__()
        self.channels, self.classes, self.dims = channels, classes, dims
        self.dropout = DROPOUT[dims](self.default_dropout if config.dropout is None else config.dropout)

    def encode(self, image: Tensor) -> list[Tensor]:
        """(B, C, *S) -> what ``decode`` needs, (B, F, *S / stride so far) each, the deepest stage last.

        Raises:
            ValueError: a length is not a multiple of ``stride``.
        """
        raise NotImplementedError

    def decode(self, stages: list[Tensor]) -> Tensor:
        """What ``encode`` gave, left as it is -> (B, F, *S), the decoder's last features."""
        raise NotImplementedError

    def features(self, image: Tensor) -> Tensor:
        """(B, C, *S) -> (B, F, *S), the decoder's last features.

        Raises:
            ValueError: a length is not a multiple of ``stride``.
        """
        return self.decode(self.encode(image))

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

    ``down[i]`` includes its own downsampling; ``up`` and ``join`` have one step for every stage but the deepest. Steps
    beyond those, where the first stage is smaller than the image, join nothing.
    """

    down: nn.ModuleList
    up: nn.ModuleList
    join: nn.ModuleList

    def encode(self, image: Tensor) -> list[Tensor]:
        self.check(image)
        stages, x = [], image
        for stage in self.down:
            x = stage(x)
            stages.append(x)
        return stages

    def decode(self, stages: list[Tensor]) -> Tensor:
        *skips, deepest = stages
        x: Tensor = self.dropout(deepest)
        for up, join in zip(self.up, self.join, strict=True):
            x = up(x)
            x = join(self.meet(skips.pop(), x) if skips else x)
        return cast(Tensor, self.dropout(x))

    def meet(self, skip: Tensor, x: Tensor) -> Tensor:
        """A kept stage (B, F, *S) and what comes up to it (B, G, *S) -> what ``join`` takes, (B, F + G, *S)."""
        return torch.cat((skip, x), dim=1)


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


def doubling(
    config: NetworkConfig, width: int, strides: Sequence[int | tuple[int, ...]], dims: int
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Features of each stage, twice those before, and the strides between: ``config``'s, else from these defaults."""
    steps = per_axis(strides if config.strides is None else config.strides, dims)
    return [(config.width or width) * 2**level for level in range(len(steps) + 1)], steps


def product(strides: Sequence[tuple[int, ...]], dims: int) -> tuple[int, ...]:
    """Total downsampling of each axis."""
    return tuple(math.prod(stride[axis] for stride in strides) for axis in range(dims))


def convolutions(features: Sequence[int], norm: Norm, dims: int, bias: bool = True) -> nn.Sequential:
    """3-wide convolutions from each number of features to the next, each normalised and rectified."""
    layers: list[nn.Module] = []
    for a, b in pairwise(features):
        layers += [CONV[dims](a, b, 3, padding=1, bias=bias), normalise(norm, b, dims), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def resize(kind: dict[int, type[nn.Module]], into: int, out: int, stride: tuple[int, ...], norm: Norm) -> nn.Sequential:
    """A step of ``CONV`` down or of ``TRANSPOSED`` up, as wide as its stride, normalised and rectified."""
    dims = len(stride)
    return nn.Sequential(kind[dims](into, out, stride, stride), normalise(norm, out, dims), nn.ReLU(inplace=True))
