"""Which of many values are most alike to one: by the small parts that they share, rare ones counting more.

Parts are the hashes of `Modality.pieces`, so any kind of data will do. Likeness is the cosine of the values' parts,
each weighed by its inverse document frequency (Spärck Jones 1972): 1 for the same parts, 0 for none in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.types import Array, Floats


@dataclass(frozen=True, slots=True)
class Index:
    hashes: Array
    """Of every part of every value, sorted."""
    rows: Array
    """Whose it is."""
    lengths: Floats
    """Of each value, as a vector of weights."""


def index_of(pieces: Sequence[Array]) -> Index:
    """`pieces`: of each value, every hash once."""
    hashes = np.concatenate([*pieces, np.zeros(0, np.uint32)])
    rows = np.repeat(np.arange(len(pieces)), [len(part) for part in pieces])
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    _, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    squares = _weights(counts, len(pieces))[places] ** 2
    return Index(hashes, rows, np.sqrt(np.bincount(rows, squares, minlength=len(pieces))))


def nearest(index: Index, asked: Array, count: int) -> list[tuple[int, float]]:
    """(place, likeness) of the values that are most alike to one with these parts, the most alike first; only such as
    share a part with it."""
    begin = np.searchsorted(index.hashes, asked, side="left")
    held = np.searchsorted(index.hashes, asked, side="right") - begin
    squares = _weights(held, len(index.lengths)) ** 2
    places = np.repeat(begin - np.cumsum(held) + held, held) + np.arange(held.sum())
    shared = np.bincount(index.rows[places], np.repeat(squares, held), minlength=len(index.lengths))
    alike = shared / np.maximum(index.lengths * np.sqrt(squares.sum()), 1e-12)
    likely = np.argpartition(-alike, count)[:count] if count < len(alike) else np.arange(len(alike))
    order = likely[np.lexsort((likely, -alike[likely]))]
    return [(int(i), min(float(alike[i]), 1.0)) for i in order if alike[i] > 0]


def _weights(held: Array, count: int) -> Floats:
    """Of parts that so many of `count` values hold."""
    return np.asarray(np.log((1 + count) / (1 + held)) + 1.0)
