"""Attributions from a network's own gradients: one or a few passes, where hiding parts takes one for each part.

For networks that read token embeddings or pixels. What stands beside them (the wide part's n-grams) is held fixed: it
is not explained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luodi.core.task import Task
from luodi.core.types import Floats, Item
from luodi.models.engine import TorchEngine, read_by, to_torch
from luodi.models.pixels import PIXELS


def gradient_times_input(engine: TorchEngine, task: Task[Any, Any], item: Item) -> Floats:
    """The gradient of the answer at the input, times the input (Shrikumar et al. 2016, arXiv:1605.01713), summed over
    the width of each position: T, or H x W."""
    return _along(engine, task, item, np.ones(1), np.ones(1))


def integrated_gradients(engine: TorchEngine, task: Task[Any, Any], item: Item, steps: int) -> tuple[Floats, float]:
    """The mean gradient on the straight way from nothing to the input, times the input (Sundararajan, Taly and Yan
    2017, arXiv:1703.01365), by Gauss-Legendre quadrature; and by which share of the whole their sum misses what the
    input adds (completeness)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    found = _along(engine, task, item, (nodes + 1) / 2, weights / 2)
    with torch.no_grad():
        ends = [float(_aim(engine, task, item, np.array([end]))[0]) for end in (0.0, 1.0)]
    added = ends[1] - ends[0]
    return found, abs(float(found.sum()) - added) / max(abs(added), 1e-6)


def _along(engine: TorchEngine, task: Task[Any, Any], item: Item, shares: Floats, weights: Floats) -> Floats:
    """The weighted sum of gradients at shares of the input, times the input."""
    with torch.enable_grad():
        aim, inner, whole = _aim(engine, task, item, shares)
        (slopes,) = torch.autograd.grad(aim, inner)
    told = (slopes * torch.as_tensor(weights, dtype=slopes.dtype).view(-1, *[1] * (slopes.dim() - 1))).sum(0) * whole
    width = 0 if PIXELS in item else -1  # C x H x W, or T x width
    return np.asarray(told.sum(width).double().numpy())


def _aim(
    engine: TorchEngine, task: Task[Any, Any], item: Item, shares: Floats
) -> tuple[Tensor, Tensor, Tensor]:
    """The answer's strength summed over the item at each share of its input; the inputs at these shares; the whole."""
    model, rows = engine.model.eval(), len(shares)
    batch = to_torch(task.collate([item] * rows))
    reads = read_by(model, task.collate([item] * rows))
    scale = torch.as_tensor(shares, dtype=torch.float32)
    if PIXELS in reads:
        whole = batch[PIXELS][0]
        inner = (scale.view(-1, 1, 1, 1) * batch[PIXELS]).requires_grad_()
        outputs = model(**{**to_torch(reads), PIXELS: inner})
        return task.aim(outputs, batch) * rows, inner, whole
    with _embedded(model, scale) as seen:
        outputs = model(**to_torch(reads))
    return task.aim(outputs, batch) * rows, seen["inner"], seen["whole"]


@contextmanager
def _embedded(model: torch.nn.Module, scale: Tensor) -> Iterator[Mapping[str, Tensor]]:
    """While it lasts, the word embeddings of row i are `scale[i]` of what they are."""
    trunk: Any = getattr(model, "encoder", None)
    seen: dict[str, Tensor] = {}

    def scaled(module: torch.nn.Module, given: Any, made: Tensor) -> Tensor:
        seen["whole"] = made[0].detach()
        seen["inner"] = (scale.view(-1, *[1] * (made.dim() - 1)) * made.detach()).requires_grad_()
        return seen["inner"]

    handle = trunk.get_input_embeddings().register_forward_hook(scaled)
    try:
        yield seen
    finally:
        handle.remove()
