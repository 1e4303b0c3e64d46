"""Shares and their ratios, with intervals that know who said how much; and what of many tests is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, log, sqrt

import numpy as np

from luodi.core.measure import Measure
from luodi.core.types import Array, Floats

Z = 1.959964
"""Of the normal distribution, 2.5 % lie above it."""
LEVEL = 0.05
"""What is less likely by chance is called a find."""


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share seen in `n` independent cases (Wilson 1927); `n` may be an effective one."""
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def shares_by_group(hits: Floats, weights: Floats, groups: Array) -> list[Measure]:
    """Of each column of `hits` (n x k, from 0 to 1) its weighted mean. Rows of one group (numbers from 0) come from one
    speaker and are no independent cases: the spread is that between groups (a ratio estimate: Cochran 1977, 6.4), and
    the interval Wilson's for as many cases as would have this spread."""
    num_groups = int(groups.max()) + 1
    sizes = np.bincount(groups, weights, minlength=num_groups)
    whole = sizes.sum()
    found = []
    for column in (hits * weights[:, None]).T:
        share = float(column.sum() / whole)
        gaps = np.bincount(groups, column, minlength=num_groups) - share * sizes
        variance = float((gaps**2).sum()) / whole**2 * num_groups / max(num_groups - 1, 1)
        independent = share * (1 - share) / variance if variance > 0 else num_groups
        low, high = wilson(share, min(independent, float(whole)))
        found.append(Measure(value=share, low=low, high=high, n=round(whole)))
    return found


def mean_by_group(values: Floats, weights: Floats, groups: Array) -> Measure:
    """The weighted mean of n values with an interval over groups, as `shares_by_group`; normal, so for n above 30."""
    num_groups = int(groups.max()) + 1
    whole = float(weights.sum())
    mean = float((values * weights).sum() / whole)
    gaps = np.bincount(groups, (values - mean) * weights, minlength=num_groups)
    half = Z * sqrt(float((gaps**2).sum()) * num_groups / max(num_groups - 1, 1)) / whole
    return Measure(value=mean, low=mean - half, high=mean + half, n=round(whole))


def share_ratio(
    hits: float, n: float, other_hits: float, other_n: float, *, spread: float = 1.0, freedom: float = float("inf")
) -> tuple[Measure, float]:
    """The share of hits in `n` over that in `other_n`, with its interval and the two-sided p that they are equal: by
    the logarithm of the ratio (Katz et al. 1978), half a hit added to each so that none is 0.

    `spread`: how many times the variance is that of independent cases, known with so many degrees of `freedom`.
    """
    a, b = (hits + 0.5) / (n + 0.5), (other_hits + 0.5) / (other_n + 0.5)
    variance = 1 / (hits + 0.5) - 1 / (n + 0.5) + 1 / (other_hits + 0.5) - 1 / (other_n + 0.5)
    error = sqrt(max(variance, 1e-12) * max(spread, 1.0))
    t = log(a / b) / error
    width = error * _quantile(freedom)
    ratio = Measure(value=a / b, low=a / b * exp(-width), high=a / b * exp(width), n=round(n + other_n))
    return ratio, two_sided(t, freedom)


def two_sided(t: float, freedom: float = float("inf")) -> float:
    """The chance of a statistic as far from 0; of Student's t by the normal that comes near it (Abramowitz and Stegun
    26.7.8: from five degrees of freedom on at most 0.01 too large, so on the safe side)."""
    if freedom != float("inf"):
        t = t * (1 - 1 / (4 * freedom)) / sqrt(1 + t * t / (2 * freedom))
    return erfc(abs(t) / sqrt(2))


def _quantile(freedom: float) -> float:
    """Of Student's t at 97.5 %, by the normal's and two terms more (Abramowitz and Stegun 26.7.5)."""
    if freedom == float("inf"):
        return Z
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def false_discovery_rates(chances: Sequence[float]) -> list[float]:
    """q of each p: were all with a q as small called finds, such a share of them would be chance (Benjamini and
    Hochberg 1995)."""
    p = np.asarray(chances, np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return [float(one) for one in q]
