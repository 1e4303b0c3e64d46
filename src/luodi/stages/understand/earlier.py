"""Needs of an earlier run found again in newer messages: which grew, shrank, appeared, were met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from luodi.core.chance import LEVEL, false_discovery_rates, share_ratio
from luodi.core.measure import Measure
from luodi.core.types import Array, Floats
from luodi.stages.understand.agreement import contingency
from luodi.stages.understand.describe import Described
from luodi.stages.understand.grouping import centres_of, nearest_centre
from luodi.stages.understand.messages import Messages
from luodi.stages.understand.needs import Change

EXAMPLES = 30
"""Messages that a need is known again by."""
NEAR = 0.5
"""Of how near a need's examples are to one another, on average."""
MET = 0.5
"""What is said less than half as often, and not by chance, counts as met."""
GREW, SHRANK, SAME, APPEARED, LESS, GONE = "grew", "shrank", "same", "appeared", "met", "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierNeed:
    """What is kept of a need for a later run."""

    id: int
    names: Mapping[str, str]
    speakers: int
    """Users, or messages where users are not known, who spoke of it."""
    examples: tuple[str, ...]
    """What its middle said, without personal data; none where too few have spoken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    needs: tuple[EarlierNeed, ...]
    speakers: int
    """All of them."""
    first: str = ""
    last: str = ""
    """Dates of its messages, where known."""

    @property
    def texts(self) -> list[str]:
        return [text for need in self.needs for text in need.examples]

    @property
    def owners(self) -> Array:
        """Of each text the place of its need."""
        return np.repeat(np.arange(len(self.needs)), [len(need.examples) for need in self.needs])


def keep(messages: Messages, described: Described) -> Earlier:
    """What a later run needs to know of this one."""
    told = []
    for need in described.needs:
        label = int(np.flatnonzero(described.numbers == need.id)[0])
        examples = _examples(messages, label) if need.is_shown else ()
        speakers = messages.num_speakers(label)
        told.append(EarlierNeed(id=need.id, names=need.names, speakers=speakers, examples=examples))
    times = sorted(f.time for f in messages.feedback if f.time)
    span = (f"{times[0]:%Y-%m-%d}", f"{times[-1]:%Y-%m-%d}") if times else ("", "")
    return Earlier(
        needs=tuple(told), speakers=len(np.unique(messages.speakers)), first=span[0], last=span[1]
    )


def compare(
    messages: Messages, described: Described, earlier: Earlier, points: Array
) -> tuple[Described, tuple[Change, ...]]:
    """`points`: of `earlier.texts`, in the space of the messages. Needs with what became of them, and the earlier ones
    that have no need of their own any more."""
    known = [place for place, need in enumerate(earlier.needs) if need.examples]
    if not known:
        return described, ()
    owners = np.searchsorted(known, earlier.owners)
    pairs = _matched(messages, points, owners)
    counts = {label: messages.num_speakers(label) for label in range(messages.grouping.count)}
    now = len(np.unique(messages.speakers))
    rows = [(place, pairs.get(i)) for i, place in enumerate(known)]
    near = _speakers_near(messages, points, owners)  # a need that is now a part of another one is still spoken of
    tests = [
        _test(near[i] if label is None else counts[label], now, earlier, place) for i, (place, label) in enumerate(rows)
    ]
    rates = false_discovery_rates([p for _, p in tests])
    changes: dict[int, Change] = {}
    lost = []
    for (place, label), (ratio, _), q in zip(rows, tests, rates, strict=True):
        need = earlier.needs[place]
        kind = _kind(ratio, q) if label is not None else GONE if q > LEVEL or ratio.value > MET else LESS
        change = Change(kind=kind, was=need.id, names=need.names, ratio=ratio, q=q)
        if label is None:
            lost.append(change)
        else:
            changes[int(described.numbers[label])] = change
    new = Change(kind=APPEARED, was=0, names={})
    needs = tuple(replace(need, change=changes.get(need.id, new)) for need in described.needs)
    return replace(described, needs=needs), tuple(lost)


def _examples(messages: Messages, label: int) -> tuple[str, ...]:
    core = messages.core(label)
    centre = messages.points[core].mean(0)
    order = np.lexsort((core, -(messages.points[core] @ centre)))[:EXAMPLES]
    return tuple(messages.feedback[i].text for i in core[order])


def _speakers_near(messages: Messages, points: Array, owners: Array) -> list[int]:
    """Of each earlier need how many people say what its examples say: nearer to them than to those of other needs, and
    at least half as near as they are to one another."""
    were = centres_of(points, owners)
    least = NEAR * np.bincount(owners, (points * were[owners]).sum(1)) / np.bincount(owners)
    alike = messages.points @ were.T
    nearest = alike.argmax(1)
    said = alike[np.arange(len(alike)), nearest] >= least[nearest]
    return [len(np.unique(messages.speakers[said & (nearest == place)])) for place in range(len(were))]


def _matched(messages: Messages, points: Array, owners: Array) -> dict[int, int]:
    """Place of an earlier need to the label of the need that it is now: where most of its examples fall into that need,
    and most of that need's messages lie nearest to it."""
    centres, were = centres_of(messages.points, messages.grouping.labels), centres_of(points, owners)
    forward = _votes(owners, nearest_centre(points, centres), len(were), len(centres))
    cores = [(label, messages.core(label)) for label in range(len(centres))]
    backward = np.stack([
        np.bincount(nearest_centre(messages.points[core], were), minlength=len(were)) / len(core) for _, core in cores
    ])  # fmt: skip
    return dict(_mutual(forward, backward))


def _mutual(forward: Floats, backward: Floats) -> Iterator[tuple[int, int]]:
    for was, row in enumerate(forward):
        label = int(row.argmax())
        if row[label] >= 0.5 and backward[label].argmax() == was:
            yield was, label


def _votes(owners: Array, labels: Array, count: int, num_labels: int) -> Floats:
    table = contingency(owners, labels, count, num_labels)
    shares: Floats = table / np.maximum(table.sum(1, keepdims=True), 1)
    return shares


def _test(now: int, all_now: int, earlier: Earlier, place: int) -> tuple[Measure, float]:
    return share_ratio(now, all_now, earlier.needs[place].speakers, earlier.speakers)


def _kind(ratio: Measure, q: float) -> str:
    if q > LEVEL:
        return SAME
    if ratio.value > 1:
        return GREW
    return LESS if ratio.value < MET else SHRANK


def tell_names(changes: Sequence[Change], language: str) -> list[str]:
    return [change.names.get(language) or next(iter(change.names.values()), f"#{change.was}") for change in changes]
