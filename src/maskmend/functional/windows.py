"""Maps of a case from those of its windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from ..types import Batch


def together(parts: Iterable[tuple[Batch, Tensor]], shape: Sequence[int]) -> Tensor:
    """A map (B, ..., *S) from what the parts of one batch, one at least, have of it."""
    whole: Tensor | None = None
    for part, value in parts:
        if not part.place:
            return value
        if whole is None:
            whole = value.new_zeros(*value.shape[: -len(shape)], *shape)
        at: tuple[Any, ...] = (..., *part.place)
        whole[at] = value
    assert whole is not None
    return whole
