"""One label out of a closed set, and the scores that the field uses for it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.measure import Metric
from luodi.core.modality import Codec
from luodi.core.task import IGNORED, LABELS
from luodi.core.types import Batch, Floats, Item, Prediction
from luodi.errors import DataError
from luodi.messages import tr

# What people call the column with the answer, the surest first.
_NAMES = (
    "label", "target", "标签", "class", "sentiment", "情感", "intent", "意图", "category", "类别", "分类", "topic",
    "主题", "rating", "评分", "score", "stars", "answer", "答案",
)  # fmt: skip
_MOST_LABELS, _LEAST_ROWS = 500, 5  # a label with fewer than 5 rows can hardly be learned


class Label(Codec[str]):
    is_choice = True

    def decode(self, wire: Any) -> str:
        if isinstance(wire, (dict, list)) or wire is None:
            raise DataError(tr("A label must be a word or a number."), code="data.label")
        if isinstance(wire, float) and wire.is_integer():
            wire = int(wire)  # tables with an empty cell turn 1 into 1.0
        return str(wire).strip()

    def encode(self, value: str) -> str:
        return value

    def counted(self, value: str) -> Sequence[tuple[str, Any]]:
        return [(value, value)]

    def schema(self) -> Mapping[str, Any]:
        return {"type": "string"}

    def fingerprint(self, value: str) -> str:
        return hashlib.sha256(value.casefold().encode()).hexdigest()

    def feature_names(self) -> tuple[str, ...]:
        return ("label",)

    def features(self, value: str) -> Floats:
        """A number that is the same for the same label everywhere (not Python's salted hash)."""
        return np.array([int(self.fingerprint(value)[:8], 16)], dtype=np.float64)


def count_labels(values: Sequence[Any]) -> int:
    """How many labels the column has; 0 where it is no column of labels."""
    told = [str(v).strip() for v in values if isinstance(v, (str, int, float)) and str(v).strip()]
    counts = Counter(told)
    usual = 2 <= len(counts) <= _MOST_LABELS and len(told) >= max(_LEAST_ROWS * len(counts), 0.5 * len(values))
    return len(counts) if usual else 0


def name_rank(name: str) -> int:
    """Place in the list of usual names; behind it where the name says nothing."""
    words = set(re.split(r"[\W_\d]+", name.casefold()))
    return next((i for i, known in enumerate(_NAMES) if known in words), len(_NAMES))


def is_usual_name(name: str) -> bool:
    return name_rank(name) < len(_NAMES)


def answers_of(probabilities: Floats, labels: Sequence[str], threshold: float | None) -> list[Prediction[str]]:
    """n x classes probabilities as answers. `threshold` is for the second of two labels."""
    best = probabilities.argmax(-1)
    if threshold is not None and len(labels) == 2:
        best = (probabilities[:, 1] >= threshold).astype(int)
    return [
        Prediction(value=labels[i], confidence=float(p[i]), scores=dict(zip(labels, map(float, p), strict=True)))
        for i, p in zip(best, probabilities, strict=True)
    ]


def with_labels(items: Sequence[Item], labels: Sequence[str], targets: Sequence[str] | None) -> list[Item]:
    """Items with the number of their target, where targets are given; one that training never showed is ignored."""
    if targets is None:
        return list(items)
    numbers = {label: np.array(i, np.int64) for i, label in enumerate(labels)}
    unknown = np.array(IGNORED, np.int64)
    return [{**item, LABELS: numbers.get(t, unknown)} for item, t in zip(items, targets, strict=True)]


def stacked_labels(items: Sequence[Item]) -> Batch:
    """{"labels": B} where the items have them."""
    return {LABELS: np.stack([item[LABELS] for item in items])} if items and LABELS in items[0] else {}


def softmax(logits: Floats) -> Floats:
    """Over the last axis, in double precision."""
    exp = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(exp / exp.sum(-1, keepdims=True))


def _right(targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    right = [t == p.value for t, p in zip(targets, predictions, strict=True)]
    return np.stack([np.asarray(right, np.float64), np.ones(len(right))], axis=1)


def _counts(targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    """For each class found in the targets or answers: hits, answers, truths. n x 3 * classes."""
    answers = [p.value for p in predictions]
    classes = sorted({*targets, *answers})
    truth = np.array([[t == c for c in classes] for t in targets], np.float64)
    given = np.array([[a == c for c in classes] for a in answers], np.float64)
    return np.concatenate([truth * given, given, truth], axis=1)


def _share(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def _by_class(sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Hits, answers, truths, and which classes have a truth at all (the others do not count)."""
    hits, given, truth = np.split(sums, 3, axis=-1)
    return hits, given, truth, (truth > 0).astype(np.float64)


def _mean_of_classes(values: Floats, present: Floats) -> Floats:
    return np.asarray((values * present).sum(-1) / np.maximum(present.sum(-1), 1))


def _macro_precision(sums: Floats) -> Floats:
    hits, given, _, present = _by_class(sums)
    return _mean_of_classes(hits / np.maximum(given, 1), present)


def _macro_recall(sums: Floats) -> Floats:
    hits, _, truth, present = _by_class(sums)
    return _mean_of_classes(hits / np.maximum(truth, 1), present)


def _macro_f1(sums: Floats) -> Floats:
    hits, given, truth, present = _by_class(sums)
    return _mean_of_classes(2 * hits / np.maximum(given + truth, 1), present)


def _micro_f1(sums: Floats) -> Floats:
    hits, given, truth, _ = _by_class(sums)
    return np.asarray(2 * hits.sum(-1) / np.maximum((given + truth).sum(-1), 1))


ACCURACY = Metric(name="accuracy", sums=_right, pool=_share)
MACRO_F1 = Metric(name="macro_f1", sums=_counts, pool=_macro_f1)
MICRO_F1 = Metric(name="micro_f1", sums=_counts, pool=_micro_f1)
MACRO_PRECISION = Metric(name="macro_precision", sums=_counts, pool=_macro_precision)
MACRO_RECALL = Metric(name="macro_recall", sums=_counts, pool=_macro_recall)
LABEL_METRICS = (ACCURACY, MACRO_F1, MICRO_F1, MACRO_PRECISION, MACRO_RECALL)
