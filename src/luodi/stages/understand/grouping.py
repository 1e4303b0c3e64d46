"""Messages to needs: how many there are, who belongs to which, how sure that is, and whether it is anything at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.types import Array, Floats
from luodi.stages.understand.agreement import adjusted_rand, contingency
from luodi.stages.understand.communities import (
    FEWEST_EACH,
    MORE_SUBSAMPLES,
    Level,
    best,
    divide,
    find_levels,
    level_at,
    subsamples,
)
from luodi.stages.understand.graph import Graph, build_graph, sums_of

CONFIRMED = 0.75
"""Stability from which a need is said to be there (Hennig 2007: "valid, stable clusters" from 0.75)."""
CLEARLY = 0.1
"""How far two halves must agree above what shuffling gives; neighbours agree a little even in noise."""
HALVES, SHUFFLES = 3, 40
TEMPERATURE = 0.05
"""Of the softmax over cosines to the centres; says how sure a place is, not how right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Adjusted Rand index of what one half of the messages says about the other half, and what that half says itself;
    mean, lowest and highest of HALVES divisions."""

    value: float
    low: float
    high: float
    floor: float
    """The highest that shuffled answers reached."""

    @property
    def is_more_than_chance(self) -> bool:
        return self.low > self.floor + CLEARLY


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    labels: Array
    """n needs, from 0, the largest first."""
    confidence: Floats
    """n, from 0 to 1: how much nearer the centre of its own need is than all others."""
    is_tail: Array
    """n: nearer to the centre of another need, so only loosely in its own. Nobody is left out."""
    stability: Floats
    """k, from 0 to 1."""
    parents: Array
    """k: the wider group that each need is a part of."""
    details: Array
    """n: the finer group."""
    resolution: float
    agreement: Agreement
    levels: tuple[tuple[int, float], ...]
    """Of each resolution that was tried, from wide to fine: how many groups, and how much of them comes back."""

    @property
    def count(self) -> int:
        return len(self.stability)

    @property
    def is_stable(self) -> bool:
        """Whether there is anything to be told; no is an answer too."""
        return self.agreement.is_more_than_chance and bool(self.is_confirmed.any())

    @property
    def is_confirmed(self) -> Array:
        """k: comes back, and is more than a handful."""
        sizes = np.bincount(self.labels, minlength=self.count)
        return np.asarray((self.stability >= CONFIRMED) & (sizes >= FEWEST_EACH))


def group(points: Array, seed: int = 0) -> Grouping:
    """`points`: n x d of length 1, n at least 30."""
    graph = build_graph(points)
    levels = find_levels(graph, seed)
    if not levels:
        return _one(points)
    chosen = best(levels)
    level = level_at(graph, subsamples(graph, MORE_SUBSAMPLES, seed + 1), chosen.resolution, seed)
    sure, is_tail = _confidence(points, level.labels)
    coarse = _other_level(levels, level, wider=True)
    fine = _other_level(levels, level, wider=False)
    return Grouping(
        labels=level.labels, confidence=sure, is_tail=is_tail, stability=level.stability,
        parents=contingency(level.labels, coarse.labels).argmax(1), details=fine.labels,
        resolution=level.resolution, agreement=_agreement(points, graph, level, seed),
        levels=tuple((one.count, one.whole) for one in levels),
    )  # fmt: skip


def centres_of(points: Array, labels: Array) -> Array:
    """k x d, each of length 1."""
    sums = sums_of(points, labels, int(labels.max()) + 1)
    found: Array = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return found.astype(np.float32)


def nearest_centre(points: Array, centres: Array) -> Array:
    parts = [(points[i : i + 4096] @ centres.T).argmax(1) for i in range(0, len(points), 4096)]
    return np.concatenate(parts)


def _agreement(points: Array, graph: Graph, level: Level, seed: int) -> Agreement:
    rng = np.random.default_rng(seed + 2)
    values, floors = [], []
    for _ in range(HALVES):
        first = rng.permutation(len(points)) < len(points) // 2
        ours, theirs = (divide(graph.restricted(mask), level.resolution, seed) for mask in (first, ~first))
        told = nearest_centre(points[~first], centres_of(points[first], ours))
        values.append(adjusted_rand(told, theirs))
        floors += [adjusted_rand(rng.permutation(told), theirs) for _ in range(SHUFFLES // HALVES)]
    return Agreement(value=float(np.mean(values)), low=min(values), high=max(values), floor=max(floors))


def _one(points: Array) -> Grouping:
    """All in one: nothing here falls apart into groups."""
    zeros = np.zeros(len(points), np.int64)
    nothing = Agreement(value=0.0, low=0.0, high=0.0, floor=0.0)
    return Grouping(
        labels=zeros, confidence=np.ones(len(points)), is_tail=zeros.astype(bool), stability=np.zeros(1),
        parents=zeros[:1], details=zeros, resolution=0.0, agreement=nothing, levels=(),
    )  # fmt: skip


def _confidence(points: Array, labels: Array) -> tuple[Floats, Array]:
    centres = centres_of(points, labels)
    sure, is_tail = np.empty(len(points)), np.empty(len(points), dtype=bool)
    for start in range(0, len(points), 4096):
        alike = points[start : start + 4096] @ centres.T
        own = labels[start : start + 4096]
        shares = np.exp((alike - alike.max(1, keepdims=True)) / TEMPERATURE)
        sure[start : start + 4096] = (shares / shares.sum(1, keepdims=True))[np.arange(len(own)), own]
        is_tail[start : start + 4096] = alike.argmax(1) != own
    return sure, is_tail


def _other_level(levels: Sequence[Level], level: Level, *, wider: bool) -> Level:
    """The one that comes back best among those with at most half, or at least one and a half times, as many."""
    fitting = [
        other for other in levels
        if (other.count <= level.count / 2 if wider else other.count >= 1.5 * level.count)
    ]  # fmt: skip
    return best(fitting) if fitting else level
