"""The plan of a run: measured once, stored before step 1, and kept by every resume.

A resumed run must not measure anew: another speed would mean another number of steps, another schedule and
another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luodi.stages.train.batches import epoch_batches

PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    steps: int
    epochs: float
    """Passes over the data that these steps make."""
    steps_per_epoch: int
    evaluate_every: int
    """Steps between two validation scores."""
    tokens_per_batch: int
    seed: int
    device: str
    precision: str
    threads: int
    learning_rate: float
    head_factor: float
    weight_decay: float
    warmup_steps: int
    seconds_per_step: float
    """As measured before step 1."""
    patience: int
    augment: bool
    parameters: int
    trainable: int
    optimizer: str = "adamw"
    schedule: str = "linear"
    layer_decay: float = 1.0
    accumulate: int = 1
    clip: float = 1.0
    ema: float = 0.0
    workers: int = 1
    """Processes that learn together; `threads` are those of each."""


def steps_in_budget(wanted: int, seconds_per_step: float, budget: float | None, overhead: float) -> int:
    """As many of the wanted steps as fit, one at the least. `overhead`: seconds for all that is not a step."""
    if budget is None or not seconds_per_step:
        return wanted
    return max(1, min(wanted, int((budget - overhead) / seconds_per_step)))


def steps_of_epoch(batches: int, accumulate: int) -> int:
    return -(-batches // accumulate)


def planned_batches(plan: Plan, sizes: Sequence[int], start: int) -> Iterator[tuple[int, list[list[int]]]]:
    """(step number from 1, its batches, each the places of its examples), from the step after `start`. The last step of
    an epoch may have fewer batches."""
    step, epoch = 0, 0
    while step < plan.steps:
        batches = epoch_batches(sizes, tokens=plan.tokens_per_batch, seed=plan.seed, epoch=epoch)
        for first in range(0, len(batches), plan.accumulate):
            step += 1
            if step > plan.steps:
                return
            if step > start:
                yield step, batches[first : first + plan.accumulate]
        epoch += 1
