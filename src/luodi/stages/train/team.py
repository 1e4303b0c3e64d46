"""One network learned by several processes, each on a device of its own: what of a step is whose.

A team changes no recipe. A step is the mean over the same examples as without it; each member takes its share of every
batch, and the gradients are added up. So the loss of two is the loss of one, but for the order of sums. Members decide
nothing alone: what hangs on a clock, a signal or a file is agreed upon at each step.

Weights are the same on every device (DistributedDataParallel, Li et al. 2020, arXiv:2006.15704), or each device keeps
its share of every weight and borrows the others' for as long as it computes with them (fully sharded, Zhao et al. 2023,
arXiv:2304.11277).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from luodi.models.layers import stacks

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=1)
"""Of one member for the others: while the first one computes what frozen layers give, or scores."""


class Crowded(Exception):
    """Memory does not suffice for so many examples at once. Who meets this in the midst of a step has left the others
    waiting: all of them end, and begin again from the last checkpoint with half as many."""

    def __init__(self, examples: int) -> None:
        super().__init__(examples)
        self.examples = examples


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """`rank` is this process's number from 0; the first one writes and speaks for all."""

    rank: int = 0
    size: int = 1
    is_sharded: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    """Where its sums are made; cuda: on the graphics processor that is the member's own."""
    most: int | None = None
    """Examples that each member takes at once, where memory did not suffice for more."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def shares(self, batches: Sequence[Sequence[T]]) -> list[list[T]]:
        """Each batch, or each piece of it that memory suffices for, as so many parts as there are members: those of
        the first batch, of the second, ..."""
        pieces = [
            batch[start : start + step] for batch in batches if (step := self.size * (self.most or len(batch)))
            for start in range(0, len(batch), step)
        ]  # fmt: skip
        return [list(piece[rank :: self.size]) for piece in pieces for rank in range(self.size)]

    def summed(self, values: Sequence[float]) -> list[float]:
        """Place by place over all members. Every one of them has to ask."""
        if self.size == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(told)
        return [float(value) for value in told.tolist()]

    def any(self, *wishes: bool) -> list[bool]:
        """Whether at least one member says so, wish by wish."""
        return [count > 0 for count in self.summed([float(wish) for wish in wishes])]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first member goes ahead; the others begin when it is done, and find what it has made."""
        if self.size > 1 and not self.leads:
            dist.barrier()
        yield
        if self.size > 1 and self.leads:
            dist.barrier()

    def wrapped(self, model: nn.Module, precision: str) -> nn.Module:
        """What a step calls in the network's place. Sharded, the network itself is changed, before its optimiser is
        made."""
        if self.size == 1:
            return model
        if not self.is_sharded:
            # A network may have weights that its task does not use, such as the pooler of BERT.
            return DistributedDataParallel(model, find_unused_parameters=True)
        if not isinstance(model, FSDPModule):
            mesh = init_device_mesh(self.device, (self.size,))
            bfloat = torch.bfloat16 if precision == "bfloat16" else None
            policy = MixedPrecisionPolicy(param_dtype=bfloat, reduce_dtype=torch.float32)
            for stack in stacks(model).values():
                for layer in stack:
                    fully_shard(layer, mesh=mesh, mp_policy=policy)
            fully_shard(model, mesh=mesh, mp_policy=policy)
        return model


ALONE = Team()


@contextmanager
def adding(model: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Gradients are added up here, and over the members after the last part of a step alone."""
    if isinstance(model, DistributedDataParallel) and not is_last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_last)
    yield


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the processor of all of it, where each member holds a share. Every member has to ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


@torch.no_grad()
def put(target: torch.Tensor, value: torch.Tensor) -> None:
    """The whole value into a tensor of which this member may hold a share."""
    target.copy_(like(target, value))


def like(target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The whole value, divided as the target is."""
    if isinstance(target, DTensor):
        return distribute_tensor(value.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    return value.to(target.device)


def seed_step(team: Team, seed: int, step: int) -> None:
    """Members draw different random numbers (dropout), and after a resume the same ones as before it."""
    if team.size > 1:
        torch.manual_seed(((seed * 1_000_003 + step) * 1_009 + team.rank) % 2**63)
