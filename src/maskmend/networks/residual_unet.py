"""Deep Self-cleansing's U-Net: residual blocks, strided convolutions down, transposed ones up."""

from __future__ import annotations

from torch import Tensor, nn

from .base import CONV, TRANSPOSED, NetworkConfig, Norm, UShaped, convolutions, doubling, product, resize

WIDTH = 16
STRIDES = (2, 2, 2)
NORM: Norm = "batch"


class ResidualUNet(UShaped):
    """The network of Deep Self-cleansing (arXiv 2409.05024), Table 1. Its features are never negative.

    One convolution to 16 features; residual blocks of 1, 2, 3 convolutions with 32, 64, 128 features on the way down
    and of 3, 2, 1 on the way up, which add to the whole join: 128, 64 and at last 32 features, the f of Eq. 4. The
    head is a 3-wide convolution to two features, or as many as there are classes, then a 1-wide one.
    1,151,929 parameters for one channel and one class in 2D.

    The table names neither normalisation nor activation, and rows of its third block are lost in print: batch
    normalisation, ReLU and the mirror of the fourth block are our reading.
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__(config, channels, classes, dims)
        features, strides = doubling(config, WIDTH, STRIDES, dims)
        self.stride, norm = product(strides, dims), config.norm or NORM

        self.down = nn.ModuleList([convolutions((channels, features[0]), norm, dims)])
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level, stride in enumerate(strides):
            halve = resize(CONV, features[level], features[level + 1], stride, norm)
            self.down.append(nn.Sequential(*halve, _Residual(features[level + 1], min(level + 1, 3), norm, dims)))
        deep = features[-1]
        for level, stride in reversed(list(enumerate(strides))):
            self.up.append(resize(TRANSPOSED, deep, features[level], stride, norm))
            deep = 2 * features[level]
            self.join.append(_Residual(deep, min(level + 1, 3), norm, dims))
        last = max(2, classes)
        self.head = nn.Sequential(*convolutions((deep, last), norm, dims), CONV[dims](last, classes, 1))


class _Residual(nn.Module):
    """``count`` 3-wide convolutions, their input added before the last is rectified."""

    def __init__(self, features: int, count: int, norm: Norm, dims: int) -> None:
        super().__init__()
        *layers, self.rectify = convolutions((features,) * (count + 1), norm, dims)
        self.convolutions = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rectify(self.convolutions(x) + x)
        return out
