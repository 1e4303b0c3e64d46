"""How many needs there are: the division that comes back when a part of the messages is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luodi.backends.sknetwork import communities
from luodi.core.progress import progress
from luodi.core.types import Array, Floats
from luodi.messages import tr
from luodi.stages.understand.agreement import best_overlaps
from luodi.stages.understand.graph import Graph

COARSE = tuple(2.0**power for power in range(-2, 7))
"""Resolutions that are tried first; then those beside the best, nearer and nearer."""
NEARER = (0.5, 0.25)
"""Octaves."""
SHARE, SUBSAMPLES, MORE_SUBSAMPLES = 0.7, 4, 8
MANY, SUBSAMPLES_OF_MANY = 10_000, 2
"""Of so many messages a mean varies little from one subsample to another: two say what four do."""
FEWEST, FEWEST_EACH = 2, 10
"""Needs; one alone says nothing, however often it comes back. And messages of a need, on average: pairs of neighbours
come back in noise, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The graph divided at one resolution."""

    resolution: float
    labels: Array
    """n, from 0, the largest first."""
    stability: Floats
    """Of each community: mean Jaccard similarity with what is found in subsamples (Hennig 2007), of what lies above
    chance: two random halves of everything have a third in common, two of its hundredths hardly anything."""

    @property
    def count(self) -> int:
        return len(self.stability)

    @property
    def whole(self) -> float:
        """How much of its own community a message meets again, on average over messages: a few large ones that come
        back outweigh many small ones that do not, and the other way round."""
        return float(self.stability[self.labels].mean())


@dataclass(frozen=True, slots=True)
class Subsample:
    kept: Array
    """n, a mask."""
    graph: Graph


def find_levels(graph: Graph, seed: int) -> tuple[Level, ...]:
    """From wide to fine; empty where no resolution gives at least FEWEST communities of FEWEST_EACH messages each."""
    drawn = subsamples(graph, SUBSAMPLES if graph.num_nodes < MANY else SUBSAMPLES_OF_MANY, seed)
    total = len(COARSE) + 2 * len(NEARER)
    levels = list(_levels(graph, drawn, seed, enumerate(COARSE), total))
    for done, step in enumerate(NEARER if levels else ()):
        beside = [best(levels).resolution * 2.0**power for power in (-step, step)]
        levels += _levels(graph, drawn, seed, enumerate(beside, len(COARSE) + 2 * done), total)
    progress(tr("looking for needs"), total, total)
    return tuple(sorted(levels, key=lambda level: level.resolution))


def best(levels: Sequence[Level]) -> Level:
    """The one of which most comes back."""
    return max(levels, key=lambda level: level.whole)


def subsamples(graph: Graph, count: int, seed: int) -> list[Subsample]:
    rng = np.random.default_rng(seed)
    kept = [rng.random(graph.num_nodes) < SHARE for _ in range(count)]
    return [Subsample(mask, graph.restricted(mask)) for mask in kept]


def divide(graph: Graph, resolution: float, seed: int) -> Array:
    """n labels from 0, the largest community first."""
    return communities(graph.edges, graph.weights, graph.num_nodes, resolution, seed)


def level_at(graph: Graph, drawn: Sequence[Subsample], resolution: float, seed: int) -> Level:
    return _level(drawn, resolution, seed, divide(graph, resolution, seed))


def _level(drawn: Sequence[Subsample], resolution: float, seed: int, labels: Array) -> Level:
    count = int(labels.max()) + 1
    parts = [(s.kept, divide(s.graph, resolution, seed)) for s in drawn]
    overlaps = np.array([best_overlaps(labels[kept], part, count) for kept, part in parts])
    seen = np.isfinite(overlaps).sum(0)
    shares = np.bincount(labels, minlength=count) / len(labels)
    chance = shares / (2 - shares)
    stability = (np.nansum(overlaps, axis=0) / np.maximum(seen, 1) - chance) / (1 - chance)
    return Level(resolution=resolution, labels=labels, stability=stability)


def _levels(
    graph: Graph, drawn: Sequence[Subsample], seed: int, resolutions: Iterable[tuple[int, float]], total: int
) -> Iterator[Level]:
    for done, resolution in resolutions:
        progress(tr("looking for needs"), done, total)
        labels = divide(graph, resolution, seed)
        if FEWEST <= labels.max() + 1 <= graph.num_nodes / FEWEST_EACH:
            yield _level(drawn, resolution, seed, labels)
