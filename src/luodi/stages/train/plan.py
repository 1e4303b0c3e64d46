"""The plan of a run: measured and stored before step 1, and kept by every resume.

A resumed run must not measure anew: another speed would mean another number of steps, another schedule and
another model. Where a budget is given and the machine turns out to be faster or slower than it was, what is left is
planned anew, and that is stored as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luodi.stages.train.batches import epoch_batches

PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """After the step `after` the run got another number of steps."""

    after: int
    before: int
    """Steps of the plan up to then."""
    steps: int
    """Steps from then on."""


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
    budget: float | None = None
    """Seconds for all steps and scores."""
    most_steps: int = 0
    """However fast the machine is."""
    turns: tuple[Turn, ...] = ()


def place_of(plan: Plan, step: int) -> float:
    """Where on the schedule a step stands, in steps of the first plan: what was left of the schedule at a turn is
    spread over the steps that were left then."""
    schedule = plan.turns[0].before if plan.turns else plan.steps
    at, place, steps = 0, 0.0, schedule
    for turn in plan.turns:
        if step <= turn.after:
            break
        place += (turn.after - at) * ((schedule - place) / (steps - at))
        at, steps = turn.after, turn.steps
    return place + (step - at) * ((schedule - place) / (steps - at))


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
