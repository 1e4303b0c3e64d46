"""A budget that is kept although the machine is not as fast as it was when the run was planned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.stages.train import train as stage
from luodi.stages.train.checkpoints import LAST, read_records
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.loop import Step, seconds_per_step
from luodi.stages.train.plan import PLAN, Plan, Turn, place_of
from luodi.stages.train.rows import LEAST_SCORED, ROWS, Work, draw_rows
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


def test_an_epoch_fits_the_budget(tmp_path: Path) -> None:
    """A row takes 1 s, half of it for what is frozen, and then 3.5 times the other half; validation rows 2 scores."""
    work, counts = Work(frozen_share=0.5, scores=2), (10_000, 2_000)
    assert work.seconds(*counts, 1.0) == 10_000 * 2.25 + 2_000 * 1.5

    def drawn(seconds: float | None, name: str, forward: float = 1.0) -> tuple[list[int], list[int]]:
        (tmp_path / name).mkdir(exist_ok=True)
        return draw_rows(tmp_path / name, counts, work, lambda: forward, seconds, seed=3)

    assert drawn(None, "none") == drawn(40_000, "enough") == (list(range(10_000)), list(range(2_000)))
    half = drawn(25_500 / 1.5 / 2, "half")
    assert [len(set(places)) for places in half] == [5_000, 1_000]
    assert half == drawn(1, "half", forward=99)  # of a resume, whose machine is another
    assert [len(places) for places in drawn(0, "nothing")] == [1, LEAST_SCORED]


def test_rows_that_do_not_fit_are_left_out_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both_languages: str
) -> None:
    """Were an epoch to take no more than a part in 50 of a second."""
    monkeypatch.setattr("luodi.stages.train.rows.EPOCH_SHARE", 0.02)
    monkeypatch.setattr("luodi.stages.train.rows.LEAST_SCORED", 10)
    brief = dataclasses.replace(BRIEF, budget="1s")
    made = stage.train(TASK, DATA.train, DATA.validation, brief, SETTINGS, tmp_path)
    train, validation = msgspec.json.decode((tmp_path / ROWS).read_bytes())
    assert 1 <= train < len(DATA.train)
    assert 10 <= validation < len(DATA.validation)
    assert f"{train} " in made.findings[0] and f" {len(DATA.train)} " in made.findings[0]  # noqa: PT018
    assert made.numbers["validation_accuracy"].n == validation


def test_measuring_ends_with_its_share_of_the_time() -> None:
    def steps() -> Iterator[Step]:
        yield from (Step(number=n, loss=0.0, rate=0.0, tokens=1, seconds=float(n)) for n in range(1, 100))

    assert seconds_per_step(steps, 3) == (3 + 4 + 5) / 3
    assert seconds_per_step(steps, 8, most=5.5) == 3
    assert seconds_per_step(steps, 8, most=0.5) == 1
