"""How much two ways of dividing the same things have in common."""

from __future__ import annotations

import numpy as np

from luodi.core.types import Array, Floats


def contingency(a: Array, b: Array, num_rows: int = 0, num_columns: int = 0) -> Floats:
    """Counts, kinds of `a` x kinds of `b`; both from 0, and as many as occur where no larger number is said."""
    table = np.zeros((max(num_rows, int(a.max()) + 1), max(num_columns, int(b.max()) + 1)))
    np.add.at(table, (a, b), 1)
    return table


def adjusted_rand(a: Array, b: Array) -> float:
    """Hubert and Arabie 1985: 1 where both are the same, 0 on average where they have nothing to do with each other."""
    table = contingency(a, b)

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    rows, columns, both = pairs(table.sum(1)), pairs(table.sum(0)), pairs(table)
    expected = rows * columns / max(pairs(np.array([len(a)])), 1)
    most = (rows + columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def best_overlaps(whole: Array, part: Array, count: int) -> Floats:
    """For each of `count` kinds in `whole`, the largest Jaccard similarity with a kind of `part`; nan where none of its
    members is left."""
    table = contingency(whole, part, count)
    rows, columns = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    best: Floats = (table / np.maximum(rows + columns - table, 1)).max(1)
    return np.where(rows[:, 0] > 0, best, np.nan)
