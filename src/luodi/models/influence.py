"""Which training rows a network's answer leans on, by the last layer alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luodi.core.batching import batches_by_length, item_size
from luodi.core.task import LABELS, Task
from luodi.core.types import Array, Floats, Item
from luodi.models.engine import TorchEngine, read_by, to_torch


def influences(engine: TorchEngine, task: Task[Any, Any], asked: Item, rows: Sequence[Item]) -> Floats | None:
    """By how much a step of training on each row would have raised the answer that `asked` carries as its label, and
    lowered it where negative: the product of the two gradients (TracIn, Pruthi et al. 2020, arXiv:2002.08484, of the
    last layer at the last checkpoint). In shares of the largest. None for networks without such a layer or whose answer
    is not one label."""
    found = _seen(engine, task, [asked, *rows])
    if found is None:
        return None
    states, logits = found
    labels = np.array([int(item[LABELS]) for item in (asked, *rows)])
    errors = torch.from_numpy(logits).softmax(-1).numpy()
    known = np.flatnonzero(labels >= 0)
    errors[known, labels[known]] -= 1.0
    errors[labels < 0] = 0.0
    told = (errors[1:] @ errors[0]) * (states[1:] @ states[0] + 1.0)
    return np.asarray(told / max(float(np.abs(told).max(initial=0.0)), 1e-12))


def shuffled(engine: TorchEngine, *, seed: int = 0) -> TorchEngine:
    """The same network with the values of each weight in another order: it computes something else. Reasons that stay
    as they were say nothing of the network (Adebayo et al. 2018, arXiv:1810.03292)."""
    model = deepcopy(engine.model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            flat = weight.flatten()
            weight.copy_(flat[torch.randperm(flat.numel(), generator=draw)].view_as(weight))
    return TorchEngine(model=model, device=engine.device)


def _seen(engine: TorchEngine, task: Task[Any, Any], items: Sequence[Item]) -> tuple[Array, Array] | None:
    """What the last layer reads of each item (n x width), and the logits (n x labels)."""
    head = getattr(getattr(engine.model, "deep", engine.model), "head", None)
    if not isinstance(head, nn.Linear):
        return None
    states: dict[int, Array] = {}
    logits: dict[int, Array] = {}
    read: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    try:
        for places in batches_by_length([item_size(item) for item in items]):
            batch = task.collate([{k: v for k, v in items[i].items() if k != LABELS} for i in places])
            with torch.inference_mode():
                made = engine.model.eval()(**to_torch(read_by(engine.model, batch), engine.device))["logits"]
            if made.dim() != 2 or made.shape[1] < 2 or any(items[i][LABELS].ndim for i in places):
                return None
            states.update(zip(places, read.pop().double().cpu().numpy(), strict=True))
            logits.update(zip(places, made.double().cpu().numpy(), strict=True))
    finally:
        handle.remove()
    return np.stack([states[i] for i in range(len(items))]), np.stack([logits[i] for i in range(len(items))])
