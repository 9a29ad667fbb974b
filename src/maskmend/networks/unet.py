"""GSD-Net's U-Net: convolutions in pairs, max pooling, linear upsampling."""

from __future__ import annotations

from torch import nn

from .base import CONV, POOL, NetworkConfig, Norm, UShaped, convolutions, doubling, product

WIDTH = 16
STRIDES = (2, 2, 2, 2)
NORM: Norm = "batch"


class UNet(UShaped):
    """The U-Net of Wang et al., GSD-Net, MedIA 2026; PyTorch's default initialisation.

    2D: 16, 32, 64, 128 features and a bottleneck that does not double, 128; the convolutions on the way up halve,
    then reach the features of the stage above, so that both sides of a join weigh the same. 1,082,050 parameters for
    three channels and two classes.
    3D (BraTS): 16, 32, 64, 128, 256 features; the way up keeps the features of its stage.
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__(config, channels, classes, dims)
        features, strides = doubling(config, WIDTH, STRIDES, dims)
        self.stride, norm = product(strides, dims), config.norm or NORM
        if dims == 2 and strides:
            features[-1] = features[-2]

        self.down = nn.ModuleList([convolutions((channels, features[0], features[0]), norm, dims)])
        for level, stride in enumerate(strides):
            convs = convolutions((features[level], features[level + 1], features[level + 1]), norm, dims)
            self.down.append(nn.Sequential(POOL[dims](stride), *convs))

        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        deep = features[-1]
        for level, stride in reversed(list(enumerate(strides))):
            joined = features[level] + deep
            middle, deep = (joined // 2, features[max(level - 1, 0)]) if dims == 2 else (features[level],) * 2
            self.up.append(_enlarge(stride, dims))
            self.join.append(convolutions((joined, middle, deep), norm, dims))
        self.head = CONV[dims](deep, classes, 1)


def _enlarge(stride: tuple[int, ...], dims: int) -> nn.Upsample:
    """Corners are aligned in 2D and not in 3D, as in the released networks."""
    if dims == 2:
        return nn.Upsample(scale_factor=stride, mode="bilinear", align_corners=True)
    return nn.Upsample(scale_factor=stride, mode="trilinear", align_corners=False)
