"""From a division of messages to needs with all that is said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.chance import mean_by_group
from luodi.core.measure import Measure
from luodi.core.types import Array, Floats
from luodi.modalities.text import script
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.feelings import KINDS
from luodi.stages.understand.grouping import centres_of
from luodi.stages.understand.messages import Messages
from luodi.stages.understand.naming import Phrases, find_phrases, name_needs, names_of
from luodi.stages.understand.needs import Detail, Need, Parent, Phrase, Segment, Trend
from luodi.stages.understand.opportunity import Ranked, rank_needs
from luodi.stages.understand.places import place_needs, radius
from luodi.stages.understand.quoting import choose_quotes
from luodi.stages.understand.segments import find_segments
from luodi.stages.understand.sizes import shares
from luodi.stages.understand.trends import find_trends

MOST_DETAILS, SMALLEST_DETAIL = 5, 10
NEIGHBOURS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    needs: tuple[Need, ...]
    """By rank; numbered by it, from 1."""
    parents: tuple[Parent, ...]
    numbers: Array
    """k: of each group its need's number."""

    @property
    def confirmed_share(self) -> float:
        """Of all messages, those in confirmed needs; as people put it right, where they have."""
        whole = sum(need.num_messages for need in self.needs)
        return sum(
            need.share.value if need.is_corrected else need.num_messages / whole
            for need in self.needs if need.is_confirmed
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """Of each group, in the order of their labels."""

    named: Sequence[tuple[Phrase, ...]]
    shares: Sequence[Measure]
    trends: Sequence[Trend | None]
    ranked: Sequence[Ranked]
    segments: Sequence[tuple[Segment, ...]]
    details: Sequence[tuple[Detail, ...]]
    places: Floats
    radii: Floats
    nearest: Array
    """k x up to NEIGHBOURS labels."""
    money: Floats | None
    """n: what each message brings, with its weight."""


def describe(messages: Messages, fewest_users: int) -> Described:
    labels, count, weights = messages.grouping.labels, messages.grouping.count, messages.weights
    phrases = find_phrases(messages.feedback, messages.words)
    trends = find_trends(messages.calendar, labels, count, weights)
    sized = shares(labels, count, weights, messages.speakers)
    sizes = np.array([m.value for m in sized])
    centres, money = centres_of(messages.points, labels), messages.money
    told = _Told(
        named=name_needs(phrases, messages.feedback, labels, fewest_users), shares=sized, trends=trends,
        ranked=rank_needs(labels, count, weights, messages.speakers, messages.feelings, money, trends),
        segments=find_segments(messages.feedback, labels, count, messages.speakers),
        details=_details(messages, phrases, fewest_users),
        places=place_needs(centres, sizes), radii=radius(sizes), nearest=_nearest(centres),
        money=None if money is None else money * weights,
    )  # fmt: skip
    order = _order(told.ranked, messages.grouping.is_confirmed)
    numbers = np.empty(count, np.int64)
    numbers[order] = np.arange(1, count + 1)
    needs = tuple(_need(messages, told, label, numbers, fewest_users) for label in order)
    return Described(needs=needs, parents=tuple(_parents(messages, phrases, numbers, fewest_users)), numbers=numbers)


def _order(ranked: Sequence[Ranked], is_confirmed: Array) -> list[int]:
    """What is confirmed first, each by the lower end of its score."""
    return sorted(range(len(ranked)), key=lambda k: (not is_confirmed[k], -ranked[k].opportunity.score.low, k))


def _nearest(centres: Array) -> Array:
    alike = centres @ centres.T
    np.fill_diagonal(alike, -2.0)
    return np.argsort(-alike, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(centres) - 1)]


def _need(messages: Messages, told: _Told, label: int, numbers: Array, fewest_users: int) -> Need:
    members, core, grouping = messages.members(label), messages.core(label), messages.grouping
    weights = messages.weights[members]
    is_shown = messages.num_speakers(label) >= fewest_users
    phrases = told.named[label] if is_shown else ()
    return Need(
        id=int(numbers[label]), names=names_of(phrases), phrases=phrases,
        quotes=choose_quotes(messages.feedback, core, members, messages.points, phrases) if is_shown else (),
        num_messages=round(float(weights.sum())),
        num_users=messages.num_speakers(label) if messages.knows_users else 0,
        share=told.shares[label], is_corrected=False, stability=float(grouping.stability[label]),
        is_confirmed=bool(grouping.is_confirmed[label]), parent=int(grouping.parents[label]) + 1,
        neighbours=tuple(int(numbers[other]) for other in told.nearest[label]),
        details=told.details[label] if is_shown else (),
        tail_share=float(np.average(grouping.is_tail[members], weights=weights)),
        kinds=_parts([messages.feelings.kinds[i] for i in members], weights, KINDS),
        sentiment=_mean(messages, messages.feelings.sentiment, members),
        urgency=_mean(messages, messages.feelings.pressing, members),
        opportunity=told.ranked[label].opportunity, ranks=told.ranked[label].ranks,
        languages=_parts([_language(messages.feedback[i]) for i in members], weights),
        place=(round(float(told.places[label, 0]), 4), round(float(told.places[label, 1]), 4)),
        radius=round(float(told.radii[label]), 4), trend=told.trends[label], segments=told.segments[label],
        money=float(told.money[members].sum()) if told.money is not None and is_shown else None,
    )  # fmt: skip


def _language(message: Feedback) -> str:
    return message.language or script(message.text)


def _mean(messages: Messages, values: Floats, members: Array) -> Measure:
    speakers = np.unique(messages.speakers[members], return_inverse=True)[1]
    return mean_by_group(values[members], messages.weights[members], speakers)


def _parts(kinds: Sequence[str], weights: Floats, order: Sequence[str] = ()) -> Mapping[str, float]:
    counts: Counter[str] = Counter(dict.fromkeys(order, 0))
    for kind, weight in zip(kinds, weights, strict=True):
        counts[kind] += weight
    return {kind: float(count / weights.sum()) for kind, count in counts.items() if count}


def _details(messages: Messages, phrases: Phrases, fewest_users: int) -> list[tuple[Detail, ...]]:
    """Of each need the largest of the finer groups that lie mostly in it."""
    fine, labels = messages.grouping.details, messages.grouping.labels
    table = np.zeros((messages.grouping.count, int(fine.max()) + 1))
    np.add.at(table, (labels, fine), messages.weights)
    if table.shape[1] <= table.shape[0]:
        return [()] * len(table)
    named = name_needs(phrases, messages.feedback, fine, fewest_users)
    found = []
    for row in table:
        own = [k for k in np.argsort(-row, kind="stable") if row[k] >= max(SMALLEST_DETAIL, 0.5 * table[:, k].sum())]
        told = [Detail(names=names_of(named[k]), num_messages=round(float(row[k]))) for k in own if named[k]]
        found.append(tuple(told[:MOST_DETAILS]) if len(told) > 1 else ())
    return found


def _parents(messages: Messages, phrases: Phrases, numbers: Array, fewest_users: int) -> Iterator[Parent]:
    """The wider needs, where they are fewer than the needs."""
    parents = messages.grouping.parents
    if len(np.unique(parents)) == len(parents):
        return
    wide = parents[messages.grouping.labels]
    named = name_needs(phrases, messages.feedback, wide, fewest_users)
    whole = messages.weights.sum()
    for parent in np.unique(parents).tolist():
        needs = sorted(int(numbers[label]) for label in np.flatnonzero(parents == parent))
        share = float(messages.weights[wide == parent].sum() / whole)
        yield Parent(id=parent + 1, names=names_of(named[parent]), needs=tuple(needs), share=share)
