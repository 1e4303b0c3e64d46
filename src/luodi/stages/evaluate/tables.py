"""What the page shows beside the score: confusion, classes, slices, calibration. Plain JSON types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.measure import Measure, with_interval
from luodi.core.types import Array
from luodi.modalities.label import ACCURACY

NUM_BINS = 10
NUM_PAIRS = 12
SHARES = (50, 60, 70, 80, 90, 95, 100)
"""Per cent of the answers that are given where a model may stay silent."""


def confusion_of(targets: Sequence[str], answers: Sequence[str], labels: Sequence[str]) -> Array:
    """Counts, rows = truth, columns = answers, in the order of `labels`."""
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, ([place[t] for t in targets], [place[a] for a in answers]), 1)
    return counts


def per_class(
    targets: Sequence[Sequence[tuple[str, Any]]], answers: Sequence[Sequence[tuple[str, Any]]], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, from what codecs count; None where there is nothing to divide by. Classes
    that `labels` does not name stand behind those that it does."""
    hits, truths, given = Counter[str](), Counter[str](), Counter[str]()
    for truth, answer in zip(targets, answers, strict=True):
        truths.update(label for label, _ in truth)
        given.update(label for label, _ in answer)
        hits.update(label for label, _ in (Counter(truth) & Counter(answer)).elements())
    return [
        {
            "label": label, "n": truths[label], "precision": _ratio(hits[label], given[label]),
            "recall": _ratio(hits[label], truths[label]), "f1": _ratio(2 * hits[label], given[label] + truths[label]),
        }
        for label in dict.fromkeys([*labels, *sorted({*truths, *given})])
    ]  # fmt: skip


def confused_pairs(confusion: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The commonest mistakes, most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:NUM_PAIRS]
    places = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [{"target": labels[t], "answer": labels[a], "n": int(wrong[t, a])} for t, a in places if wrong[t, a]]


def slice_rows(numbers: Mapping[str, Measure]) -> list[dict[str, Any]]:
    """The numbers called `slices.<family>.<name>` as rows."""
    rows = []
    for key, number in numbers.items():
        if key.startswith("slices."):
            _, family, name = key.split(".", 2)
            rows.append({"family": family, "name": name, **as_row(number)})
    return rows


def as_row(number: Measure) -> dict[str, Any]:
    return {"value": number.value, "low": number.low, "high": number.high, "n": number.n}


def calibration(confidences: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """Expected calibration error over bins of equal size (Nguyen and O'Connor 2015), and the bins.

    Equal sizes, because most confidences of a trained model lie near 1 and equal widths would leave bins empty.
    """
    order = np.argsort(confidences, kind="stable")
    told, hit = np.asarray(confidences, np.float64)[order], np.asarray(right, np.float64)[order]
    parts = [p for p in np.array_split(np.arange(len(told)), NUM_BINS) if len(p)]
    bins = [{"confidence": float(told[p].mean()), "right": float(hit[p].mean()), "n": len(p)} for p in parts]
    gaps = [abs(b["confidence"] - b["right"]) * b["n"] for b in bins]
    means = {"mean_confidence": float(told.mean()), "right": float(hit.mean())}
    return {"ece": sum(gaps) / len(told), **means, "bins": bins}


def abstention(
    confidences: Sequence[float], right: Sequence[bool], groups: Sequence[str] = ()
) -> list[dict[str, Any]]:  # fmt: skip
    """How many are right where only the surest share is answered (risk and coverage, El-Yaniv and Wiener 2010), and
    from which confidence on that is. The shares are fixed, so none was picked for its score."""
    order = np.argsort(-np.asarray(confidences), kind="stable")
    told, hit = np.asarray(confidences, np.float64)[order], np.asarray(right, np.float64)[order]
    rows = []
    for percent in SHARES:
        count = max(1, round(len(hit) * percent / 100))
        theirs = [groups[i] for i in order[:count]] if groups else ()
        number = with_interval(ACCURACY, np.stack([hit[:count], np.ones(count)], axis=1), groups=theirs)
        rows.append({"share": percent / 100, "confidence": float(told[count - 1]), **as_row(number)})
    return rows


def _ratio(above: Any, below: Any) -> float | None:
    return float(above / below) if below else None
