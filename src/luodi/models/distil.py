"""A network with fewer or narrower layers that learns to answer as the whole one does: logits and what the head reads
of both are brought together (Hinton et al. 2015, arXiv:1503.02531; Sanh et al. 2019, arXiv:1910.01108; Sun et al. 2019,
arXiv:1908.09355).

It begins as some of the layers of its teacher, less what is cut out of them. The table of tokens stays as it is:
most of a small network's weights lie there, and few rows of it come in the data. What stands beside the layers (the
wide part) is the teacher's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from luodi.core.batching import batches_by_length, item_size
from luodi.core.progress import progress
from luodi.core.store import write_atomically
from luodi.core.task import Task
from luodi.core.types import Batch, Item
from luodi.messages import tr
from luodi.models.layers import stacks
from luodi.models.likeness import Read, deep, distance, read
from luodi.models.student import keeps_most, layers_of

RATE, MIDDLE_RATE, GENTLE_RATE = 3e-4, 7e-5, 3e-5
"""Of a student of fewer than half of the layers, of half of them or more, and of all. The more it has kept of its
teacher, the more a high rate makes it forget: 7 of 12 layers, which lost 3.5 points before they had learned, lost 4.1
after nine minutes at 3e-4, and 1.1 after seven and a half at 7e-5 (benchmarks/README.md; both had been shown what they
were scored on)."""
WARM_UP = 0.05
"""Share of the time in which the rate rises."""
MOST_HELD = 1_000_000_000
"""Bytes of what the teacher said that are kept for the next time; the rest is asked anew."""
KEEP_EVERY_S = 60.0
"""What a student has learned is kept so often: a kill costs a minute."""
LARGEST_BATCH = 16
"""Items: small batches make many steps, and on a CPU they cost no more."""


def rate_of(layers: int, depth: int) -> float:
    """Of learning, for a student of so many of `depth` layers."""
    if layers >= depth:
        return GENTLE_RATE
    return MIDDLE_RATE if keeps_most(layers, depth) else RATE


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """How a student learns."""

    seconds: float
    rounds: int | None = None
    """Over all items; so long as there are seconds where not said."""
    keep: Path | None = None
    """What has been learned is kept in this file now and then; where it is there, the student goes on from it."""
    bfloat16: bool = False
    """Both networks are multiplied in it, as in training: in hardware that takes 0.65 of the time
    (benchmarks/README.md). Weights, what is compared, and steps stay float32."""


def teach(teacher: nn.Module, student: nn.Module, task: Task[Any, Any], items: Sequence[Item], how: Lessons) -> float:
    """On these items, over and over. Gives how often each was seen."""
    torch.manual_seed(0)
    old, new = deep(teacher).eval(), deep(student).train()
    learning = _unfrozen(new)
    rate = rate_of(layers_of(student), layers_of(teacher))
    optimiser = torch.optim.AdamW(learning, rate, weight_decay=0.01)
    batches = list(batches_by_length([item_size(i) for i in items], most=LARGEST_BATCH))
    known: dict[int, Read] = {}
    order = np.random.default_rng(0)
    before, seen = _go_on(student, how.keep)
    began, held = time.perf_counter() - before, 0
    saved = time.perf_counter()
    while True:
        for place in order.permutation(len(batches)):
            done = seen / (how.rounds * len(items)) if how.rounds else (time.perf_counter() - began) / how.seconds
            if done >= 1:
                progress(tr("distilling"), how.seconds, how.seconds)
                new.eval()
                return seen / len(items)
            if how.keep and time.perf_counter() - saved > KEEP_EVERY_S:
                saved = time.perf_counter()
                _save(student, how.keep, saved - began, seen)
            batch = task.collate([items[i] for i in batches[place]])
            wanted = known.get(place)
            if wanted is None:
                with torch.no_grad():
                    wanted = _read(old, batch, how)
                if held + wanted.size <= MOST_HELD:
                    known[place], held = wanted, held + wanted.size
            optimiser.param_groups[0]["lr"] = rate * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
            loss = distance(wanted, _read(new, batch, how), batch.get("attention_mask"))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            seen += len(batches[place])
            progress(tr("distilling"), min(done, 1.0) * how.seconds, how.seconds, f"loss {float(loss.detach()):.3f}")


def _read(model: nn.Module, batch: Batch, how: Lessons) -> Read:
    with torch.autocast("cpu", torch.bfloat16, enabled=how.bfloat16):
        return read(model, batch)


def _go_on(student: nn.Module, file: Path | None) -> tuple[float, int]:
    """Seconds that a student of this very shape has learned before, and rows it has seen; it gets the weights it had
    then. The optimiser begins anew: its means are those of the last hundreds of steps."""
    if file is None or not file.is_file():
        return 0.0, 0
    saved, shapes = load_file(file), {name: t.shape for name, t in student.state_dict().items()}
    if {name: t.shape for name, t in saved.items()} != shapes:
        return 0.0, 0
    student.load_state_dict(saved)
    with safe_open(file, "pt") as told:
        metadata = told.metadata()
    return float(metadata["seconds"]), int(metadata["seen"])


def _save(student: nn.Module, file: Path, seconds: float, seen: int) -> None:
    """Tied weights are written twice, as they are read."""
    state = {name: t.detach().clone().contiguous() for name, t in student.state_dict().items()}
    write_atomically(file, save(state, {"seconds": str(seconds), "seen": str(seen)}))


def _unfrozen(model: nn.Module) -> list[nn.Parameter]:
    """Layers and what comes after them learn; tables of tokens and places do not."""
    ((name, _),) = stacks(model).items()
    for own, weight in model.named_parameters():
        weight.requires_grad_(own.startswith((f"{name}.", "head.")))
    return [weight for weight in model.parameters() if weight.requires_grad]
