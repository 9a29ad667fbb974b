"""Randomness as a function of (seed, place). No generator's state is ever saved.

Every draw belongs to a place in the run, such as (epoch, step, rank), and is seeded from it, so a run can resume at any
step, on any number of workers, bit for bit.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def fold(seed: int, *place: int | str) -> int:
    """A 63-bit seed for one place in the run (after ``jax.random.fold_in``)."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def case_rng(seed: int, name: str) -> np.random.Generator:
    """Randomness that belongs to one case, whatever the others are."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def seed_all(seed: int) -> None:
    """Seed torch (every device), numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  third-party code draws from it
    random.seed(seed)
