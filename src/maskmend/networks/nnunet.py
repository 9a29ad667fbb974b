"""nnU-Net's U-Net: strided convolutions down, transposed ones up."""

from __future__ import annotations

from torch import nn

from .base import CONV, TRANSPOSED, NetworkConfig, Norm, UShaped, doubling, normalise, product

WIDTH = 32
STRIDES: dict[int, tuple[int, ...]] = {2: (2, 2, 2, 2, 2), 3: (2, 2, 2, 2)}
MOST: dict[int, int] = {2: 480, 3: 320}
NORM: Norm = "instance"


class NNUNet(UShaped):
    """The plain U-Net of nnU-Net v1 (Isensee et al., Nature Methods 2021), without deep supervision.

    Two convolutions with bias a stage, the first strided; transposed convolutions and head without bias; leaky ReLU
    0.01; weights after He. Features double from 32 up to 480 in 2D and 320 in 3D.

    With ``norm: batch`` it is the network of SP-guided (Li et al., MICCAI 2021). On ISIC (three channels, five
    downsamplings) it has 18,668,512 parameters; their 18,670,368 count 1,856 more of four heads for deep supervision
    that are built and never used. MONAI's DynUNet lacks the biases of the convolutions and has one in the head.
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int, dims: int) -> None:
        super().__init__(config, channels, classes, dims)
        features, strides = doubling(config, WIDTH, STRIDES[dims], dims)
        features = [min(width, MOST[dims]) for width in features]
        self.stride, norm = product(strides, dims), config.norm or NORM

        self.down = nn.ModuleList([_twice(channels, features[0], (1,) * dims, norm)])
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level, stride in enumerate(strides):
            self.down.append(_twice(features[level], features[level + 1], stride, norm))
        for level, stride in reversed(list(enumerate(strides))):
            here = features[level]
            self.up.append(TRANSPOSED[dims](features[level + 1], here, stride, stride, bias=False))
            self.join.append(_twice(2 * here, here, (1,) * dims, norm))
        self.head = CONV[dims](features[0], classes, 1, bias=False)
        self.apply(_initialise)


def _twice(into: int, out: int, stride: tuple[int, ...], norm: Norm) -> nn.Sequential:
    """Two 3-wide convolutions, the first strided, each normalised and rectified."""
    dims = len(stride)
    layers: list[nn.Module] = []
    for features, step in ((into, stride), (out, (1,) * dims)):
        conv = CONV[dims](features, out, 3, step, padding=1)
        layers += [conv, normalise(norm, out, dims), nn.LeakyReLU(0.01, inplace=True)]
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
