"""The numbers networks compute in: which, whether the hardware repeats them, and whether they are numbers still."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import get_total_norm

from ..errors import InputError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
AUTO = "auto is bf16 on a GPU that multiplies it natively, else fp32"
TIMES = 4
"""How often a step is taken that must come out the same."""
DIRT = (2**10, 2**14, 2**18, 2**20)
"""Floats of blocks of memory that are given back full of NaN: who reads what nobody wrote will show it."""


def resolve_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The dtype that networks compute in; "auto" is fp32 on every CPU, for a run repeats bit for bit there."""
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def check_repeats(compute: Callable[[], Mapping[str, Tensor]], setting: str) -> None:
    """Refuse a precision in which the same computation, from the same start, gives other tensors or NaN.

    Gradients of 3D convolutions with few voxels do so in bf16 on CPUs with AVX-512 but without AMX (oneDNN, PyTorch 2).

    Raises:
        InputError: it names ``setting``, the first tensor that differs, and the cure.
    """
    first: Mapping[str, Tensor] = {}
    for _ in range(TIMES):
        for count in DIRT:
            torch.full((count,), math.nan)
        again = compute()
        first = first or {name: value.clone() for name, value in again.items()}
        if unlike := next((name for name, value in again.items() if not torch.equal(value, first[name])), None):
            raise InputError(
                f"{setting} does not repeat on this CPU: the same step, taken twice, gave another {unlike}; "
                "leave it at auto, which is fp32 here."
            )


def finite(model: nn.Module) -> bool:
    """Whether every parameter, and every running statistic of a normalisation, is a number."""
    running = (b for m in model.modules() if isinstance(m, _NormBase) for b in m.buffers() if b.is_floating_point())
    return bool(get_total_norm([*(p.detach() for p in model.parameters()), *running], math.inf).isfinite())
