"""Items to batches: sizes, groups of similar length, padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.types import Array, Batch, Item

PAST = ("past", "past_mask")
"""Inputs of a network that writes: what it remembers of positions read before (B x P x width) and which of them are
real. A batch that lacks them has read nothing before."""


def item_size(item: Item) -> int:
    """How many positions of a batch an item takes."""
    return max(len(array) if array.ndim else 1 for array in item.values())


def batches_by_length(sizes: Sequence[int], *, budget: int = 2048, most: int = 64) -> Iterator[list[int]]:
    """Places in batches of at most `budget` padded positions and `most` items, shortest first."""
    batch: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        if batch and ((len(batch) + 1) * sizes[place] > budget or len(batch) == most):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def pad(arrays: Sequence[np.ndarray[Any, Any]], value: float = 0) -> np.ndarray[Any, Any]:
    """Stack along a new first axis, the second filled up with `value` to the longest."""
    longest = max(len(a) for a in arrays)
    shape = (len(arrays), longest, *arrays[0].shape[1:])
    out = np.full(shape, value, dtype=arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


def with_past(batch: Batch, inputs: Mapping[str, Sequence[int | None]]) -> dict[str, Array]:
    """What a graph reads of a batch; `inputs` are its shapes, None where a size is free. A graph has no inputs that may
    be left out: nothing before is a memory of length 0."""
    size = len(next(iter(batch.values())))
    empty = {PAST[0]: np.float32, PAST[1]: np.int64}
    return {
        name: np.zeros((size, 0, *(n or 0 for n in shape[2:])), empty[name])
        if name in empty and name not in batch else batch[name]
        for name, shape in inputs.items()
    }  # fmt: skip
