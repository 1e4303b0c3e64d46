"""Needs of an earlier run found again in newer messages: which grew, shrank, appeared, were met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from luodi.core.chance import LEVEL, false_discovery_rates, share_ratio
from luodi.core.measure import Measure
from luodi.core.types import Array, Floats
from luodi.messages import tr
from luodi.stages.understand.agreement import contingency
from luodi.stages.understand.describe import Described
from luodi.stages.understand.grouping import centres_of, nearest_centre
from luodi.stages.understand.messages import Messages
from luodi.stages.understand.needs import Change

EXAMPLES = 30
"""Messages that a need is known again by."""
NEAR = 0.5
"""Of how near a need's examples are to one another, on average."""
KNOWN = 1 / 3
"""Of a need's messages, from which it is a part of an earlier one: words alone place the same messages a little
differently among others, and of a topic that had grown 60 % were still as near as that."""
UNLIKE, MANY = 3, 30
"""Times as many needs, of at least so many, with which two runs are not compared: of real reviews read by words alone,
halved by date, 9 needs against 262 made 34 of them new and 8 met, though hardly anything had changed."""
MET = 0.5
"""What is said less than half as often, and not by chance, counts as met."""
GREW, SHRANK, SAME, APPEARED, PART, LESS, GONE = "grew", "shrank", "same", "appeared", "part", "met", "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierNeed:
    """What is kept of a need for a later run."""

    id: int
    names: Mapping[str, str]
    speakers: int
    """Users, or messages where users are not known, who spoke of it."""
    examples: tuple[str, ...]
    """What its middle said, without personal data; none where too few have spoken."""
    near: int = 0
    """Users whose messages are nearest to its examples: how many speak of it is told in one way then and now, since a
    later run may divide more finely or more coarsely. 0: not told."""


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
    labels = {int(number): label for label, number in enumerate(described.numbers)}
    shown = [need for need in described.needs if need.is_shown]
    cores = [messages.core(labels[need.id]) for need in shown]
    nearest = _nearest_of_others(messages, cores) if shown else np.empty(0, np.int64)
    found = {
        need.id: (_texts(messages, core), _speakers(messages, nearest == place))
        for place, (need, core) in enumerate(zip(shown, cores, strict=True))
    }
    told = []
    for need in described.needs:
        examples, near = found.get(need.id, ((), 0))
        speakers = messages.num_speakers(labels[need.id])
        told.append(EarlierNeed(id=need.id, names=need.names, speakers=speakers, examples=examples, near=near))
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
    nearest, is_near = _nearest(messages.points, points, owners)
    rows = [(earlier.needs[place], pairs.get(i)) for i, place in enumerate(known)]
    cores = {label: messages.core(label) for label in {*range(messages.grouping.count)} - {*pairs.values()}}
    others = {
        label: _unmatched(nearest[core], is_near[core], [need for need, _ in rows]) for label, core in cores.items()
    }
    new = [label for label, change in others.items() if change.kind == APPEARED]
    is_old = ~np.isin(messages.grouping.labels, new)
    now = len(np.unique(messages.speakers))
    tests = [
        share_ratio(_speakers(messages, is_old & (nearest == i)), now, need.near or need.speakers, earlier.speakers)
        for i, (need, _) in enumerate(rows)
    ]
    rates = false_discovery_rates([p for _, p in tests])
    changes: dict[int, Change] = {}
    lost = []
    for (need, label), (ratio, _), q in zip(rows, tests, rates, strict=True):
        kind = _kind(ratio, q) if label is not None else GONE if q > LEVEL or ratio.value > MET else LESS
        change = Change(kind=kind, was=need.id, names=need.names, ratio=ratio, q=q)
        if label is None:
            lost.append(change)
        else:
            changes[int(described.numbers[label])] = change
    changes |= {int(described.numbers[label]): change for label, change in others.items()}
    needs = tuple(replace(need, change=changes[need.id]) for need in described.needs)
    return replace(described, needs=needs), tuple(lost)


def say_unlike(count: int, earlier: Earlier) -> str:
    """Why nothing is compared: one of the two runs divided so much more finely that its needs are of another kind.
    Empty: they are alike enough."""
    few, many = sorted((count, len(earlier.needs)))
    if many < MANY or many <= UNLIKE * few:
        return ""
    told = tr("The earlier run found {were} needs and this one {now}: needs so wide and so narrow are not compared.")
    return told.format(were=len(earlier.needs), now=count)


def _unmatched(nearest: Array, is_near: Array, earlier: Sequence[EarlierNeed]) -> Change:
    """Of a need that is no earlier one: whether enough of it says what one of those said, or it is new."""
    if is_near.mean() < KNOWN:
        return Change(kind=APPEARED, was=0, names={})
    need = earlier[int(np.bincount(nearest[is_near]).argmax())]
    return Change(kind=PART, was=need.id, names=need.names)


def _texts(messages: Messages, core: Array) -> tuple[str, ...]:
    return tuple(messages.feedback[i].text for i in _examples(messages, core))


def _examples(messages: Messages, core: Array) -> Array:
    """Places of the messages in its middle."""
    centre = messages.points[core].mean(0)
    return np.asarray(core[np.lexsort((core, -(messages.points[core] @ centre)))[:EXAMPLES]])


def _nearest(said: Array, points: Array, owners: Array) -> tuple[Array, Array]:
    """Of each message (its point in `said`) the place of the need whose examples (`points`) it is nearest to, and
    whether it says what they say: is at least half as near to them as they are to one another."""
    were = centres_of(points, owners)
    least = NEAR * np.bincount(owners, (points * were[owners]).sum(1)) / np.bincount(owners)
    alike = said @ were.T
    nearest = alike.argmax(1)
    return nearest, alike[np.arange(len(alike)), nearest] >= least[nearest]


def _nearest_of_others(messages: Messages, cores: Sequence[Array]) -> Array:
    """The same of the messages that needs were found in: each half of them by examples from the other one, since a
    middle is nearest to what it was made of, and a later run's messages are strangers to it."""
    found = np.empty(len(messages.points), np.int64)
    half_of = np.arange(len(found)) % 2
    for half in (0, 1):
        parts = [core[half_of[core] == half] for core in cores]
        examples = [_examples(messages, part if len(part) else core) for part, core in zip(parts, cores, strict=True)]
        owners = np.repeat(np.arange(len(cores)), [len(own) for own in examples])
        others = half_of != half
        found[others], _ = _nearest(messages.points[others], messages.points[np.concatenate(examples)], owners)
    return found


def _speakers(messages: Messages, chosen: Array) -> int:
    return len(np.unique(messages.speakers[chosen]))


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


def _kind(ratio: Measure, q: float) -> str:
    if q > LEVEL:
        return SAME
    if ratio.value > 1:
        return GREW
    return LESS if ratio.value < MET else SHRANK


def tell_names(changes: Sequence[Change], language: str) -> list[str]:
    return [change.names.get(language) or next(iter(change.names.values()), f"#{change.was}") for change in changes]
