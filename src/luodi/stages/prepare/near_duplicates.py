"""Near copies and groups of the user's, united: what must not be torn apart by a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.progress import progress
from luodi.core.types import Array
from luodi.messages import tr


@dataclass(frozen=True, slots=True)
class Union:
    """Disjoint sets over the places 0..n-1; each is named by its smallest place."""

    parents: list[int]

    def find(self, place: int) -> int:
        while self.parents[place] != place:
            self.parents[place] = self.parents[self.parents[place]]
            place = self.parents[place]
        return place

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parents[max(a, b)] = min(a, b)


def group_places(
    given: Sequence[str], prints: Sequence[str], pieces: Sequence[Array] | None, threshold: float
) -> list[int]:
    """For each place, the smallest place of its group. One group are places with one given group that is not
    empty, with one fingerprint, or whose pieces have a Jaccard similarity of `threshold`; and what hangs
    together through them."""
    union = Union(list(range(len(given))))
    _join_equal(union, [group or None for group in given])
    _join_equal(union, prints)
    if pieces is not None and threshold < 1:
        _join_near(union, pieces, threshold)
    return [union.find(place) for place in range(len(given))]


def jaccard(a: Array, b: Array) -> float:
    """Of two arrays that hold nothing twice."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(len(a) + len(b) - both, 1)


def _join_equal(union: Union, keys: Sequence[object]) -> None:
    first: dict[object, int] = {}
    for place, key in enumerate(keys):
        if key is not None:
            union.join(first.setdefault(key, place), place)


def _join_near(union: Union, pieces: Sequence[Array], threshold: float) -> None:
    """Sets that are equal go first, so that a thousand rows of one template cost no million comparisons."""
    from luodi.backends.datasketch import candidate_pairs

    kinds = [np.sort(p).tobytes() or None for p in pieces]
    _join_equal(union, kinds)
    first: dict[bytes, int] = {}
    for place, kind in enumerate(kinds):
        if kind is not None:
            first.setdefault(kind, place)
    places = list(first.values())
    told = 0
    for here, there in candidate_pairs([pieces[p] for p in places], threshold):
        if here >= told:
            progress(tr("Looking for near copies"), here, len(places))
            told = here + 1000
        a, b = places[here], places[there]
        if union.find(a) != union.find(b) and jaccard(pieces[a], pieces[b]) >= threshold:
            union.join(a, b)
    progress(tr("Looking for near copies"), len(places), len(places))
