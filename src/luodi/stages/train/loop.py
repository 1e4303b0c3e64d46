"""The training loop: a generator of steps that knows no disk, no screen and no task by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from luodi.core.batching import item_size
from luodi.core.progress import say
from luodi.core.task import IGNORED, LABELS, Task
from luodi.core.types import Example, Item
from luodi.errors import DataError, ResourceError
from luodi.messages import tr
from luodi.models.engine import to_torch
from luodi.stages.train.plan import Plan
from luodi.stages.train.schedules import rate_at
from luodi.stages.train.team import ALONE, Crowded, Team, adding, seed_step

MOST_NAMED = 40
"""Rows of a batch that a message names: those of 1,024 tokens, unless they are very short."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    number: int
    loss: float
    """Mean over the examples of the batch."""
    rate: float
    tokens: int
    """Real tokens, padding not counted."""
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What is learned from: examples and their numbers, place by place."""

    examples: Sequence[Example[Any, Any]]
    items: Sequence[Item]


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Wherever the network has any: as a layer of its own, or as a number that a layer hands on (attention in LLaMA and
    ViT, all of Marian)."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        for name, value in list(vars(module).items()):
            if name.endswith("dropout") and isinstance(value, (int, float)) and not isinstance(value, bool):
                setattr(module, name, share)


def training_steps(
    model: torch.nn.Module, task: Task[Any, Any], optimizer: torch.optim.Optimizer, material: Material,
    plan: Plan, batches: Iterable[tuple[int, list[list[int]]]], team: Team = ALONE,
) -> Iterator[Step]:  # fmt: skip
    """`batches`: (number of a step, what its gradient is the mean of). Of a team each member goes through all of them,
    and takes its share of each. Raises DataError with the examples that made the loss, or its gradient, no number."""
    model.train()
    room = float("inf")
    for number, together in batches:
        places = [place for batch in together for place in batch]
        began = time.perf_counter()
        rate = rate_at(plan, number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        seed_step(team, plan.seed, number)
        items = _items(task, material, plan, number, together)
        if team.size == 1:
            loss, room = _backward(model, task, plan, items, room)
        else:
            loss = _backward_together(model, task, plan, items, team)
        norm = torch.nn.utils.clip_grad_norm_(
            [p for p in model.parameters() if p.grad is not None], plan.clip or float("inf")
        )
        if not math.isfinite(loss) or not math.isfinite(_whole(norm)):  # a step would make every weight no number
            raise _not_a_number(number, loss, [material.examples[p].id for p in places])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = sum(item_size(material.items[p]) for p in places)
        yield Step(number=number, loss=loss, rate=rate, tokens=tokens, seconds=time.perf_counter() - began)


def _whole(norm: torch.Tensor) -> float:
    """Of all members, where each has a share of the weights."""
    gather = getattr(norm, "full_tensor", None)
    return float(gather() if gather else norm)


def _items(
    task: Task[Any, Any], material: Material, plan: Plan, number: int, together: Sequence[Sequence[int]]
) -> list[list[Item]]:
    """Of one step, changed a little where that is wanted: by seed and step alone, so that a resume sees the same."""
    batches = [[material.items[p] for p in places] for places in together]
    if not plan.augment:
        return batches
    rng = np.random.default_rng([plan.seed, number])
    return [[task.augment(item, rng) for item in items] for items in batches]


def _backward(
    model: torch.nn.Module, task: Task[Any, Any], plan: Plan, batches: Sequence[Sequence[Item]], room: float
) -> tuple[float, float]:
    """Mean loss over all batches, with its gradient; and `room`, the padded positions that are taken at once. Where
    memory does not suffice it is halved, which is said, and stays so for the steps to come."""
    while True:
        parts = [part for items in batches for part in _fitting(items, room)]
        try:
            losses = [
                _backward_part(model, task, plan, part, share=share)
                for part, share in zip(parts, _shares(task, parts), strict=True)
            ]
            return sum(losses), room
        except RuntimeError as error:
            if not _lacks_memory(error):
                raise
            if max(map(len, parts)) == 1:
                raise _not_even_one() from error
        model.zero_grad(set_to_none=True)  # a part may have left its gradient
        largest = max((part for part in parts if len(part) > 1), key=_positions)
        say(tr("Memory does not suffice for {n} examples at once: the batch is halved.").format(n=len(largest)))
        room = _positions(largest) / 2


def _positions(items: Sequence[Item]) -> int:
    """Of a batch, its padding counted."""
    return len(items) * max(map(item_size, items))


def _fitting(items: Sequence[Item], room: float) -> list[Sequence[Item]]:
    """In parts of equal length that fit; one item at the least."""
    if _positions(items) <= room:
        return [items]
    size = max(1, int(room // max(map(item_size, items))))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _backward_together(
    model: torch.nn.Module, task: Task[Any, Any], plan: Plan, batches: Sequence[Sequence[Item]], team: Team
) -> float:
    """Mean loss over all batches of all members, with its gradient. Every member goes through as many parts as the
    others, since they wait for each other: one that is left without examples takes one that does not count."""
    parts = team.shares(batches)
    filled = [part for part in parts if part]
    counts = iter(_shares(task, filled))
    shares = [next(counts) if part else 0.0 for part in parts]
    mine = range(team.rank, len(parts), team.size)
    loss = 0.0
    for place in mine:
        part = parts[place] or parts[place - team.rank][:1]  # of the first member, who always has one
        with adding(model, is_last=place == mine[-1]):
            try:
                # The gradients of the members are averaged, not added up.
                loss += _backward_part(model, task, plan, part, share=shares[place] * team.size) / team.size
            except RuntimeError as error:  # the others wait: halving here and now is not possible
                if not _lacks_memory(error):
                    raise
                raise (Crowded(len(part)) if len(part) > 1 else _not_even_one()) from error
    return team.summed([loss])[0]


def _shares(task: Task[Any, Any], parts: Sequence[Sequence[Item]]) -> list[float]:
    """How much the mean of each part counts, so that all together are the mean over every label that counts: of
    examples, of tokens."""
    if len(parts) == 1:
        return [1.0]
    labels = [task.collate(part).get(LABELS) for part in parts]
    counts = [len(p) if a is None else int((a != IGNORED).sum()) for p, a in zip(parts, labels, strict=True)]
    return [count / max(sum(counts), 1) for count in counts]


def _backward_part(
    model: torch.nn.Module, task: Task[Any, Any], plan: Plan, items: Sequence[Item], *, share: float
) -> float:
    batch = to_torch(task.collate(items), plan.device)
    with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bfloat16"):
        outputs = forward(model, batch)
        loss = task.loss(outputs, batch) * share
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def forward(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The network sees all but the answers."""
    outputs: Mapping[str, torch.Tensor] = model(**{k: v for k, v in batch.items() if k != LABELS})
    return outputs


