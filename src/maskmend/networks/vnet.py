"""V-Net: strided convolutions down, transposed ones up, stages added."""

from __future__ import annotations

from torch import Tensor, nn

from .base import CONV, TRANSPOSED, NetworkConfig, Norm, UShaped, convolutions, doubling, product, resize

WIDTH = 16
STRIDES = (2, 2, 2, 2)
NORM: Norm = "batch"


class VNet(UShaped):
    """V-Net (Milletari et al., 3DV 2016) in the form of UA-MT (Yu et al., MICCAI 2019), as ALC trains it.

    3-wide convolutions, 1, 2, 3, 3, 3 a stage down and 3, 3, 2, 1 up, each normalised and rectified, without
    residuals; kept stages are added, not concatenated; half of the channels are dropped after the deepest stage and
    before the head. 16, 32, 64, 128, 256 features; 9,448,866 parameters for one channel and two classes in 3D.
    """

    default_dropout = 0.5

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__(config, channels, classes, dims)
        features, strides = doubling(config, WIDTH, STRIDES, dims)
        self.stride, norm = product(strides, dims), config.norm or NORM

        def block(level: int) -> nn.Sequential:
            count = min(level + 1, 3)
            return convolutions((features[level],) * (count + 1), norm, dims)

        self.down = nn.ModuleList([convolutions((channels, features[0]), norm, dims)])
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level, stride in enumerate(strides):
            halve = resize(CONV, features[level], features[level + 1], stride, norm)
            self.down.append(nn.Sequential(*halve, *block(level + 1)))
        for level, stride in reversed(list(enumerate(strides))):
            self.up.append(resize(TRANSPOSED, features[level + 1], features[level], stride, norm))
            self.join.append(block(level))
        self.head = CONV[dims](features[0], classes, 1)

    def meet(self, skip: Tensor, x: Tensor) -> Tensor:
        """The sum, (B, F, *S) both."""
        return skip + x
