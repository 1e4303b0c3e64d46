"""Where to begin: each need's size times how bad it is, whether it grows, what its people bring and how unmet it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.chance import LEVEL
from luodi.core.measure import Measure
from luodi.core.types import Array, Floats
from luodi.stages.understand.feelings import Feelings
from luodi.stages.understand.needs import Opportunity, Trend

DRAWS = 200
MOST = 4.0
"""Growth and value count at most so many times, and at least one over it: one rich customer is no market."""
FACTORS = ("size", "severity", "growth", "value", "unmet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    opportunity: Opportunity
    ranks: tuple[int, int]
    """From 1: between which ranks the need lay in 95 of 100 draws of other users."""


def rank_needs(
    labels: Array, count: int, weights: Floats, speakers: Array, feelings: Feelings,
    money: Floats | None, trends: Sequence[Trend | None],
) -> list[Ranked]:  # fmt: skip
    """Intervals by drawing users with replacement (Poisson bootstrap). `money`: n, 0 where not known."""
    sums = np.column_stack([np.ones(len(labels)), feelings.is_bad, feelings.pressing, feelings.is_good])
    sums = np.column_stack([sums, np.zeros(len(labels)) if money is None else money]) * weights[:, None]
    growth = np.array([_growth(trend) for trend in trends])
    rng = np.random.default_rng(4)
    drawn = np.stack(
        [_factors(_by_need(sums, labels, count, rng.poisson(1.0, speakers.max() + 1)[speakers]), growth, money)
         for _ in range(DRAWS)]
    )  # fmt: skip
    whole = _factors(_by_need(sums, labels, count, np.ones(len(labels))), growth, money)
    scores = drawn.prod(2)  # draws x needs
    lows, highs = np.quantile(scores, [0.025, 0.975], axis=0)
    places = (-scores).argsort(1, kind="stable").argsort(1, kind="stable") + 1
    best, worst = np.quantile(places, [0.025, 0.975], axis=0).round().astype(int)
    values = whole.prod(1)
    sizes = np.bincount(labels, weights, minlength=count)
    return [
        Ranked(
            opportunity=Opportunity(
                score=_measure(values[need], lows[need], highs[need], round(float(sizes[need]))),
                factors=_named(whole[need]),
            ),
            ranks=(int(best[need]), int(worst[need])),
        )
        for need in range(count)
    ]  # fmt: skip


def _measure(value: float, low: float, high: float, n: int) -> Measure:
    return Measure(value=float(value), low=float(min(low, value)), high=float(max(high, value)), n=n)


def _named(row: Floats) -> Mapping[str, float]:
    return dict(zip(FACTORS, map(float, row), strict=True))


def _by_need(sums: Floats, labels: Array, count: int, times: Floats) -> Floats:
    """k x columns."""
    return np.stack([np.bincount(labels, column * times, minlength=count) for column in sums.T], axis=1)


def _factors(sums: Floats, growth: Floats, money: Floats | None) -> Floats:
    """k x FACTORS: size in messages of a hundred, severity from 1 to 3, growth and value around 1, unmet up to 1."""
    total = np.maximum(sums[:, 0], 1e-9)
    size = 100 * sums[:, 0] / max(sums[:, 0].sum(), 1e-9)
    severity = 1 + (sums[:, 1] + sums[:, 2]) / total
    unmet = 1 - sums[:, 3] / total
    value = np.ones(len(sums))
    if money is not None and sums[:, 4].sum() > 0:
        mean = sums[:, 4].sum() / sums[:, 0].sum()
        value = np.clip(sums[:, 4] / total / mean, 1 / MOST, MOST)
    return np.column_stack([size, severity, growth, value, unmet])


def _growth(trend: Trend | None) -> float:
    if trend is None or trend.q > LEVEL:
        return 1.0
    return min(max(trend.ratio.value, 1 / MOST), MOST)
