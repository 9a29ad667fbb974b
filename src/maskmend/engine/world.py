"""The processes of a run: devices, launching and collectives, by Lightning Fabric."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class World:
    """This process among its peers. Without a ``fabric`` it is alone, and every call is the identity."""

    fabric: Fabric | None = None
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable

    @property
    def rank(self) -> int:
        return self.fabric.global_rank if self.fabric else 0

    @property
    def size(self) -> int:
        return self.fabric.world_size if self.fabric else 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    @torch.no_grad()
    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Mean over ranks, in place, as one message for each dtype."""
        if self.fabric is None:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for same in by_dtype.values():
            flat = torch.cat([t.flatten() for t in same])
            dist.all_reduce(flat)
            flat /= self.size
            for t, part in zip(same, flat.split([t.numel() for t in same]), strict=True):
                t.copy_(part.view_as(t))

    def gather_object(self, value: Any) -> list[Any]:
        """``value`` of every rank, in the order of ranks, on every rank."""
        if self.fabric is None:
            return [value]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value)
        return gathered

    def wait(self) -> None:
        """Until every rank is here."""
        if self.fabric is not None:
            self.fabric.barrier()


def launch(device: str = "auto") -> World:
    """The world that ``torchrun`` or SLURM's ``srun`` started this process in; a world of one otherwise.

    Raises:
        InputError: a GPU is asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no usable GPU; use --device cpu, or auto.")
    env = os.environ
    srun = "SLURM_PROCID" in env and "SLURM_NTASKS" in env
    ranks = int(env.get("WORLD_SIZE") or (env["SLURM_NTASKS"] if srun else 1))
    if ranks == 1:
        return World(device=torch.device(device))
    from lightning_fabric import Fabric  # seconds to import, and of use to several ranks only

    here = int(env.get("LOCAL_WORLD_SIZE") or env.get("SLURM_NTASKS_PER_NODE") or ranks)
    fabric = Fabric(accelerator=device, devices=here, num_nodes=ranks // here, strategy="ddp")
    fabric.launch()
    return World(fabric, fabric.device)
