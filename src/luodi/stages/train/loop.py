"""The training loop: a generator of steps that knows no disk, no screen and no task by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from luodi.core.progress import say
from luodi.core.task import LABELS, Task, item_size
from luodi.core.types import Example, Item
from luodi.errors import DataError, ResourceError
from luodi.messages import tr
from luodi.models.engine import to_torch
from luodi.stages.train.plan import Plan, rate_at

CLIP = 1.0  # largest norm of a step's gradient, as in BERT and nearly all that followed


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


def make_optimizer(model: torch.nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); biases and norms are not decayed, as in BERT; the head learns faster."""
    groups = []
    for is_head in (False, True):
        part = [p for n, p in model.named_parameters() if p.requires_grad and n.startswith("head.") is is_head]
        factor = plan.head_factor if is_head else 1.0
        groups += [
            {"params": [p for p in part if p.ndim > 1], "weight_decay": plan.weight_decay, "factor": factor},
            {"params": [p for p in part if p.ndim <= 1], "weight_decay": 0.0, "factor": factor},
        ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=plan.learning_rate, fused=True)


def set_dropout(model: torch.nn.Module, share: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share


def training_steps(
    model: torch.nn.Module, task: Task[Any, Any], optimizer: torch.optim.Optimizer, material: Material,
    plan: Plan, batches: Iterable[tuple[int, list[int]]],
) -> Iterator[Step]:  # fmt: skip
    """One optimiser step for each batch. Raises DataError with the batch that made the loss no number."""
    model.train()
    for number, places in batches:
        began = time.perf_counter()
        rate = rate_at(plan, number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        loss = _backward(model, task, plan, _items(task, material, plan, number, places))
        if not loss == loss or loss in (float("inf"), float("-inf")):
            raise _not_a_number(number, [material.examples[p].id for p in places])
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = sum(item_size(material.items[p]) for p in places)
        yield Step(number=number, loss=loss, rate=rate, tokens=tokens, seconds=time.perf_counter() - began)


def _items(
    task: Task[Any, Any], material: Material, plan: Plan, number: int, places: Sequence[int]
) -> Sequence[Item]:
    """Of one step, changed a little where that is wanted: by seed and step alone, so that a resume sees the same."""
    items = [material.items[p] for p in places]
    if not plan.augment:
        return items
    rng = np.random.default_rng([plan.seed, number])
    return [task.augment(item, rng) for item in items]


def _backward(
    model: torch.nn.Module, task: Task[Any, Any], plan: Plan, items: Sequence[Item]
) -> float:
    """Mean loss with its gradient. Where memory does not suffice the batch is halved, and that is said."""
    size = len(items)
    while True:
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        try:
            return sum(
                _backward_part(model, task, plan, part, share=len(part) / len(items)) for part in parts
            )
        except torch.OutOfMemoryError as error:
            if size == 1:
                message = tr("Memory does not suffice for one example of this length.")
                raise ResourceError(message, code="train.memory", hint=tr("Lower train.max_length.")) from error
        model.zero_grad(set_to_none=True)  # a part may have left its gradient
        say(tr("Memory does not suffice for {n} examples at once: the batch is halved.").format(n=size))
        size = (size + 1) // 2


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


def seconds_per_step(run: Callable[[], Iterator[Step]], count: int) -> float:
    """Mean of `count` real steps after two for warming up."""
    times = [step.seconds for step, _ in zip(run(), range(count + 2), strict=False)]
    return sum(times[2:]) / max(len(times) - 2, 1) if len(times) > 2 else sum(times) / len(times)


def _not_a_number(step: int, ids: Sequence[str]) -> DataError:
    message = tr("The loss is not a number at step {step}; its batch holds {ids}.")
    hint = tr("Look at these rows, or lower train.learning_rate.")
    return DataError(message.format(step=step, ids=", ".join(ids[:5])), code="train.nan", hint=hint)
