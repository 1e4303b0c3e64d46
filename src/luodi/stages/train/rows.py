"""As many rows as a budget suffices for.

A run that cannot go through its rows once would spend all of its time on what comes before the first step (what frozen
layers make of every row) and on scores. Rows drawn at random say nearly the same in less time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from luodi.core.batching import batches_by_length, item_size
from luodi.core.progress import say
from luodi.core.store import write_atomically
from luodi.core.task import Engine
from luodi.core.types import Batch, Item
from luodi.messages import tr

ROWS = "rows.json"
EPOCH_SHARE = 1.5
"""Of the budget, for one epoch and its scores: a few rows pass more slowly than many, by a fifth where it was looked
at, and an epoch that is broken off still shows most rows. The plan of the steps is measured."""
LEAST_SCORED = 200
"""Validation rows: with fewer no score tells two steps apart."""
BACKWARD = 3.5
"""A step over the forward pass: gradients of activations and of weights cost a pass each, and the optimiser the rest.
Seen with half of e5-small's layers frozen, on two cores."""
_SAMPLE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What an epoch does with rows."""

    frozen_share: float
    """Of the network's layers: computed once for each row."""
    scores: int
    """Passes over the validation rows."""

    def seconds(self, train: int, validation: int, forward: float) -> float:
        """`forward`: seconds of one row through the whole network."""
        low, up = forward * self.frozen_share, forward * (1 - self.frozen_share)
        return train * (low + BACKWARD * up) + validation * (low + self.scores * up)


def draw_rows(
    folder: Path, counts: tuple[int, int], work: Work, forward: Callable[[], float], left: float | None, *, seed: int
) -> tuple[list[int], list[int]]:
    """Places of the rows to learn from and of those to score, of so many (`counts`): all of them where `left`, seconds,
    suffices for an epoch. Drawn once, and the same again after that."""
    path = folder / ROWS
    if left is not None and not path.is_file():
        kept = counts
        needed = work.seconds(*counts, forward())
        if needed > EPOCH_SHARE * left:
            share = max(0.0, EPOCH_SHARE * left / needed)
            kept = (max(1, int(share * counts[0])), min(counts[1], max(LEAST_SCORED, int(share * counts[1]))))
        write_atomically(path, msgspec.json.encode(kept))
    drawn = msgspec.json.decode(path.read_bytes(), type=tuple[int, int]) if path.is_file() else counts
    rng = np.random.default_rng(seed)
    train, validation = (sorted(rng.permutation(n)[:k].tolist()) for n, k in zip(counts, drawn, strict=True))
    return train, validation


def tell_rows(drawn: tuple[list[int], list[int]], counts: tuple[int, int], budget: str | None) -> tuple[str, ...]:
    """Nothing where they are all there."""
    if (len(drawn[0]), len(drawn[1])) == counts:
        return ()
    sentence = tr(
        "The budget of {budget} suffices for {train} of {all_train} training rows and {validation} of {all_validation}"
        " validation rows, drawn at random."
    )
    told = sentence.format(
        budget=budget, train=len(drawn[0]), all_train=counts[0], validation=len(drawn[1]), all_validation=counts[1]
    )
    say(told)
    return (told,)


def seconds_per_row(engine: Engine, items: Sequence[Item], collate: Callable[[Sequence[Item]], Batch]) -> float:
    """Of a forward pass, from a few items drawn at random. They go through twice, for the first batch of each shape
    takes longer than the next."""
    places = np.random.default_rng(0).permutation(len(items))[:_SAMPLE]
    some = [items[p] for p in places]
    batches = [collate([some[p] for p in batch]) for batch in batches_by_length([item_size(i) for i in some])]
    for _ in range(2):
        began = time.perf_counter()
        for batch in batches:
            engine.run(batch)
    return (time.perf_counter() - began) / len(some)
