"""Numbers that can be believed: each with its n and its interval; tests between paired answers.

A metric is a row of sums for each example and a rule that pools summed rows into the number. So one
matrix product bootstraps any metric, macro F1 and BLEU included, without going back to the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luodi.core.types import Floats, Prediction

DRAWS = 2000
FEWEST_GROUPS = 10
"""Of fewer, a bootstrap over groups draws nearly the same ones every time and knows nothing of others."""
_STRETCH = (12.7, 12.7, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Student's t at 97.5 % with as many degrees of freedom as groups but one; of one group the widest that there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One measured number. `low` and `high` bound the 95 % interval; equal to `value` for exact counts."""

    value: float
    low: float
    high: float
    n: int
    unit: str = ""

    @staticmethod
    def exact(value: float, *, n: int = 1, unit: str = "") -> Measure:
        return Measure(value=value, low=value, high=value, n=n, unit=unit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A score with its direction and its way of pooling."""

    name: str
    sums: Callable[[Sequence[Any], Sequence[Prediction[Any]]], Floats]
    """(targets, predictions) -> array of n rows and k columns that add up over examples."""
    pool: Callable[[Floats], Floats]
    """(..., k) summed rows -> (...) scores."""
    higher_is_better: bool = True
    unit: str = ""
    alone: Callable[[Floats], Floats] | None = None
    """n x k sums -> n, higher for better examples, where the score says something of many examples together and nothing
    of one. Such scores of a part do not compare with that of the whole."""
    is_scaled: bool = False
    """Whether it grows with the unit of the data, so that what may be lost of it is a share of itself."""

    def each(self, sums: Floats) -> Floats:
        """n x k sums -> n: how good each example's answer is, higher for better."""
        if self.alone is not None:
            return self.alone(sums)
        return np.asarray(self.pool(sums)) * (1 if self.higher_is_better else -1)

    def value(self, targets: Sequence[Any], predictions: Sequence[Prediction[Any]]) -> float:
        return float(self.pool(self.sums(targets, predictions).sum(0)))


def resample_weights(n: int, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Bootstrap counts, draws x n: how often each example was drawn (Efron 1979)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def with_interval(metric: Metric, sums: Floats, *, groups: Sequence[str] = (), seed: int = 0) -> Measure:
    """Percentile bootstrap over examples; over whole groups, where examples of one group (one user, one document) are
    alike. Raises ValueError without examples."""
    if not len(sums):
        raise ValueError("no examples to measure on")
    count, rows, sums = len(sums), sums, by_group(sums, groups)
    value = float(metric.pool(sums.sum(0)))
    low, high = _bounds(metric.pool, rows, sums, value, seed)
    if not metric.unit and 0 <= value <= 1:
        low, high = max(low, 0.0), min(high, 1.0)
    if low == high and value in (0.0, 1.0) and not metric.unit:
        # All right, or all wrong: no resample differs, yet n rows cannot prove a certainty. The exact binomial bound
        # (Clopper & Pearson 1934): the share at which so many in a row would still happen once in forty times.
        bound = 0.025 ** (1 / len(sums))
        low, high = (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
    return Measure(value=value, low=low, high=high, n=count, unit=metric.unit)


def by_group(sums: Floats, groups: Sequence[str]) -> Floats:
    """One row for each group, added up; an example of no group ("") is one by itself."""
    if not any(groups):
        return sums
    places: dict[str, int] = {}
    own = [places.setdefault(group or f"\0{i}", len(places)) for i, group in enumerate(groups)]
    found = np.zeros((len(places), sums.shape[1]))
    np.add.at(found, own, sums)
    return found


def difference(
    metric: Metric, ours: Floats, theirs: Floats, *, groups: Sequence[str] = (), seed: int = 0
) -> Measure:
    """Ours minus theirs on the same examples, each draw taking the same examples of both (paired)."""
    both, k = np.concatenate([ours, theirs], axis=1), ours.shape[1]

    def gap(drawn: Floats) -> Floats:
        return np.asarray(metric.pool(drawn[..., :k]) - metric.pool(drawn[..., k:]))

    value = float(gap(both.sum(0)))
    low, high = _bounds(gap, both, by_group(both, groups), value, seed)
    return Measure(value=value, low=low, high=high, n=len(ours), unit=metric.unit)


def paired_p(
    metric: Metric, ours: Floats, theirs: Floats, *, groups: Sequence[str] = (), seed: int = 0
) -> float:
    """Two-sided bootstrap p that ours and theirs are equal, for metrics that McNemar does not fit; 1 where there
    are too few groups to tell."""
    sums = by_group(np.concatenate([ours, theirs], axis=1), groups)
    if any(groups) and len(sums) < FEWEST_GROUPS:
        return 1.0
    drawn = _resampled(sums, seed)
    k = ours.shape[1]
    spread = metric.pool(drawn[:, :k]) - metric.pool(drawn[:, k:])
    tail = min(float((spread <= 0).mean()), float((spread >= 0).mean()))
    return min(1.0, 2 * max(tail, 1 / len(spread)))


def firsts(groups: Sequence[str]) -> list[int]:
    """Places of the first example of each group, and of those of none."""
    seen: dict[str, int] = {}
    return [i for i, group in enumerate(groups) if not group or seen.setdefault(group, i) == i]


def _bounds(
    statistic: Callable[[Floats], Floats], rows: Floats, grouped: Floats, value: float, seed: int
) -> tuple[float, float]:
    """The 95 % interval. With few groups stretched by what Student's t (1908) is wider than the normal's, from the
    wider of groups and single rows: groups that are equal by chance are no proof. A rule of thumb, on the safe side."""
    low, high = _quantiles(statistic, grouped, seed)
    count = len(grouped)
    if count == len(rows) or count >= FEWEST_GROUPS:
        return low, high
    by_row = _quantiles(statistic, rows, seed)
    stretch = _STRETCH[count - 1] / 1.96 * (count / max(count - 1, 1)) ** 0.5
    return value - stretch * (value - min(low, by_row[0])), value + stretch * (max(high, by_row[1]) - value)


def _quantiles(statistic: Callable[[Floats], Floats], sums: Floats, seed: int) -> tuple[float, float]:
    low, high = np.quantile(statistic(_resampled(sums, seed)), [0.025, 0.975])
    return float(low), float(high)


def _resampled(sums: Floats, seed: int) -> Floats:
    """draws x k. In blocks, so that memory stays near 32 MB at any n."""
    n = len(sums)
    block = max(1, min(DRAWS, 4_000_000 // n))
    parts = []
    for start in range(0, DRAWS, block):
        size = min(block, DRAWS - start)
        parts.append(resample_weights(n, draws=size, seed=seed * 100_003 + start) @ sums)
    return np.concatenate(parts)


def mcnemar(ours_right: Sequence[bool], theirs_right: Sequence[bool]) -> float:
    """Two-sided p of the exact McNemar test: are the discordant answers a fair coin (McNemar 1947)?"""
    ours, theirs = np.asarray(ours_right, bool), np.asarray(theirs_right, bool)
    b, c = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    n, k = b + c, min(b, c)
    if n == 0:
        return 1.0
    # Whole numbers of any size divide exactly, so no normal approximation is needed.
    term = tail = 1  # n over i, and their sum up to k
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    share: float = tail / 2**n
    return min(1.0, 2 * share)