def seconds_per_step(run: Callable[[], Iterator[Step]], count: int, most: float = float("inf")) -> float:
    """Mean of `count` real steps after two for warming up, or of as many as take `most` seconds."""
    times: list[float] = []
    for step in run():
        times.append(step.seconds)
        if len(times) == count + 2 or sum(times) > most:
            break
    return sum(times[2:]) / max(len(times) - 2, 1) if len(times) > 2 else sum(times) / len(times)


def _lacks_memory(error: RuntimeError) -> bool:
    """The processor's allocator has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _not_even_one() -> ResourceError:
    message = tr("Memory does not suffice for one example of this length.")
    return ResourceError(message, code="train.memory", hint=tr("Lower train.max_length."))


def _not_a_number(step: int, loss: float, ids: Sequence[str]) -> DataError:
    message = (
        tr("The gradient is not a number at step {step}; its batch holds {ids}.") if math.isfinite(loss)
        else tr("The loss is not a number at step {step}; its batch holds {ids}.")
    )  # fmt: skip
    hint = tr("Look at these rows, or lower train.learning_rate.")
    more = " ..." if len(ids) > MOST_NAMED else ""
    named = ", ".join(ids[:MOST_NAMED]) + more
    return DataError(message.format(step=step, ids=named), code="train.nan", hint=hint)
