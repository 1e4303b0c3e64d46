"""What the page shows beside the score: confusion, classes, slices, calibration. Plain JSON types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.measure import Measure
from luodi.core.types import Array

NUM_BINS = 10
NUM_PAIRS = 12


def confusion_of(targets: Sequence[str], answers: Sequence[str], labels: Sequence[str]) -> Array:
    """Counts, rows = truth, columns = answers, in the order of `labels`."""
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, ([place[t] for t in targets], [place[a] for a in answers]), 1)
    return counts


def per_class(confusion: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class; None where there is nothing to divide by."""
    hits, truths, given = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return [
        {
            "label": label, "n": int(truths[i]),
            "precision": _ratio(hits[i], given[i]), "recall": _ratio(hits[i], truths[i]),
            "f1": _ratio(2 * hits[i], given[i] + truths[i]),
        }
        for i, label in enumerate(labels)
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


def _ratio(above: Any, below: Any) -> float | None:
    return float(above / below) if below else None
