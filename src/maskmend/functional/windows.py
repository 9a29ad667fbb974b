"""Maps of a case from those of its windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
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


def whole(
    cases: Iterable[Batch], see: Callable[[Batch], Tensor], device: torch.device
) -> Iterator[tuple[Batch, Tensor]]:
    """Cases, and what ``see`` finds in their parts, as a map of the whole (B, ..., *S); on ``device``, but large
    ones on the CPU."""
    for batch in cases:
        if batch.large:
            (found,) = together(((p, [see(p.to(device)).cpu()]) for p in batch.parts()), batch.label.shape[1:])
            yield batch, found
        else:
            here = batch.to(device)
            yield here, see(here)
