"""Confidences that can be believed, and where the line between two answers lies: both from the validation rows.

One temperature for all logits (Guo et al. 2017, arXiv:1706.04599) changes no answer and makes confidences true. With
two answers a threshold may also be better than the larger probability, where the contract's metric is not accuracy.
Neither is taken for a gain that rows which did not choose it do not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luodi.core.measure import Metric, paired_p
from luodi.core.task import Task
from luodi.core.types import Array, Example, Floats, Prediction, X, Y
from luodi.messages import tr
from luodi.modalities.label import answers_of, softmax

FEWEST = 50
"""Validation rows below which nothing is chosen."""
FOLDS = 5
LEAST_GAIN = 0.01
"""Of the held-out loss: less is within what chance gives."""
COLDEST, HOTTEST = 0.1, 10.0
SURE_P = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    task: Task[Any, Any]
    answers: list[Prediction[Any]]
    told: tuple[str, ...] = ()


def calibrate(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], answers: list[Prediction[Y]], metric: Metric
) -> Calibrated:
    """`answers`: of the held-back `examples`, with the probability of each label. The task with what was chosen in its
    schema, and the answers as it gives them; both as they are where the task has no such probabilities."""
    labels = task.schema.labels
    number = {label: i for i, label in enumerate(labels)}
    kept = [i for i, e in enumerate(examples) if str(e.target) in number]
    if not task.output.is_choice or len(labels) < 2 or len(kept) < FEWEST or not all(answers[i].scores for i in kept):
        return Calibrated(task=task, answers=answers)
    logits = np.log(np.maximum([[a.scores[label] for label in labels] for a in answers], 1e-12))
    truth = np.array([number[str(examples[i].target)] for i in kept])
    folds = folds_of([e.group for e in examples])
    temperature, told = _temperature(logits[kept], truth, folds[kept])
    chances = softmax(logits / temperature)
    threshold, more = _threshold(examples, chances, labels, metric) if len(labels) == 2 else (None, [])
    if temperature == 1.0 and threshold is None:
        return Calibrated(task=task, answers=answers)
    schema = replace(task.schema, temperature=temperature, threshold=threshold)
    mine: list[Prediction[Any]] = [*answers_of(chances, labels, threshold)]
    return Calibrated(task=type(task)(schema, task.processor), answers=mine, told=(*told, *more))


def best_temperature(logits: Floats, truth: Array) -> float:
    """The one with the smallest mean log loss, which is convex in its inverse: found by cutting the range in thirds."""
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(60):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if log_loss(logits * a, truth) < log_loss(logits * b, truth):
            high = b
        else:
            low = a
    return 2 / (low + high)


def log_loss(logits: Floats, truth: Array) -> float:
    """Mean over the rows, in nats."""
    return float(-np.log(np.maximum(softmax(logits)[np.arange(len(truth)), truth], 1e-12)).mean())


def folds_of(groups: Sequence[str]) -> Array:
    """The fold of each row; a group lies in one fold."""
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([(number[group] if group else i) % FOLDS for i, group in enumerate(groups)])


def _temperature(logits: Floats, truth: Array, folds: Array) -> tuple[float, list[str]]:
    """1.0 where another one does not help rows that did not choose it."""
    before, after = log_loss(logits, truth), 0.0
    for k in sorted(set(folds.tolist())):
        held = folds == k
        if held.all():
            return 1.0, []
        chosen = best_temperature(logits[~held], truth[~held])
        after += log_loss(logits[held] / chosen, truth[held]) * held.sum() / len(truth)
    if not after < (1 - LEAST_GAIN) * before:
        return 1.0, []
    best = round(best_temperature(logits, truth), 4)
    sentence = tr("Confidences are made true: temperature {t:.2f}, log loss {after:.3f}, not {before:.3f}.")
    return best, [sentence.format(t=best, before=before, after=after)]


def _threshold(
    examples: Sequence[Example[X, Y]], chances: Floats, labels: Sequence[str], metric: Metric
) -> tuple[float | None, list[str]]:
    """For the second of two labels; None where half is as good."""
    groups, sure = [e.group for e in examples], chances[:, 1]
    folds, sums = folds_of(groups), _either(examples, labels, metric)
    is_second = np.zeros(len(sure), bool)
    for k in sorted(set(folds.tolist())):
        held = folds == k
        if held.all():
            return None, []
        is_second[held] = sure[held] >= _best_threshold(sums[:, ~held], sure[~held], metric)
    plain, ours = (_taken(sums, mask) for mask in (sure > 0.5, is_second))
    before, after = (float(metric.pool(s.sum(0))) for s in (plain, ours))
    gained = after - before if metric.higher_is_better else before - after
    if gained <= 0 or paired_p(metric, ours, plain, groups=groups) > SURE_P:
        return None, []
    best = _best_threshold(sums, sure, metric)
    sentence = tr(
        "{label} is answered from a probability of {threshold:.2f} on: {metric} {after:.4f}, not {before:.4f}, on rows "
        "that did not choose it."
    )
    told = sentence.format(label=labels[1], threshold=best, metric=metric.name, before=before, after=after)
    return best, [told]


def _either(examples: Sequence[Example[X, Y]], labels: Sequence[str], metric: Metric) -> Floats:
    """2 x n x k: the metric's sums where every row gets the first label, and where it gets the second. All that a
    threshold can choose from, so nothing is counted anew for each."""
    answers: list[Prediction[Any]] = [Prediction(value=label) for label in labels for _ in examples]
    sums = metric.sums([e.target for e in examples] * 2, answers)
    return sums.reshape(2, len(examples), -1)


def _taken(sums: Floats, is_second: Array) -> Floats:
    return np.asarray(np.where(is_second[:, None], sums[1], sums[0]))


def _best_threshold(sums: Floats, sure: Floats, metric: Metric) -> float:
    """Of hundredths from 0.05 to 0.95; of equals the one nearest to a half."""
    tried = np.array(sorted(np.arange(5, 96) / 100, key=lambda t: abs(t - 0.5)))
    above = (sure[None, :] >= tried[:, None]).astype(np.float64)
    scores = metric.pool(above @ (sums[1] - sums[0]) + sums[0].sum(0))
    return float(tried[np.argmax(scores if metric.higher_is_better else -scores)])
