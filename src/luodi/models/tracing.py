"""From a torch network to the graph that exporters read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from luodi.backends.quiet import quiet
from luodi.core.types import Batch
from luodi.models.engine import TorchEngine, read_by, to_torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def trace(engine: TorchEngine, batch: Batch, other: Batch) -> ExportedProgram:
    """The graph with those sizes left free in which the two batches differ. Such a size must be 2 at the least: torch
    takes a size of 1 for a constant (pytorch#148886)."""
    model = engine.model.eval()
    inputs = to_torch(read_by(model, batch))
    shapes: dict[str, dict[int, Any]] = {}
    for name, tensor in inputs.items():
        sizes = zip(tensor.shape, other[name].shape, strict=True)
        shapes[name] = {axis: torch.export.Dim.DYNAMIC for axis, (here, there) in enumerate(sizes) if here != there}
        if any(tensor.shape[axis] < 2 for axis in shapes[name]):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}: a size of 1 would become a constant")
    with quiet(), torch.inference_mode(False), torch.no_grad():
        return torch.export.export(model, (), kwargs=inputs, dynamic_shapes=shapes)


def use_threads(count: int) -> None:
    """Of all torch networks in this process."""
    torch.set_num_threads(count)


def output_names(engine: TorchEngine, batch: Batch) -> list[str]:
    """Names of what the network answers, in the order of the graph's outputs."""
    answers: dict[str, Any] = dict(engine.run(batch))
    return list(answers)
