"""A budget that is kept although the machine is not as fast as it was when the run was planned."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.stages.train import train as stage
from luodi.stages.train.checkpoints import LAST, read_records
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.plan import PLAN, Plan, Turn, place_of
from luodi.stages.train.schedules import rate_at
from tiny import make_dataset

TASK = load_task("text_classification")
BRIEF = Brief(
    task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny", budget="1m"
)
SETTINGS = TrainSettings(epochs=1, tokens_per_batch=128, max_length=24, wide=False)
DATA = make_dataset()
BUDGET_S = 4.0
PLANNED = Plan(
    steps=100, epochs=2, steps_per_epoch=50, evaluate_every=25, tokens_per_batch=64, seed=0, device="cpu",
    precision="float32", threads=1, learning_rate=1.0, head_factor=1.0, weight_decay=0.0, warmup_steps=10,
    seconds_per_step=0, parameters=1, trainable=1, patience=4, augment=True,
)  # fmt: skip


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "wsd"])
def test_a_turn_leaves_the_rate_where_it_is_and_lets_it_fall_as_far(schedule: str) -> None:
    turns = (Turn(after=40, before=100, steps=60), Turn(after=50, before=60, steps=90))
    turned = dataclasses.replace(PLANNED, schedule=schedule, steps=90, turns=turns)
    first = dataclasses.replace(PLANNED, schedule=schedule)
    assert [rate_at(turned, step) for step in range(1, 41)] == [rate_at(first, step) for step in range(1, 41)]
    assert place_of(turned, 50) == pytest.approx(70)  # half of what was left
    assert place_of(turned, 90) == pytest.approx(100)
    assert rate_at(turned, 90) == pytest.approx(rate_at(first, 100))
    rates = [rate_at(turned, step) for step in range(11, 91)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("steps", [60_000, 40], ids=["slower", "faster"])
def test_what_is_left_is_planned_anew(tmp_path: Path, steps: int) -> None:
    """The plan in the folder is that of a machine so much faster, or slower, than this one."""
    stage.estimate(TASK, DATA.train, DATA.validation, BRIEF, SETTINGS, tmp_path)
    plan = msgspec.json.decode((tmp_path / PLAN).read_bytes(), type=Plan)
    assert (plan.turns, plan.most_steps) == ((), plan.steps)
    assert plan.budget is not None
    assert 0 < plan.budget < 60
    wrong = dataclasses.replace(
        plan, steps=steps, most_steps=60_000, budget=BUDGET_S, evaluate_every=10_000, patience=100
    )
    (tmp_path / PLAN).write_bytes(msgspec.json.encode(wrong))
    made = stage.train(TASK, DATA.train, DATA.validation, BRIEF, SETTINGS, tmp_path)
    kept, records = msgspec.json.decode((tmp_path / PLAN).read_bytes(), type=Plan), read_records(tmp_path / LAST)
    assert kept.turns[0].before == steps
    assert kept.steps == records.step == made.details["plan"]["steps"]
    assert 0.5 * BUDGET_S < records.seconds < 2 * BUDGET_S  # other work may come between; benchmarks say how near
    assert records.curve[-1].lr < 0.1 * plan.learning_rate
    assert records.scores[-1].step == kept.steps
