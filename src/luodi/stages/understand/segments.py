"""Among whom a need is commoner than among all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luodi.core.chance import LEVEL, false_discovery_rates, share_ratio
from luodi.core.measure import Measure
from luodi.core.types import Array, Floats
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.needs import Segment

FEWEST_IN_SEGMENT, FEWEST_HITS = 20, 5
MOST = 4


def find_segments(
    feedback: Sequence[Feedback], labels: Array, count: int, speakers: Array
) -> list[tuple[Segment, ...]]:
    """Of each need the kinds of people among whom it is commoner, the surest first. One user counts once in a need: who
    says it ten times is one of whom it is true. All pairs of need and kind are tested, so their p are corrected."""
    tried: list[tuple[int, str, str, Measure, float]] = []
    for column, values in _columns(feedback):
        places = np.flatnonzero(np.array([bool(v) for v in values]))
        names, kinds = np.unique([values[i] for i in places], return_inverse=True)
        once = _once(speakers[places], labels[places], kinds)
        sizes = np.bincount(kinds[once], minlength=len(names)).astype(float)
        hits = np.zeros((count, len(names)))
        np.add.at(hits, (labels[places[once]], kinds[once]), 1)
        tried += _tests(column, names, sizes, hits)
    rates = false_discovery_rates([row[4] for row in tried])
    found: list[list[Segment]] = [[] for _ in range(count)]
    for (need, column, value, lift, _), q in sorted(zip(tried, rates, strict=True), key=lambda pair: pair[1]):
        if q <= LEVEL and lift.low > 1 and len(found[need]) < MOST:
            found[need].append(Segment(column=column, value=value, lift=lift, q=q))
    return [tuple(rows) for rows in found]


def _columns(feedback: Sequence[Feedback]) -> Iterator[tuple[str, list[str]]]:
    names = dict.fromkeys(name for f in feedback for name in f.segments)
    for name in names:
        yield name, [f.segments.get(name, "") for f in feedback]


def _once(speakers: Array, labels: Array, kinds: Array) -> Array:
    """The first place of each user, need and kind."""
    return np.sort(np.unique(np.column_stack([speakers, labels, kinds]), axis=0, return_index=True)[1])


def _tests(
    column: str, names: Array, sizes: Floats, hits: Floats
) -> Iterator[tuple[int, str, str, Measure, float]]:
    whole, all_hits = sizes.sum(), hits.sum(1)
    for kind, size in enumerate(sizes):
        if min(size, whole - size) < FEWEST_IN_SEGMENT:
            continue
        for need in np.flatnonzero(hits[:, kind] >= FEWEST_HITS).tolist():
            inside, outside = float(hits[need, kind]), float(all_hits[need] - hits[need, kind])
            lift, p = share_ratio(inside, float(size), outside, float(whole - size))
            yield need, column, str(names[kind]), lift, p
