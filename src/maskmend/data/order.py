"""Which cases come when: batches of so many of each pool, in an order that follows from the place in the run."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import InputError
from ..functional.rng import fold
from ..types import Trust

POOLS: Mapping[str, frozenset[Trust]] = {
    "any": frozenset(Trust),
    "clean": frozenset({Trust.CLEAN}),
    "imperfect": frozenset({Trust.NOISY, Trust.UNLABELED}),
    "labeled": frozenset({Trust.CLEAN, Trust.NOISY}),
    "unlabeled": frozenset({Trust.UNLABELED}),
}
"""What a batch plan may ask for."""


def order(trust: Tensor, batch: Mapping[str, int], seed: int, epoch: int, steps: int | None) -> list[Tensor]:
    """Positions in ``trust`` (N,) for every step of an epoch, pool after pool: a list of (B,) int64.

    ``batch`` says how many of each pool a step takes. Each pass over a pool has a random order of its own; the last
    batch is filled up from the next pass. ``steps``: None is one pass over the largest pool.

    Raises:
        InputError: an unknown or an empty pool, or no pool at all.
    """
    rows = pools(trust, batch)
    counts = {name: batch[name] for name in rows}
    if steps is None:
        steps = max((len(rows[name]), -(-len(rows[name]) // count)) for name, count in counts.items())[1]
    columns = [
        _passes(rows[name], steps * count, (seed, epoch, name)).view(steps, count) for name, count in counts.items()
    ]
    return list(torch.cat(columns, dim=1))


def share(batch: Mapping[str, int], rank: int, size: int) -> Tensor:
    """Positions of one rank's rows in the batch of all ``size`` ranks: the rank-th run of ``batch[pool]`` in each pool.

    (B,) int64. The batch of all ranks is that of one process with ``size`` times the counts.
    """
    rows, start = [torch.arange(0)], 0
    for count in batch.values():
        first = start + rank * count
        rows.append(torch.arange(first, first + count))
        start += size * count
    return torch.cat(rows)


def pools(trust: Tensor, batch: Mapping[str, int]) -> dict[str, Tensor]:
    """Positions in ``trust`` (N,) of each pool that ``batch`` takes cases from, int64.

    Raises:
        InputError: an unknown or an empty pool, a negative number, or no pool at all.
    """
    if negative := next((name for name, count in batch.items() if count < 0), None):
        raise InputError(f"train.batch.{negative}={batch[negative]}: give 0 or more cases.")
    if not any(batch.values()):
        raise InputError("train.batch asks for no case at all; give a pool a number, e.g. train.batch.any=8.")
    return {name: _pool(trust, name) for name, count in batch.items() if count}


def _passes(rows: Tensor, total: int, place: tuple[int, int, str]) -> Tensor:
    """``total`` of ``rows``: one random order after another."""
    seed, epoch, name = place
    shuffled = []
    for again in range(-(-total // len(rows))):
        generator = torch.Generator().manual_seed(fold(seed, "order", epoch, name, again))
        shuffled.append(rows[torch.randperm(len(rows), generator=generator)])
    return torch.cat(shuffled)[:total]


def _pool(trust: Tensor, name: str) -> Tensor:
    if name not in POOLS:
        near = difflib.get_close_matches(name, POOLS, n=1, cutoff=0) or ["any"]
        raise InputError(f"train.batch names the pool {name!r}, which does not exist; did you mean {near[0]!r}?")
    rows = torch.isin(trust, torch.tensor([int(t) for t in POOLS[name]])).nonzero().flatten()
    if not len(rows):
        raise InputError(
            f"train.batch asks for the pool {name!r}, but no training case is in it; "
            "say in supervision.csv which cases are clean, noisy or unlabeled, or ask for another pool."
        )
    return rows
