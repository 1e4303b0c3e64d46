"""The nouns that flow from stage to stage. Frozen, keyword-only; no torch, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

X = TypeVar("X")  # what a model reads
Y = TypeVar("Y")  # what a model answers

Array = NDArray[Any]
Floats = NDArray[np.float64]
Row = Mapping[str, Any]  # one raw record, before `Task.read` gives it a type
Item = Mapping[str, Array]  # one input as the model's numbers, not yet padded
Batch = Mapping[str, Array]  # several items of one shape, first axis = example
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which columns of the user's table hold what."""

    input: tuple[str, ...]
    target: str | None = None
    group: str | None = None
    """Rows that share a value here (one user, one document) stay on one side of a split."""
    id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Example(Generic[X, Y]):
    """One row, typed. The same type through all stages."""

    id: str
    input: X
    target: Y
    source: str = ""
    """The file that it came from."""
    group: str = ""
    """Examples of one group never stand on two sides of a split."""
    tags: tuple[tuple[str, str], ...] = ()
    """(column, value) of what else its row said, where few values came again and again: parts to look at scores by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Datasheet:
    """What a reader must know before believing a number made from this data."""

    rows_read: int
    rows_kept: int
    dropped: Mapping[str, int]
    """Reason to count; the rows themselves lie in dropped.csv."""
    splits: Mapping[str, int]
    targets: Mapping[str, Mapping[str, int]]
    """Split to answer to count, where answers can be counted."""
    slices: Mapping[str, Mapping[str, int]]
    """Slice family (language, length) to slice to count."""
    sources: Mapping[str, Mapping[str, Any]]
    """File to what was found: encoding, rows, sha256."""
    leak_share: float
    """Share of test examples with a duplicate or near-duplicate in training: 0 unless the data came split."""
    notes: tuple[str, ...] = ()
    """What was repaired on the way in, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset(Generic[X, Y]):
    """Three splits, fixed once."""

    train: tuple[Example[X, Y], ...]
    validation: tuple[Example[X, Y], ...]
    test: tuple[Example[X, Y], ...]
    datasheet: Datasheet


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction(Generic[Y]):
    """An answer; `scores` are the probabilities of the alternatives where the task has them."""

    value: Y
    confidence: float | None = None
    """None where a task has no honest number (a picture, say)."""
    scores: Mapping[str, float] = field(default_factory=dict)
    examined: Mapping[str, float] = field(default_factory=dict)
    """What was measured beside the answer with the truth in hand, for metrics that ask more than whether the answer is
    right: the bits that a language model needs for the true text. Empty for answers that users see."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """All in it that may be no number (NaN) where a network fails; JSON has none, and one is no answer anyway."""
        own = (self.value,) if isinstance(self.value, float) else ()
        return (*own, *self.scores.values(), *(() if self.confidence is None else (self.confidence,)))
