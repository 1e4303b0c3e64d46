"""Whether reasons can be believed: the answer must fall when the parts that they name are hidden, faster than when
parts are hidden at random.

Comprehensiveness and sufficiency (DeYoung et al. 2020, arXiv:1911.03429), as areas over shares of the input; normalised
by the best and the worst orders that a greedy search finds, since the raw areas of two models or texts do not compare
(Edin et al. 2024, arXiv:2408.08137).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from luodi.core.types import Array, Floats
from luodi.stages.explain.attribution import Ask

STEPS = 10
"""Shares of the parts at which it is looked: 10 %, 20 %, ..."""
FEWEST = 3
"""Parts; of two there is nothing to put into an order."""
MOST_SEARCHED = 40
"""Parts up to which the best and the worst order are searched for."""
ONE_SIDED = 1.645


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    comprehensiveness: float
    """Mean fall of the answer as the parts that speak most for it are hidden: the higher the better."""
    sufficiency: float
    """Mean fall as only these parts are kept: the lower the better."""
    random: float
    """Comprehensiveness of random orders, their mean."""
    spread: float
    """And their standard deviation."""
    reversed: float
    """Comprehensiveness of the order turned round."""
    normalised: float | None = None
    """Comprehensiveness from 0, the worst order found, to 1, the best; None where none was searched for."""
    normalised_random: float | None = None

    @property
    def is_better(self) -> bool:
        """Than 95 of 100 random orders would be."""
        return self.comprehensiveness > self.random + ONE_SIDED * self.spread


def judge(ask: Ask, weights: Floats, orders: int, *, search: bool, seed: int = 0) -> Faithfulness | None:
    """None where there are too few parts. `search` also looks for the best and the worst order."""
    count = len(weights)
    if count < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    ours = np.argsort(-weights, kind="stable")
    tried = [ours, ours[::-1], *(rng.permutation(count) for _ in range(orders))]
    areas = _areas(ask, tried)
    random = areas[2:]
    kept = _kept_area(ask, ours)
    told = Faithfulness(
        comprehensiveness=float(areas[0]), sufficiency=kept, random=float(random.mean()),
        spread=float(random.std(ddof=1)), reversed=float(areas[1]),
    )  # fmt: skip
    return _normalised(ask, told, areas, count) if search and count <= MOST_SEARCHED else told


def rank_agreement(one: Floats, other: Floats) -> float | None:
    """Kendall's tau-b (1945): 1 for the same order of parts, 0 for none, -1 for the order turned round; None where
    one of them puts the parts into no order at all."""
    a, b = (np.sign(np.subtract.outer(w, w))[np.triu_indices(len(w), 1)] for w in (one, other))
    whole = float(np.sqrt((a != 0).sum() * (b != 0).sum()))
    return float((a * b).sum()) / whole if whole else None


def _normalised(ask: Ask, told: Faithfulness, tried: Floats, count: int) -> Faithfulness:
    """Between the worst and the best of all orders that are known, found by search or by chance."""
    searched = _areas(ask, [_searched(ask, count, sign) for sign in (1.0, -1.0)])
    low, high = (float(f(np.concatenate([tried, searched]))) for f in (np.min, np.max))
    if high - low < 1e-9:
        return told
    at = [(value - low) / (high - low) for value in (told.comprehensiveness, told.random)]
    return replace(told, normalised=at[0], normalised_random=at[1])


def _searched(ask: Ask, count: int, sign: float) -> Array:
    """An order whose first parts make the answer fall most (sign 1) or least (-1), found step by step: what is already
    hidden stays hidden, and of the rest those are hidden next that do most alone."""
    order: list[int] = []
    for share in [*_shares(count), count]:
        left = [i for i in range(count) if i not in order]
        falls = -sign * ask([[*order, i] for i in left])
        best = np.argsort(-falls, kind="stable")[: share - len(order)]
        order += [left[i] for i in best]
    return np.array(order)


def _shares(count: int) -> list[int]:
    """How many parts are hidden at each step; never all, which every order does alike."""
    steps = min(STEPS, count)
    return [ceil(count * k / steps) for k in range(1, steps)]


def _areas(ask: Ask, orders: Sequence[Array]) -> Floats:
    """Mean fall of the answer along each order."""
    shares = _shares(len(orders[0]))
    told = ask([[], *(order[:n].tolist() for order in orders for n in shares)])
    return np.asarray(told[0] - told[1:].reshape(len(orders), len(shares)).mean(1))


def _kept_area(ask: Ask, order: Array) -> float:
    """Mean fall where only the first parts of the order are kept."""
    told = ask([[], *(order[n:].tolist() for n in _shares(len(order)))])
    return float(told[0] - told[1:].mean())
