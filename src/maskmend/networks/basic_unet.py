"""MONAI's BasicUNet."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..errors import InputError
from .base import CONV, Network, NetworkConfig, Norm

WIDTH = 16
NORM: Norm = "instance"


class BasicUNet(Network):
    """MONAI's BasicUNet (after Falk et al., Nature Methods 2019): max pooling, transposed convolutions, leaky ReLU.

    Features are width × (1, 1, 2, 4, 8) down and width × 1 at the end; MONAI's default width is 32.

    Raises:
        InputError: ``strides`` are given; this network always halves four times.
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        from monai.networks.nets.basic_unet import BasicUNet as Body

        super().__init__(config, channels, classes, dims)
        if config.strides is not None:
            raise InputError("network.strides is set, but basic_unet always halves four times; choose unet or nnunet.")
        width, norm = config.width or WIDTH, config.norm or NORM
        features = tuple(width * times for times in (1, 1, 2, 4, 8, 1))
        self.stride = (16,) * dims
        self.body = Body(dims, channels, classes, features, norm=(norm, {"affine": True}))
        self.body.final_conv = nn.Identity()
        self.head = CONV[dims](width, classes, 1)

    def encode(self, image: Tensor) -> list[Tensor]:
        self.check(image)
        body = self.body
        stages = [body.conv_0(image)]
        for down in (body.down_1, body.down_2, body.down_3, body.down_4):
            stages.append(down(stages[-1]))
        return stages

    def decode(self, stages: list[Tensor]) -> Tensor:
        body = self.body
        *skips, deepest = stages
        x = self.dropout(deepest)
        for join in (body.upcat_4, body.upcat_3, body.upcat_2, body.upcat_1):
            x = join(x, skips.pop())
        return cast(Tensor, self.dropout(x))
