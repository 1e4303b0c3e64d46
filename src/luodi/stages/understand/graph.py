"""Which messages lie beside which: a graph of nearest neighbours, weighted by the neighbours they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luodi.core.types import Array, Floats

NEIGHBOURS = 20
EXACT_UP_TO = 30_000
"""Messages; above, neighbours are looked for in the nearest parts of the space alone."""
_BLOCK = 1024
_PROBES = 12
_FLOOR = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    edges: Array
    """m x 2 places, each pair once, the smaller first."""
    weights: Floats
    num_nodes: int

    def restricted(self, kept: Array) -> Graph:
        """To the nodes of a mask, numbered anew in their order."""
        numbers = np.cumsum(kept) - 1
        inside = kept[self.edges].all(1)
        return Graph(edges=numbers[self.edges[inside]], weights=self.weights[inside], num_nodes=int(kept.sum()))


def centred(vectors: Array) -> Array:
    """Without what all have in common, which in sentence encoders is most of a vector; each of length 1 again."""
    moved = vectors - vectors.mean(0)
    found: Array = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
    return found.astype(np.float32)


def build_graph(points: Array, neighbours: int = NEIGHBOURS) -> Graph:
    """`points`: n x d of length 1. An edge weighs its cosine times the overlap of the two lists of neighbours (shared
    nearest neighbours: Jarvis and Patrick 1973)."""
    count = min(neighbours, len(points) - 1)
    near, alike = nearest_neighbours(points, count)
    rows = np.repeat(np.arange(len(points)), count)
    edges = np.sort(np.column_stack([rows, near.ravel()]), axis=1)
    first = np.unique(edges[:, 0] * len(points) + edges[:, 1], return_index=True)[1]
    edges = edges[first]
    weights = np.maximum(alike.ravel()[first], 1e-3) * (_overlap(near, edges) + _FLOOR)
    return Graph(edges=edges, weights=weights.astype(np.float64), num_nodes=len(points))


def nearest_neighbours(points: Array, count: int) -> tuple[Array, Array]:
    """Places and cosines, n x count, the nearest first; exact to EXACT_UP_TO points."""
    if len(points) <= EXACT_UP_TO:
        return _exact(points, count)
    return _by_parts(points, count)


def _exact(points: Array, count: int) -> tuple[Array, Array]:
    near = np.empty((len(points), count), dtype=np.int64)
    alike = np.empty((len(points), count), dtype=np.float32)
    for start in range(0, len(points), _BLOCK):
        scores = points[start : start + _BLOCK] @ points.T
        own = np.arange(len(scores))
        scores[own, start + own] = -2.0
        near[start : start + _BLOCK], alike[start : start + _BLOCK] = _best(scores, count)
    return near, alike


def _best(scores: Array, count: int) -> tuple[Array, Array]:
    found = np.argpartition(scores, -count, axis=1)[:, -count:]
    values = np.take_along_axis(scores, found, axis=1)
    order = np.lexsort((found, -values), axis=1)  # ties by place: the same in every run
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)


def _by_parts(points: Array, count: int) -> tuple[Array, Array]:
    """An inverted file: points in cells around some of them, neighbours looked for in the _PROBES nearest cells."""
    num_cells = int(np.sqrt(len(points)))
    centres = points[np.random.default_rng(0).choice(len(points), num_cells, replace=False)]
    for _ in range(4):
        cells = np.concatenate([(points[i : i + _BLOCK] @ centres.T).argmax(1) for i in range(0, len(points), _BLOCK)])
        sums = sums_of(points, cells, num_cells).astype(np.float32)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.maximum(norms, 1e-9), centres)
    order = np.argsort(cells, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(cells, minlength=num_cells))[:-1])
    near = np.empty((len(points), count), dtype=np.int64)
    alike = np.empty((len(points), count), dtype=np.float32)
    for cell, own in enumerate(members):
        if not len(own):
            continue
        nearest_cells = np.argsort(-(centres @ centres[cell]), kind="stable")
        probes = _PROBES
        while (others := np.concatenate([members[c] for c in nearest_cells[:probes]])).size <= count:
            probes *= 2
        scores = points[own] @ points[others].T
        scores[own[:, None] == others[None]] = -2.0
        found, values = _best(scores, count)
        near[own], alike[own] = others[found], values
    return near, alike


def sums_of(points: Array, labels: Array, count: int) -> Floats:
    """count x d: of the points of each label."""
    parts = np.split(points[np.argsort(labels, kind="stable")], np.cumsum(np.bincount(labels, minlength=count))[:-1])
    return np.stack([part.sum(0, dtype=np.float64) for part in parts])


def _overlap(near: Array, edges: Array) -> Array:
    """Jaccard similarity of both ends' neighbours, each end counted among its own."""
    lists = np.column_stack([np.arange(len(near)), near])
    width = lists.shape[1]
    found = np.empty(len(edges), dtype=np.float32)
    for start in range(0, len(edges), 50_000):
        a, b = (lists[edges[start : start + 50_000, side]] for side in (0, 1))
        both = (a[:, :, None] == b[:, None, :]).sum((1, 2))
        found[start : start + 50_000] = both / (2 * width - both)
    return found
