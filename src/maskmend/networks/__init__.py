"""The networks of this folder. A file here *is* the registration."""

from __future__ import annotations

import math
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import InputError
from .base import Network, NetworkConfig

__all__ = ["Network", "NetworkConfig", "build", "find", "names", "total_stride"]


def names() -> list[str]:
    """Every network that comes with MaskMend."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "base")


def find(name: str) -> type[Network]:
    """The network class called ``name``.

    Raises:
        InputError: no network has the name; its nearest neighbour is named.
    """
    if name not in names():
        near = get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}."
        raise InputError(f"unknown network {name!r} in network.name; {hint}")
    module = import_module(f"{__name__}.{name}")
    (family,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Network) and value.__module__ == module.__name__
    )
    return family


def build(config: NetworkConfig, channels: int, classes: int, dims: int) -> Network:
    """A freshly initialised network: (B, channels, *S) -> logits (B, classes, *S), ``dims`` axes in ``*S``.

    Raises:
        InputError: no network has the name, or a setting does not fit it.
    """
    network = find(config.name)(config, channels, classes, dims)
    for module in network.modules():
        if isinstance(module, _NormBase) and not config.affine:
            module.affine = False
            for name in ("weight", "bias"):
                module.register_parameter(name, None)
    return network


def total_stride(model: nn.Module, dims: int) -> tuple[int, ...]:
    """What every length of an image must be a multiple of, so that all networks within ``model`` take it."""
    strides = [module.stride for module in model.modules() if isinstance(module, Network)]
    return tuple(math.lcm(*(stride[axis] for stride in strides)) for axis in range(dims))
