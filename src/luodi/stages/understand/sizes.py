"""How large needs are, with intervals; put right by what people found in the rows that they checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np

from luodi.core.chance import Z, shares_by_group
from luodi.core.measure import Measure
from luodi.core.types import Array, Floats

NONE = -1
"""What was checked fits no need."""
_ADDED = 0.5
"""Of a wrong row each way that is thought added to the checked ones: where none of 150 was wrong, some of a thousand
are."""


def shares(labels: Array, count: int, weights: Floats, speakers: Array) -> list[Measure]:
    """Of all messages, as they were divided; the interval knows that one user's messages are no independent cases."""
    hits = np.zeros((len(labels), count))
    hits[np.arange(len(labels)), labels] = 1.0
    return shares_by_group(hits, weights, speakers)


def corrected(labels: Array, count: int, weights: Floats, checked: Mapping[int, int]) -> list[Measure]:
    """`checked`: place of a message, drawn by chance, to the need that a person put it into (NONE: no need).

    Prediction-powered inference with power tuning (Angelopoulos et al. 2023, arXiv:2301.09633 and arXiv:2311.01453):
    what was found of all messages, plus how far that was off on those that were checked.
    """
    places = np.array(list(checked))
    truth = np.array(list(checked.values()))
    return [_one(labels == need, weights, places, truth == need) for need in range(count)]


def _one(found: Array, weights: Floats, places: Array, truth: Array) -> Measure:
    n, whole = len(places), float(weights.sum())
    share = float(weights[found].sum()) / whole
    f, y = found[places].astype(np.float64), truth.astype(np.float64)
    spread = share * (1 - share)
    both = float(((y - y.mean()) * (f - f.mean())).mean())
    tuned = min(1.0, max(0.0, both / ((1 + n / whole) * spread))) if spread > 0 else 0.0
    value = float(y.mean()) + tuned * (share - float(f.mean()))
    rest = y - tuned * f
    variance = (float(((rest - rest.mean()) ** 2).sum()) + 2 * _ADDED * (1 - share)) / (n * (n - 1))
    half = Z * sqrt(variance + tuned**2 * spread / whole)
    return Measure(value=max(value, 0.0), low=max(0.0, value - half), high=min(1.0, value + half), n=n)


def coverage(truths: Sequence[float], told: Sequence[Measure]) -> float:
    """The share of true sizes that lie in their intervals."""
    return float(np.mean([m.low <= truth <= m.high for truth, m in zip(truths, told, strict=True)]))
