"""How much memory there is, asked before what cannot fit is begun: afterwards the system may end the process."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch

FLOAT = 4
"""Bytes of a float32."""
CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_bytes(device: torch.device | None = None) -> float:
    """Memory that this process may still take: of a GPU, or of the machine and its control groups; infinite if nothing
    says."""
    if device is not None and device.type == "cuda":
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    return min([_machine(), *_groups()])


def check_memory(needed_bytes: float, what: str, cure: str, device: torch.device | None = None) -> None:
    """Raise InputError where ``what`` needs more than there is; ``cure`` says what to do about it."""
    there = available_bytes(device)
    if needed_bytes > there:
        much = f"{_gib(needed_bytes)} GiB" if math.isfinite(needed_bytes) else "more than a machine has"
        raise InputError(f"{what} would take {much} of memory where {_gib(there)} GiB are free; {cure}.")


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says so: Python, NumPy, PyTorch on a CPU or on a GPU, SimpleITK, or the C++ beneath them."""
    words = ("memory", "bad_alloc", "bad allocation")
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "alloc" in said and any(word in said for word in words)
    )


def floats(*lengths: int | Sequence[int]) -> int:
    """Bytes of an array of float32 with these axes.

    >>> floats(2, (8, 8))
    512
    """
    return FLOAT * math.prod(math.prod(n) if isinstance(n, Sequence) else n for n in lengths)


def _gib(number: float) -> str:
    return f"{number / 2**30:,.1f}"


def _machine() -> float:
    """What Linux calls available: free, or freed without swapping. Elsewhere all that is built in."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with suppress(OSError, ValueError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return math.inf


def _groups() -> Iterator[float]:
    """What is left to each control group that this process is in, version 1 or 2; file caches that can go are free."""
    with suppress(OSError):
        for line in OWN.read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            root = CGROUPS / controllers
            names = ("max", "current") if not controllers else ("limit_in_bytes", "usage_in_bytes")
            inside = root / own.lstrip("/")
            for folder in (inside, *(parent for parent in inside.parents if parent.is_relative_to(root))):
                with suppress(OSError, ValueError):  # no such file: another version's; "max": no limit
                    limit, used = (int((folder / f"memory.{name}").read_text()) for name in names)
                    yield limit - used + _cached(folder)


def _cached(folder: Path) -> int:
    with suppress(OSError):
        rows = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return next((int(value) for name, value in rows if name == "inactive_file"), 0)
    return 0
