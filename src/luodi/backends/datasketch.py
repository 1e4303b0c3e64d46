"""MinHash LSH: pairs that may be near copies, without comparing all with all (Broder 1997; Leskovec et al.,
Mining of Massive Datasets, chapter 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from luodi.backends import need
from luodi.core.types import Array

PERMUTATIONS = 128
MOST_MISSED = 1e-3
"""Share of pairs at the threshold itself that may be overlooked; more similar pairs are missed far less."""


def candidate_pairs(pieces: Sequence[Array], threshold: float) -> Iterator[tuple[int, int]]:
    """Places (later, earlier) of sets whose Jaccard similarity may reach `threshold`. Empty sets have none."""
    datasketch = need("datasketch")
    # The pieces are hashes already. copy() shares the permutations, whose making costs more than a short text.
    blank = datasketch.MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=_same)
    index = datasketch.MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold))
    for place, hashes in enumerate(pieces):
        if not len(hashes):
            continue
        sketch = blank.copy()
        sketch.update_batch(hashes.tolist())
        yield from ((place, other) for other in sorted(index.query(sketch)))
        index.insert(place, sketch, check_duplication=False)


def bands(threshold: float) -> tuple[int, int]:
    """Bands and rows of a band: the most selective ones that miss few enough pairs at the threshold."""
    for rows in range(PERMUTATIONS // 4, 1, -1):
        count = PERMUTATIONS // rows
        if (1 - threshold**rows) ** count <= MOST_MISSED:
            return count, rows
    return PERMUTATIONS, 1


def _same(value: Any) -> Any:
    return value
