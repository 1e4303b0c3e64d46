"""Parts of the data that nobody named and where a model is worse: searched for among the words of the inputs and pairs
of slices, with the chance of a false find over all that was looked at held at 5 % (Holm 1979).

The same search names groups of mistakes for `errors.csv`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import exp, lgamma
from typing import Any

import numpy as np

from luodi.core.measure import firsts
from luodi.core.scoring import parts_of
from luodi.core.task import Task
from luodi.core.types import Array, Example, X, Y

FEWEST_ROWS = 20
"""Of a part: fewer are too few to act on."""
FEWEST_WRONG = 5
"""Mistakes without which nothing is searched."""
MOST_PARTS = 5
LEVEL = 0.05
SMALLEST_GROUP = 3
MOST_GROUPS = 8


def traits_of(task: Task[X, Y], examples: Sequence[Example[X, Y]]) -> dict[str, Array]:
    """What an input has, in a word, to the places of those that have it: words, slices, pairs of slices."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        slices = [f"{family}.{name}" for family, name in sorted(parts_of(task, example).items())]
        pairs = [" + ".join(pair) for pair in combinations(slices, 2)]
        for trait in {*task.input.traits(example.input), *slices, *pairs}:
            found[trait].append(place)
    return {trait: np.array(places) for trait, places in found.items()}


def worst_parts(
    traits: Mapping[str, Array], is_wrong: Sequence[bool], groups: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], int]:
    """Parts with more mistakes than chance explains, the surest first, none of them of the same rows as one before; and
    how many were looked at. Of a group (one user, one document) one row counts: its others are right or wrong with
    it."""
    if any(groups):
        return worst_parts(*_alone(traits, is_wrong, groups))
    wrong = np.asarray(is_wrong)
    tried = {t: rows for t, rows in traits.items() if FEWEST_ROWS <= len(rows) <= len(wrong) - FEWEST_ROWS}
    if wrong.sum() < FEWEST_WRONG or not tried:
        return [], len(tried)
    chances = {t: tail(int(wrong[rows].sum()), len(rows), int(wrong.sum()), len(wrong)) for t, rows in tried.items()}
    order = sorted(chances, key=lambda t: (chances[t], len(t), t))
    found: list[dict[str, Any]] = []
    for rank, trait in enumerate(order):
        p = chances[trait] * (len(order) - rank)
        if p > LEVEL or len(found) == MOST_PARTS:
            break
        rows = tried[trait]
        if any(_alike(rows, tried[part["name"]]) for part in found):
            continue
        share = float(np.delete(wrong, rows).mean())
        found.append({"name": trait, "n": len(rows), "wrong": int(wrong[rows].sum()), "elsewhere": share, "p": p})
    return found, len(order)


def _alone(
    traits: Mapping[str, Array], is_wrong: Sequence[bool], groups: Sequence[str]
) -> tuple[dict[str, Array], list[bool]]:
    """Of each group its first row, numbered anew."""
    kept = firsts(groups)
    number = np.full(len(groups), -1)
    number[kept] = np.arange(len(kept))
    shown = {trait: number[rows][number[rows] >= 0] for trait, rows in traits.items()}
    return shown, [bool(is_wrong[i]) for i in kept]


def groups_of(traits: Mapping[str, Array], is_wrong: Sequence[bool]) -> dict[int, str]:
    """Place of a mistake to the name of its group: words that come in mistakes more than elsewhere, the one that names
    most of those not named yet first. Mistakes in none are left out. A list to start from, not a finding: nothing is
    corrected for."""
    wrong = np.asarray(is_wrong)
    named: dict[int, str] = {}
    left = set(np.flatnonzero(wrong).tolist())
    lifts = {trait: rows for trait, rows in traits.items() if "." not in trait and _is_lifted(rows, wrong)}
    while len(set(named.values())) < MOST_GROUPS and lifts:
        counts = {trait: len(left.intersection(rows.tolist())) for trait, rows in lifts.items()}
        best = max(counts, key=lambda t: (counts[t], t))
        if counts[best] < SMALLEST_GROUP:
            break
        members = left.intersection(lifts[best].tolist())
        named.update(dict.fromkeys(members, best))
        left -= members
    return named


def tail(hits: int, drawn: int, marked: int, whole: int) -> float:
    """The chance of so many hits or more among `drawn` of `whole`, `marked` of them marked (Fisher's exact test)."""
    low, high = max(hits, drawn + marked - whole), min(drawn, marked)
    base = _log_choose(whole, drawn)
    return min(1.0, sum(exp(term - base) for term in _terms(low, high, drawn, marked, whole)))


def _terms(low: int, high: int, drawn: int, marked: int, whole: int) -> Iterator[float]:
    for k in range(low, high + 1):
        yield _log_choose(marked, k) + _log_choose(whole - marked, drawn - k)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _is_lifted(rows: Array, wrong: Array) -> bool:
    hits = int(wrong[rows].sum())
    return hits >= SMALLEST_GROUP and tail(hits, len(rows), int(wrong.sum()), len(wrong)) < LEVEL


def _alike(one: Array, other: Array) -> bool:
    """More than half of the rows of either are those of both."""
    both = len(np.intersect1d(one, other))
    return bool(both > 0.5 * min(len(one), len(other)))
