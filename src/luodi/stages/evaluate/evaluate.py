"""A verdict, not a number: scores with intervals, held against the contract and against something simple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle
from luodi.core.contract import Contract, Judgement, verdict_of
from luodi.core.measure import Measure, Metric, with_interval
from luodi.core.report import Verdict
from luodi.core.scoring import against, deciding_metric, score
from luodi.core.task import Task
from luodi.core.types import Dataset, Example, Prediction, X, Y
from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.evaluate import advice, tables
from luodi.stages.evaluate.baselines import Answers, answer_simply, learning_curve
from luodi.stages.evaluate.config import EvaluateSettings
from luodi.stages.evaluate.findings import Beaten, chance_z, find, say_limits
from luodi.stages.evaluate.found import groups_of, traits_of, worst_parts
from luodi.stages.evaluate.mistakes import (
    ERRORS,
    PREDICTIONS,
    mistakes_of,
    with_company,
    with_thumbnails,
    write_mistakes,
    write_predictions,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorecard:
    """What `evaluate` found; a Report is made of it."""

    judgements: tuple[Judgement, ...]
    numbers: Mapping[str, Measure]
    findings: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.judgements)

    @property
    def contract(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(j.as_row() for j in self.judgements)


def evaluate(
    bundle: Bundle[X, Y], dataset: Dataset[X, Y], contract: Contract, settings: EvaluateSettings, folder: Path,
    openings: int = 1, *, seed: int = 0,
) -> Scorecard:  # fmt: skip
    """Judged on the test set. Leaves baselines.json, predictions.jsonl and errors.csv in `folder`.

    `openings` says how often the test set has been looked at, this time included.
    """
    task, test = bundle.task, dataset.test
    if not test:
        raise DataError(tr("The test set is empty: there is nothing to evaluate on."), code="data.empty_test")
    metric = deciding_metric(task, [limit.name for limit in contract.quality])
    answers = bundle.examine(test, task.metrics, tr("answering the test set"))
    simple = answer_simply(task, dataset, folder, seed=seed)
    beaten = hold_against(task, test, answers, simple["test"], metric)
    numbers = {**score(task, test, answers, metric), **_baseline_numbers(beaten)}
    judgements = contract.judge("evaluate", numbers)
    traits = traits_of(task, test)
    is_wrong = [not task.is_same(e.target, a.value) for e, a in zip(test, answers, strict=True)]
    parts, looked = worst_parts(traits, is_wrong, [e.group for e in test])
    mistakes = with_company(task, test, mistakes_of(task, test, answers, metric), dataset.train,
                            groups_of(traits, is_wrong))  # fmt: skip
    write_predictions(folder / PREDICTIONS, task, test, answers)
    write_mistakes(folder / ERRORS, mistakes)
    details: dict[str, Any] = {
        "metric": metric.name, "openings": openings, "baselines": [b.as_row() for b in beaten],
        "slices": tables.slice_rows(numbers), "wrong": len(mistakes),
        "parts": parts, "parts_looked_at": looked,
        "errors": with_thumbnails(task, test, mistakes[: settings.errors]),
        "curve": _curve(task, dataset, simple["validation"], metric, seed), **_tables(task, test, answers),
    }  # fmt: skip
    details["beyond_contract"] = find(metric, numbers, beaten, details)
    findings = [*say_limits(judgements), *details["beyond_contract"]]
    details["advice"] = advice.give(metric, numbers, contract, judgements, beaten, details)
    return Scorecard(judgements=judgements, numbers=numbers, findings=tuple(findings), details=details)


def hold_against(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], answers: Sequence[Prediction[Y]], simple: Answers,
    metric: Metric,
) -> list[Beaten]:  # fmt: skip
    """Each baseline with its own score, our distance from it and the paired p; the strongest first."""
    targets, groups = [e.target for e in examples], [e.group for e in examples]
    gaps = against(examples, answers, simple, metric)
    found = [
        Beaten(
            name=name, score=with_interval(metric, metric.sums(targets, theirs), groups=groups),
            gap=gaps[name][0], p=gaps[name][1],
            above_chance=chance_z(targets, [a.value for a in theirs]) if task.output.is_choice else 0.0,
        )
        for name, theirs in simple.items()
    ]
    return sorted(found, key=lambda b: b.gap.value)


def _baseline_numbers(beaten: Sequence[Beaten]) -> dict[str, Measure]:
    scores = {f"baseline.{b.name}": b.score for b in beaten}
    return {**scores, **{f"beats_baseline.{b.name}": b.gap for b in beaten}}


def _curve(task: Task[X, Y], dataset: Dataset[X, Y], simple: Answers, metric: Metric, seed: int) -> list[list[float]]:
    """Of the last baseline: a task names the plainest first, and majority learns nothing from more rows."""
    name, answers = list(simple.items())[-1]
    return [list(point) for point in learning_curve(task, dataset, name, answers, metric, seed=seed)]


def _tables(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], answers: Sequence[Prediction[Y]]
) -> dict[str, Any]:
    """Classes, where answers have parts that count; confusion and calibration, where each is one label."""
    truths = [parts for e in examples if (parts := task.output.counted(e.target)) is not None]
    found = [parts for a in answers if (parts := task.output.counted(a.value)) is not None]
    if len(truths) < len(examples):
        return {}
    classes = {"per_class": tables.per_class(truths, found, task.schema.labels)}
    if not task.output.is_choice:
        return classes
    targets, given = [str(e.target) for e in examples], [str(a.value) for a in answers]
    labels = sorted({*task.schema.labels, *targets, *given})
    confusion = tables.confusion_of(targets, given, labels)
    told: dict[str, Any] = {
        "labels": labels, "confusion": confusion.tolist(), **classes,
        "confused": tables.confused_pairs(confusion, labels),
    }  # fmt: skip
    sure = [a.confidence for a in answers if a.confidence is not None]
    if len(sure) == len(answers):
        right = [t == g for t, g in zip(targets, given, strict=True)]
        told["calibration"] = tables.calibration(sure, right)
        told["abstention"] = tables.abstention(sure, right, [e.group for e in examples])
    return told
