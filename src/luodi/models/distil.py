"""A network with fewer layers that learns to answer as the whole one does: logits and what the head reads of both are
brought together (Hinton et al. 2015, arXiv:1503.02531; Sanh et al. 2019, arXiv:1910.01108; Sun et al. 2019,
arXiv:1908.09355).

It begins as every so-manieth layer of its teacher. The table of tokens stays as it is: most of a small network's
weights lie there, and few rows of it come in the data. What stands beside the layers (the wide part) is the teacher's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from luodi.core.batching import batches_by_length, item_size
from luodi.core.progress import progress
from luodi.core.task import Task
from luodi.core.types import Item
from luodi.messages import tr
from luodi.models.engine import read_by, to_torch
from luodi.models.layers import stacks

TEMPERATURE = 2.0
RATE = 3e-4
WARM_UP = 0.05
"""Share of the time in which the rate rises."""
LARGEST_BATCH = 16
"""Items: small batches make many steps, and on a CPU they cost no more."""


def layers_of(model: nn.Module) -> int:
    """Of the network that can be made lower; 0 where none can."""
    deep = _deep(model)
    found = list(stacks(deep).values())
    return len(found[0]) if len(found) == 1 and isinstance(getattr(deep, "head", None), nn.Linear) else 0


def student_of(model: nn.Module, layers: int) -> nn.Module:
    """A copy with `layers` of the layers, spread evenly, the top one among them."""
    student = deepcopy(model)
    ((name, stack),) = stacks(_deep(student)).items()
    places = np.linspace(0, len(stack), layers + 1).round().astype(int)[1:] - 1
    owner: Any = _deep(student).get_submodule(name.rpartition(".")[0])
    setattr(owner, name.rpartition(".")[2], nn.ModuleList(stack[int(i)] for i in places))
    return student


def teach(
    teacher: nn.Module, student: nn.Module, task: Task[Any, Any], items: Sequence[Item], seconds: float,
    rounds: int | None = None,
) -> float:  # fmt: skip
    """So long on these items, over and over where there is time; or, where said, so many `rounds` over all of them.
    Gives how often each was seen."""
    torch.manual_seed(0)
    old, new = _deep(teacher).eval(), _deep(student).train()
    learning = _unfrozen(new)
    optimiser = torch.optim.AdamW(learning, RATE, weight_decay=0.01)
    batches = list(batches_by_length([item_size(i) for i in items], most=LARGEST_BATCH))
    known: dict[int, tuple[Tensor, Tensor]] = {}
    order = np.random.default_rng(0)
    began, seen = time.perf_counter(), 0
    while True:
        for place in order.permutation(len(batches)):
            done = seen / (rounds * len(items)) if rounds else (time.perf_counter() - began) / seconds
            if done >= 1:
                new.eval()
                return seen / len(items)
            batch = task.collate([items[i] for i in batches[place]])
            if place not in known:
                with torch.no_grad():
                    known[place] = _read(old, batch)
            optimiser.param_groups[0]["lr"] = RATE * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
            loss = _distance(*known[place], *_read(new, batch), batch.get("attention_mask"))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            seen += len(batches[place])
            progress(tr("distilling"), min(done, 1.0) * seconds, seconds, f"loss {float(loss.detach()):.3f}")


def _deep(model: nn.Module) -> Any:
    return getattr(model, "deep", model)


def _unfrozen(model: nn.Module) -> list[nn.Parameter]:
    """Layers and what comes after them learn; tables of tokens and places do not."""
    ((name, _),) = stacks(model).items()
    for own, weight in model.named_parameters():
        weight.requires_grad_(own.startswith((f"{name}.", "head.")))
    return [weight for weight in model.parameters() if weight.requires_grad]


def _read(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Logits, and what the head reads."""
    read: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    try:
        logits: Tensor = model(**to_torch(read_by(model, batch)))["logits"]
    finally:
        handle.remove()
    return logits, read[0]


def _distance(logits: Tensor, states: Tensor, ours: Tensor, our_states: Tensor, mask: Any) -> Tensor:
    """Of answers, and of states in shares of their spread. Padding is left out where each position has an answer."""
    if logits.dim() == 3 and mask is not None:
        real = torch.from_numpy(np.ascontiguousarray(mask)).bool()
        logits, states, ours, our_states = logits[real], states[real], ours[real], our_states[real]
    spread = states.var().clamp(min=1e-6)
    near = functional.mse_loss(our_states, states) / spread
    if logits.shape[-1] == 1:  # a number
        return functional.mse_loss(ours, logits) + near
    told = functional.kl_div(
        functional.log_softmax(ours / TEMPERATURE, -1), functional.log_softmax(logits / TEMPERATURE, -1),
        log_target=True, reduction="batchmean",
    )  # fmt: skip
    return TEMPERATURE**2 * told + near
