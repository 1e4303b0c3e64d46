"""A network of some of the layers of another one, less what is cut out of them: what a student begins as."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from luodi.core.batching import batches_by_length, item_size
from luodi.core.progress import progress
from luodi.core.task import Task
from luodi.core.types import Item
from luodi.messages import tr
from luodi.models.layers import stacks
from luodi.models.likeness import Read, deep, distance, read
from luodi.models.pruning import Kept, choose, cut, most_important, parts_of

COMPARED = 4096
"""How long, all together, the items are on which it is seen what a layer is worth."""


def layers_of(model: nn.Module) -> int:
    """Of the network that can be made lower; 0 where none can."""
    network = deep(model)
    found = list(stacks(network).values())
    return len(found[0]) if len(found) == 1 and isinstance(getattr(network, "head", None), nn.Linear) else 0


def keeps_most(layers: int, depth: int) -> bool:
    """Whether a student of so many of `depth` layers still knows most of what its teacher does."""
    return 2 * layers >= depth


def choose_layers(model: nn.Module, task: Task[Any, Any], items: Sequence[Item], count: int) -> tuple[int, ...]:
    """Places of those to keep. Where that is half of them or more: those without which, each left out alone, answers
    and states move farthest (Sajjad et al. 2023, arXiv:2004.03844, compare such choices; the top ones, which they leave
    out, are the dearest here). Of fewer: spread evenly, the top one among them, as most is then learned anew.

    8 of 12 layers chosen so lost 1.0 points on 1,500 rows after four minutes of learning, two of each three 2.3; for 4
    of 12 no choice by what was measured was seen to be better than the even one (benchmarks/README.md)."""
    network, depth = deep(model), layers_of(model)
    if count == depth or not keeps_most(count, depth):
        return tuple(int(i) for i in np.linspace(0, depth, count + 1).round().astype(int)[1:] - 1)
    batches = [task.collate([items[i] for i in which]) for which in _compared(items)]
    told, lost = [_answers(network, batch) for batch in batches], []
    for place in range(depth):
        without = student_of(network, [i for i in range(depth) if i != place])
        gaps = [distance(t, _answers(without, b), b.get("attention_mask")) for t, b in zip(told, batches, strict=True)]
        lost.append(np.average(gaps, weights=[len(t.logits) for t in told]))
        progress(tr("what matters"), place + 1, depth)
    return tuple(most_important(np.array(lost), count).tolist())


def student_of(model: nn.Module, places: Sequence[int], kept: Kept | None = None) -> nn.Module:
    """A copy with the layers at these places; of each only what is `kept`."""
    student = deepcopy(model)
    ((name, stack),) = stacks(deep(student)).items()
    owner: Any = deep(student).get_submodule(name.rpartition(".")[0])
    setattr(owner, name.rpartition(".")[2], nn.ModuleList(stack[i] for i in places))
    if kept is not None:
        cut(deep(student), kept.of_layers(places))
    return student


def can_be_cut(model: nn.Module) -> bool:
    """Whether it is known how to take heads and units out of its layers."""
    return parts_of(deep(model)) is not None


def choose_kept(model: nn.Module, task: Task[Any, Any], items: Sequence[Item], share: float) -> Kept:
    """What of the network's layers to keep; `items` have targets."""
    return choose(deep(model), task, items, share)


def _compared(items: Sequence[Item]) -> list[Any]:
    """Batches of so many of the items as make up what is compared."""
    sizes = [item_size(item) for item in items]
    count = max(1, int(np.searchsorted(np.cumsum(sizes), COMPARED)))
    return list(batches_by_length(sizes[:count]))


def _answers(model: nn.Module, batch: Any) -> Read:
    with torch.no_grad():
        return read(model.eval(), batch)
