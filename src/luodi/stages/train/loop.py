"""The training loop: a generator of steps that knows no disk, no screen and no task by name."""

from __future__ import annotations

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
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share


def training_steps(
    model: torch.nn.Module, task: Task[Any, Any], optimizer: torch.optim.Optimizer, material: Material,
    plan: Plan, batches: Iterable[tuple[int, list[list[int]]]], team: Team = ALONE,
) -> Iterator[Step]:  # fmt: skip
    """`batches`: (number of a step, what its gradient is the mean of). Of a team each member goes through all of them,
    and takes its share of each. Raises DataError with the examples that made the loss no number."""
    model.train()
    for number, together in batches:
        places = [place for batch in together for place in batch]
        began = time.perf_counter()
        rate = rate_at(plan, number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        seed_step(team, plan.seed, number)
        items = _items(task, material, plan, number, together)
        if team.size == 1:
            loss = _backward(model, task, plan, items)
        else:
            loss = _backward_together(model, task, plan, items, team)
        if not loss == loss or loss in (float("inf"), float("-inf")):
            raise _not_a_number(number, [material.examples[p].id for p in places])
        if plan.clip:
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = sum(item_size(material.items[p]) for p in places)
        yield Step(number=number, loss=loss, rate=rate, tokens=tokens, seconds=time.perf_counter() - began)


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
    model: torch.nn.Module, task: Task[Any, Any], plan: Plan, batches: Sequence[Sequence[Item]]
) -> float:
    """Mean loss over all batches, with its gradient. Where memory does not suffice batches are halved, and that is
    said."""
    size = max(map(len, batches))
    while True:
        parts = [items[start : start + size] for items in batches for start in range(0, len(items), size)]
        try:
            return sum(
                _backward_part(model, task, plan, part, share=share)
                for part, share in zip(parts, _shares(task, parts), strict=True)
            )
        except RuntimeError as error:
            if not _lacks_memory(error):
                raise
            if size == 1:
                raise _not_even_one() from error
        model.zero_grad(set_to_none=True)  # a part may have left its gradient
        say(tr("Memory does not suffice for {n} examples at once: the batch is halved.").format(n=size))
        size = (size + 1) // 2


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


def _not_a_number(step: int, ids: Sequence[str]) -> DataError:
    message = tr("The loss is not a number at step {step}; its batch holds {ids}.")
    hint = tr("Look at these rows, or lower train.learning_rate.")
    return DataError(message.format(step=step, ids=", ".join(ids[:5])), code="train.nan", hint=hint)
