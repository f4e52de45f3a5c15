"""Ranks: who am I among the processes that torchrun started, and what they do together.

Without torchrun there is one rank, and everything here is a plain call. All ranks make the same decisions: a choice is
made on one and sent to the others, or is a function of what all of them know.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from pipelines.longtune.errors import TuneError, UsageError

T = TypeVar("T")
_PATIENCE = timedelta(hours=2)  # rank 0 may write a large checkpoint, or sample, while the others wait


def pick_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one. Raises `UsageError` if cuda is wanted and missing."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("train.device is cuda, but torch sees no GPU; set it to auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


@dataclass(frozen=True)
class World:
    """The ranks of a run, seen from one of them.

    Attributes:
        rank: mine, from 0.
        size: how many there are.
        device: where this rank computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank."""
        return self.sum([float(flag)])[0] > 0

    def sum(self, numbers: Iterable[float]) -> list[float]:
        """Sums over the ranks."""
        total = torch.tensor(list(numbers), dtype=torch.float64, device=self.device)
        if self.size > 1:
            dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: T) -> list[T]:
        """What each rank holds, in their order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def on_first(self, work: Callable[[], T]) -> T:
        """What `work` gives on rank 0, on every rank; an error that is the user's to mend is raised on every rank."""
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = work()
            except TuneError as error:
                outcome[1] = error
        if self.size > 1:
            dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def shard(self, network: nn.Module) -> None:
        """Split a transformer's weights over the ranks by FSDP2: each block is gathered when it runs.

        A network without blocks (the VAE of a toy run) stays whole on every rank; `average_gradients` keeps it alike.
        """
        blocks = getattr(network, "blocks", None)
        if self.size == 1 or blocks is None:
            return
        # What a transformer gives is a view, which nobody here writes into.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
        mesh = init_device_mesh(self.device.type, (self.size,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)

    @staticmethod
    def let_go(network: nn.Module) -> None:
        """Drop gathered weights after passes that had no backward: the next would run on them, however they changed."""
        if isinstance(network, FSDPModule):
            network.reshard()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """The mean over the ranks of the gradients of weights that are not sharded (FSDP2 sees to the others)."""
        for parameter in parameters if self.size > 1 else ():
            if parameter.grad is not None and not isinstance(parameter, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size


def whole(tensor: Tensor) -> Tensor:
    """A tensor without its sharding, on the CPU. To be called on every rank alike."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The ranks that torchrun started (its RANK, WORLD_SIZE, LOCAL_RANK), or this process alone.

    Raises:
        UsageError: more ranks than GPUs on this machine.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    picked = pick_device(device)
    if picked.type == "cuda":
        if (picked.index or 0) >= torch.cuda.device_count():
            raise UsageError(
                f"local rank {picked.index} has no GPU of its own ({torch.cuda.device_count()} here); "
                "start torchrun with as many --nproc-per-node as there are GPUs"
            )
        torch.cuda.set_device(picked)
    if dist.is_initialized():  # by the caller, who will end it
        yield World(dist.get_rank(), dist.get_world_size(), picked)
        return
    if size == 1:
        # A group of one, so that a distributed checkpoint is written as on many.
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    else:
        # gloo beside nccl: small facts travel between CPUs.
        dist.init_process_group("cpu:gloo,cuda:nccl" if picked.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(rank, size, picked)
    finally:
        dist.destroy_process_group()
