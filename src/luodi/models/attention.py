"""Where a network's layers look: the attention weights of every layer and head for one input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luodi.core.task import Task
from luodi.core.types import Floats, Item
from luodi.models.engine import TorchEngine, read_by, to_torch
from luodi.models.transformer import MultiHeadAttention


def attention_maps(engine: TorchEngine, task: Task[Any, Any], item: Item) -> Floats:
    """Layers x heads x T x T: how much the position of the row takes of that of the column; rows add up to 1. Empty for
    networks that do not tell."""
    trunk: Any = getattr(engine.model, "encoder", None)
    batch = to_torch(read_by(engine.model, task.collate([item])), engine.device)
    batch.pop("ngrams", None)
    if trunk is None:
        return np.zeros((0, 0, 0, 0))
    with torch.inference_mode(), _written_out(trunk) as seen:
        told = trunk.eval()(**batch, **({} if seen is not None else {"output_attentions": True}))
    maps = seen if seen is not None else [part for part in told.attentions or () if part is not None]
    return np.stack([part[0].double().cpu().numpy() for part in maps]) if maps else np.zeros((0, 0, 0, 0))


def rollout(maps: Floats) -> Floats:
    """How much of each position of the input arrives at the mean of the last layer: T. Half of every layer is the way
    around it, heads are averaged, layers multiplied (Abnar and Zuidema 2020, arXiv:2005.00928)."""
    size = maps.shape[-1]
    through = np.eye(size)
    for layer in maps.mean(1):
        through = (0.5 * layer + 0.5 * np.eye(size)) @ through
    return np.asarray(through.mean(0))


@contextmanager
def _written_out(trunk: Any) -> Iterator[list[Tensor] | None]:
    """While it lasts, attention is computed so that its weights can be seen. Gives the list that they go into; None
    where the library gives them back itself."""
    own = [module for module in trunk.modules() if isinstance(module, MultiHeadAttention)]
    if own:
        seen: list[Tensor] = []
        with _recorded(own, seen):
            yield seen
        return
    before = trunk.config._attn_implementation
    trunk.set_attn_implementation("eager")
    try:
        yield None
    finally:
        trunk.set_attn_implementation(before)


@contextmanager
def _recorded(modules: list[MultiHeadAttention], seen: list[Tensor]) -> Iterator[None]:
    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        seen.append(weights)
        taken: Tensor = weights @ v
        return taken

    before = [module.attend for module in modules]
    try:
        for module in modules:
            module.attend = attend
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.attend = own
