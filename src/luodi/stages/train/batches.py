"""Which examples meet in which batch. Fixed by seed and epoch alone, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW = 64
"""Batches that are sorted by length together: enough for little padding, few enough to stay random."""


def epoch_batches(sizes: Sequence[int], *, tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Places of examples, batch by batch; a batch holds at most `tokens` padded tokens (one example at least).

    Shuffle all, cut into windows, sort each window by size, fill batches, shuffle the batches.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(sizes))
    mean = max(float(np.mean(sizes)), 1.0)
    window = max(1, int(WINDOW * tokens / mean))
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window].tolist(), key=lambda place: sizes[place])
        batches.extend(_fill(part, sizes, tokens))
    return [batches[i] for i in rng.permutation(len(batches))]


def _fill(places: Sequence[int], sizes: Sequence[int], tokens: int) -> list[list[int]]:
    """`places` come shortest first, so the last one put in is as wide as the batch."""
    batches: list[list[int]] = [[]]
    for place in places:
        if batches[-1] and (len(batches[-1]) + 1) * sizes[place] > tokens:
            batches.append([])
        batches[-1].append(place)
    return batches
