"""The gate and the choice: a collapsed model does not pass, whatever its speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.core.bundle import open_bundle
from luodi.core.contract import Contract, parse_contract
from luodi.core.measure import Measure
from luodi.core.task import Schema, load_task
from luodi.core.types import Dataset, Example, Prediction
from luodi.errors import ParityError
from luodi.stages.compress.choice import Row, choose, mark
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.gate import Judged, check_shapes, judge, too_slow
from luodi.stages.compress.timing import spread_by_length, time_all
from measured import row

SETTINGS = CompressSettings()
TASK = load_task("text_classification", Schema(labels=("a", "b")))


def examples(zh: int = 200, en: int = 200) -> list[Example[str, str]]:
    texts = ["中文评论"] * zh + ["english words"] * en
    return [Example(id=str(i), input=t, target="ab"[i % 2]) for i, t in enumerate(texts)]


def answers(targets: Sequence[Example[str, str]], wrong: Sequence[int] = ()) -> list[Prediction[str]]:
    flipped = set(wrong)
    values = [("b" if e.target == "a" else "a") if i in flipped else e.target for i, e in enumerate(targets)]
    return [Prediction(value=v, confidence=0.9, scores={v: 0.9}) for v in values]


def verdict(wrong: Sequence[int], settings: CompressSettings = SETTINGS) -> Judged:
    rows = examples()
    return judge(TASK, rows, answers(rows, wrong), answers(rows), TASK.metrics[0], settings)


def test_the_same_answers_pass() -> None:
    judged = verdict([])
    assert judged.refused == ""
    assert (judged.agreement, judged.difference.value) == (1.0, 0.0)


def test_a_loss_within_the_limit_passes_and_one_beyond_it_does_not() -> None:
    assert verdict(range(0, 400, 100)).refused == ""
    beyond = verdict(range(0, 400, 40))
    assert "loses 0.025 of accuracy" in beyond.refused
    assert beyond.difference.low < -0.025 < beyond.difference.high


def test_a_loss_in_one_language_is_seen_though_the_whole_hides_it() -> None:
    generous = replace(SETTINGS, max_loss=0.1)
    refused = verdict(range(200, 212), generous).refused
    assert "language.en" in refused


def test_one_wrong_answer_in_a_small_slice_is_chance() -> None:
    rows = examples(zh=370, en=30)
    judged = judge(TASK, rows, answers(rows, [399]), answers(rows), TASK.metrics[0], SETTINGS)
    assert judged.refused == ""


def test_other_answers_are_refused_even_where_as_many_are_right() -> None:
    rows = examples()
    ours, theirs = answers(rows, range(40)), answers(rows, range(40, 80))
    judged = judge(TASK, rows, ours, theirs, TASK.metrics[0], SETTINGS)
    assert judged.difference.value == 0
    assert "80.0%" in judged.refused


def test_not_a_number_is_refused() -> None:
    rows = examples()
    bad = [replace(p, scores={"a": math.nan}) if i == 7 else p for i, p in enumerate(answers(rows))]
    judged = judge(TASK, rows, bad, answers(rows), TASK.metrics[0], SETTINGS)
    assert "1 of its answers are not numbers" in judged.refused


@pytest.mark.parametrize("step", [0.5, 1e9])
def test_collapsed_weights_are_refused(tiny_bundle: Path, tiny_dataset: Dataset[str, str], step: float) -> None:
    """What a bad quantiser does: matrices rounded to a few values, or to one, and an engine that still answers."""
    import torch

    bundle = open_bundle(tiny_bundle, threads=1)
    inputs = [e.input for e in tiny_dataset.validation]
    trained = bundle.predict(inputs)
    with torch.no_grad():
        for weight in bundle.engine.model.parameters():  # type: ignore[attr-defined]
            if weight.ndim == 2:
                weight.copy_((weight / step).round() * step)
    collapsed = bundle.predict(inputs)
    judged = judge(bundle.task, tiny_dataset.validation, collapsed, trained, bundle.task.metrics[0], SETTINGS)
    assert judged.refused
    assert judged.agreement < 0.9


# --- choice ----------------------------------------------------------------------------------------------------------


def rows(*found: Row) -> dict[str, Row]:
    return {r.name: r for r in (row("trained", 40, 400), *found)}


def test_the_fastest_wins() -> None:
    assert choose(rows(row("small", 12, 30), row("fast", 8, 35)), Contract(), "accuracy") == "fast"


def test_of_two_about_as_fast_the_smaller_wins() -> None:
    assert choose(rows(row("small", 8.3, 30), row("fast", 8, 35)), Contract(), "accuracy") == "small"


def test_a_refused_one_never_wins() -> None:
    gone = row("fast", 1, 1, refused="It collapsed.")
    assert choose(rows(gone, row("slow", 30, 100)), Contract(), "accuracy") == "slow"
    assert choose(rows(gone), Contract(), "accuracy") == "trained"


def test_the_contract_comes_before_speed() -> None:
    contract = parse_contract({"size_mb": "<= 32", "p95_ms": "<= 30"}, [])
    assert choose(rows(row("small", 12, 30), row("fast", 8, 35)), contract, "accuracy") == "small"
    assert choose(rows(row("small", 20, 34), row("fast", 8, 35)), contract, "accuracy") == "fast"


def test_the_fastest_of_those_that_will_be_accepted_wins() -> None:
    """Chosen for being fast alone, it would be refused by the contract on the test set, and a slower one not."""
    contract = parse_contract({"accuracy": ">= 0.89", "p95_ms": "<= 30"}, ["accuracy"])

    def scored(found: Row, value: float) -> Row:
        return replace(found, judged=replace(found.judged, score=Measure.exact(value)))

    good, fast = scored(row("good", 12, 30), 0.895), scored(row("fast", 8, 35), 0.886)
    assert choose(rows(good, fast), contract, "accuracy") == "good"
    assert choose(rows(good, fast), contract, "macro_f1") == "fast"
    assert choose(rows(scored(good, 0.88), fast), contract, "accuracy") == "fast"
    assert choose(rows(replace(good, refused="no"), fast), contract, "accuracy") == "fast"
    slow = scored(row("slow", 20, 30), 0.9)
    assert choose(rows(slow, fast), contract, "accuracy") == "fast"  # the limit on time is kept first


def test_rounded_weights_must_still_give_numbers_at_every_shape(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle, threads=1)
    items = bundle.task.encode(["好吃", "太差 失望 退货"], bundle.processor)

    class Rounded:
        def __init__(self, spoilt: str = "") -> None:
            self.spoilt = spoilt

        def run(self, batch: Any) -> Any:
            found = {name: array + 0.3 for name, array in bundle.engine.run(batch).items()}
            is_long = batch["input_ids"].shape == (1, bundle.task.schema.max_length)
            if is_long and self.spoilt == "nan":
                return {name: array * np.nan for name, array in found.items()}
            if is_long and self.spoilt == "shape":
                return {name: np.repeat(array, 2, axis=0) for name, array in found.items()}
            return found

    made: Any = Rounded()
    assert check_shapes(bundle.engine, made, bundle.task, items, math.inf) > 0.1
    with pytest.raises(ParityError):
        check_shapes(bundle.engine, made, bundle.task, items)
    for spoilt in ("nan", "shape"):
        made = Rounded(spoilt)
        with pytest.raises(ParityError, match=f"1 x {bundle.task.schema.max_length}"):
            check_shapes(bundle.engine, made, bundle.task, items, math.inf)


def test_pareto_marks_what_nothing_beats() -> None:
    found = rows(row("a", 10, 30), row("b", 12, 20), row("beaten", 12, 30), row("gone", 1, 1, refused="no"))
    marked = mark(found, "a")
    assert [name for name, r in marked.items() if r.pareto] == ["a", "b"]
    assert [name for name, r in marked.items() if r.chosen] == ["a"]


def test_slower_than_the_trained_one_is_refused() -> None:
    assert too_slow(Measure.exact(1.5)) == ""
    assert too_slow(Measure.exact(0.97)) == ""
    assert "0.80" in too_slow(Measure.exact(0.8))


# --- timing ----------------------------------------------------------------------------------------------------------


def test_inputs_are_spread_from_shortest_to_longest() -> None:
    texts = ["x" * n for n in (5, 1, 9, 3, 7)]
    assert [len(t) for t in spread_by_length(texts, [len(t) for t in texts], 3)] == [1, 5, 9]
    assert len(spread_by_length(texts, [len(t) for t in texts], 50)) == 5


def test_times_are_taken_of_real_answers(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle, threads=1)
    timing = time_all({"trained": bundle, "same": bundle}, "trained", ["好吃", "太差 失望"] * 4, 2)
    assert timing["trained"].speedup.value == 1.0
    found = timing["same"]
    assert 0 < found.p50_ms.value <= found.p95_ms.value
    assert found.p50_ms.low <= found.p50_ms.value <= found.p50_ms.high
    assert found.speedup.value > 0
    assert np.isfinite(found.throughput_per_s.value)
