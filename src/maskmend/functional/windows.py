"""Maps of a case from those of its windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from ..types import Batch


def together(parts: Iterable[tuple[Batch, Sequence[Tensor]]], shape: Sequence[int]) -> list[Tensor]:
    """Maps (B, ..., *S) from what the parts of one batch, one at least, have of them."""
    whole: list[Tensor] = []
    for part, values in parts:
        if not part.place:
            return list(values)
        whole = whole or [value.new_zeros(*value.shape[: -len(shape)], *shape) for value in values]
        at: tuple[Any, ...] = (..., *part.place)
        for into, value in zip(whole, values, strict=True):
            into[at] = value
    return whole
