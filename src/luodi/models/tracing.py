"""From a torch network to the graph that exporters read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from luodi.backends.quiet import quiet
from luodi.core.types import Batch
from luodi.models.engine import TorchEngine, to_torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def trace(engine: TorchEngine, batch: Batch) -> ExportedProgram:
    """Every input B x T with both sizes left free. The batch must have B >= 2 and T >= 2: torch takes a size of 1 for
    a constant (pytorch#148886)."""
    inputs = to_torch(batch)
    for name, tensor in inputs.items():
        if min(tensor.shape) < 2:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}: a size of 1 would become a constant")
    free = torch.export.Dim.DYNAMIC
    shapes = {name: dict.fromkeys(range(min(2, tensor.ndim)), free) for name, tensor in inputs.items()}
    model = engine.model.eval()
    with quiet(), torch.inference_mode(False), torch.no_grad():
        return torch.export.export(model, (), kwargs=inputs, dynamic_shapes=shapes)


def use_threads(count: int) -> None:
    """Of all torch networks in this process."""
    torch.set_num_threads(count)


def output_names(engine: TorchEngine, batch: Batch) -> list[str]:
    """Names of what the network answers, in the order of the graph's outputs."""
    answers: dict[str, Any] = dict(engine.run(batch))
    return list(answers)
