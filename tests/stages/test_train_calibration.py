"""Temperature and threshold: found where they are known, left alone where they do not help."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from luodi.core.task import Schema
from luodi.core.types import Example, Floats, Prediction
from luodi.modalities.label import ACCURACY, MACRO_F1, answers_of, softmax
from luodi.stages.evaluate.tables import calibration
from luodi.stages.train.calibration import best_temperature, calibrate, log_loss
from luodi.tasks.text_classification import TextClassification

LABELS = ("a", "b", "c")


def drawn(count: int, labels: Sequence[str], too_sure: float, seed: int = 0) -> tuple[Floats, list[str]]:
    """Logits that are `too_sure` times as large as those that the truth was drawn by."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, (count, len(labels)))
    truth = [labels[int(rng.choice(len(labels), p=p))] for p in softmax(true)]
    return true * too_sure, truth


def examples_of(truth: Sequence[str]) -> list[Example[str, str]]:
    return [Example(id=str(i), input=str(i), target=t) for i, t in enumerate(truth)]


def ece(answers: Sequence[Prediction[str]], truth: Sequence[str]) -> float:
    right = [a.value == t for a, t in zip(answers, truth, strict=True)]
    return float(calibration([a.confidence or 0.0 for a in answers], right)["ece"])


@pytest.mark.parametrize("too_sure", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(too_sure: float) -> None:
    logits, truth = drawn(20_000, LABELS, too_sure)
    places = np.array([LABELS.index(t) for t in truth])
    assert best_temperature(logits, places) == pytest.approx(too_sure, rel=0.05)


def test_it_is_the_lowest_point_of_the_loss() -> None:
    logits, truth = drawn(500, LABELS, 2.0)
    places = np.array([LABELS.index(t) for t in truth])
    best = best_temperature(logits, places)
    tried = min(np.linspace(0.2, 8, 2000), key=lambda t: log_loss(logits / t, places))
    assert best == pytest.approx(tried, abs=0.01)


def test_confidences_are_made_true_and_no_answer_changes(both_languages: str) -> None:
    logits, truth = drawn(3000, LABELS, 3.0)
    task = TextClassification(Schema(labels=LABELS))
    before = answers_of(softmax(logits), LABELS, None)
    made = calibrate(task, examples_of(truth), before, ACCURACY)
    assert made.task.schema.temperature == pytest.approx(3.0, rel=0.15)
    assert made.task.schema.threshold is None
    assert [a.value for a in made.answers] == [a.value for a in before]
    new_logits, new_truth = drawn(3000, LABELS, 3.0, seed=1)
    old = ece(answers_of(softmax(new_logits), LABELS, None), new_truth)
    new = ece(made.task.decode({"logits": new_logits}, []), new_truth)  # type: ignore[attr-defined]
    assert old > 0.1
    assert new < 0.03
    (said,) = made.told
    assert said.startswith({"en": "Confidences are made true: temperature", "zh": "已校准置信度：温度"}[both_languages])


def test_what_is_true_already_is_left_alone() -> None:
    logits, truth = drawn(2000, LABELS, 1.0)
    made = calibrate(TextClassification(Schema(labels=LABELS)), examples_of(truth),
                     answers_of(softmax(logits), LABELS, None), ACCURACY)  # fmt: skip
    assert made.task.schema == Schema(labels=LABELS)
    assert made.told == ()


def test_few_rows_choose_nothing() -> None:
    logits, truth = drawn(49, LABELS, 5.0)
    made = calibrate(TextClassification(Schema(labels=LABELS)), examples_of(truth),
                     answers_of(softmax(logits), LABELS, None), ACCURACY)  # fmt: skip
    assert made.told == ()


def rare(count: int, seed: int) -> tuple[list[Prediction[str]], list[str]]:
    """One row of ten is a "yes", and looks so, but seldom by more than a half."""
    rng = np.random.default_rng(seed)
    is_yes = rng.random(count) < 0.1
    chance = np.clip(np.where(is_yes, rng.normal(0.42, 0.08, count), rng.normal(0.1, 0.07, count)), 0.01, 0.99)
    return answers_of(np.stack([1 - chance, chance], 1), ("no", "yes"), None), ["yes" if y else "no" for y in is_yes]


def test_a_threshold_is_taken_where_the_metric_gains_on_rows_that_did_not_choose_it() -> None:
    answers, truth = rare(1000, 0)
    made = calibrate(TextClassification(Schema(labels=("no", "yes"))), examples_of(truth), answers, MACRO_F1)
    threshold = made.task.schema.threshold
    assert threshold is not None
    assert MACRO_F1.value(truth, made.answers) > MACRO_F1.value(truth, answers) + 0.1
    other, other_truth = rare(1000, 1)
    logits = np.log(np.array([[a.scores["no"], a.scores["yes"]] for a in other]))
    later = made.task.decode({"logits": logits}, [])  # type: ignore[attr-defined]
    assert MACRO_F1.value(other_truth, later) > MACRO_F1.value(other_truth, other) + 0.1


def test_no_threshold_is_taken_out_of_noise() -> None:
    logits, truth = drawn(600, ("no", "yes"), 1.0)
    made = calibrate(TextClassification(Schema(labels=("no", "yes"))), examples_of(truth),
                     answers_of(softmax(logits), ("no", "yes"), None), MACRO_F1)  # fmt: skip
    assert made.task.schema.threshold is None
