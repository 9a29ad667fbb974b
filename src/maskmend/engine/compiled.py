"""Networks compiled by torch.compile: several operations become one kernel, which saves passes over memory."""

from __future__ import annotations

import torch

from ..errors import InputError
from ..methods import Method
from ..networks import Network


def compile_networks(method: Method, device: torch.device) -> None:
    """Compile the calls of every network in place, each at its first: the names of its weights stay as they are.

    What a method asks of a network besides calling it, its features, say, and copies made later, run as ever. Every
    shape is compiled for itself, so that what is computed does not depend on the shapes seen before: a run that is
    resumed repeats the one that was not stopped.

    Raises:
        InputError: this machine cannot compile: no C++ compiler, say.
    """
    try:
        torch.compile(_probe)(torch.ones(8, device=device))
    except Exception as error:  # of whatever a compiler needs and does not find
        raise InputError(
            f"train.compile=true: this machine cannot compile ({type(error).__name__}); install a C++ compiler "
            "(g++, on Debian by `apt-get install g++`; on a GPU also Triton), or leave it out."
        ) from None
    for module in method.modules():
        if isinstance(module, Network):
            module.compile(dynamic=False)


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
