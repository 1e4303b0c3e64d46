"""What the linear layers of a network are given, on average over real inputs: by it a smaller layer can be made that
gives the same where it matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luodi.core.batching import batches_by_length, item_size
from luodi.core.machine import need_memory
from luodi.core.progress import progress
from luodi.core.task import Task
from luodi.core.types import Item
from luodi.messages import tr
from luodi.models.engine import read_by, to_torch
from luodi.models.layers import stacks

ENOUGH = 6
"""Positions for each input of the widest layer: products in double precision take their time."""
DAMPING = 1e-6
"""Of the mean square of an input, added to each: the second moment of few inputs has no inverse."""


def second_moments(
    model: nn.Module, task: Task[Any, Any], items: Sequence[Item], kinds: tuple[str, ...] = ("",)
) -> dict[str, Tensor]:
    """Of the inputs of each linear layer in the stack whose name ends so, by its name: (inputs, inputs), in double
    precision. Padding is left out, and so is what comes after `ENOUGH` positions. Raises ResourceError where memory
    does not suffice."""
    inner = tuple(f"{stack}." for stack in stacks(model))
    asked = {
        name: module for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(inner) and name.endswith(kinds)
    }  # fmt: skip
    found: dict[str, Any] = dict.fromkeys(asked, 0.0)
    real = torch.ones(0, dtype=torch.bool)

    def reader(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            told = given[0][real] if given[0].shape[:-1] == real.shape else given[0].flatten(0, -2)
            told = told.double()  # rounded products of few inputs have no factors
            found[name] = found[name] + told.T @ told

        return read

    handles = [module.register_forward_pre_hook(reader(name)) for name, module in asked.items()]
    model.eval()
    batches = list(batches_by_length([item_size(i) for i in items]))
    need_memory(sum(8 * m.in_features**2 for m in asked.values()))
    left = ENOUGH * max((m.in_features for m in asked.values()), default=0)
    try:
        for done, which in enumerate(np.random.default_rng(0).permutation(len(batches))):
            if left <= 0:
                break
            places = batches[which]
            left -= sum(item_size(items[i]) for i in places)
            batch = to_torch(read_by(model, task.collate([items[i] for i in places])))
            real = batch["attention_mask"].bool() if "attention_mask" in batch else real[:0]
            with torch.no_grad():
                model(**batch)
            progress(tr("what matters"), done + 1, len(batches))
        progress(tr("what matters"), len(batches), len(batches))
    finally:
        for handle in handles:
            handle.remove()
    return found


def damped(moment: Tensor, share: float = DAMPING) -> Tensor:
    """With an inverse."""
    least = share * moment.diagonal().mean().clamp(min=1e-12)
    return moment + least * torch.eye(len(moment), dtype=moment.dtype)
