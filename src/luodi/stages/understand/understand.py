"""`understand`: what people said, to what they need: grouped, proved stable, measured, ranked, in their own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from luodi.core.measure import Measure
from luodi.core.progress import say
from luodi.core.types import Array
from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.understand import checks as checking
from luodi.stages.understand.checks import Checks
from luodi.stages.understand.config import UnderstandSettings
from luodi.stages.understand.describe import Described, describe
from luodi.stages.understand.earlier import Earlier, compare, keep, say_unlike
from luodi.stages.understand.feelings import feel
from luodi.stages.understand.findings import tell
from luodi.stages.understand.grouping import group
from luodi.stages.understand.messages import Messages, speakers_of, weights_of
from luodi.stages.understand.needs import Change, Need
from luodi.stages.understand.reading import Read
from luodi.stages.understand.sizes import NONE, corrected
from luodi.stages.understand.trends import calendar_of
from luodi.stages.understand.vectors import read_texts
from luodi.stages.understand.words import Word, words_of

FEWEST_MESSAGES = 30
CORE, MEMBER, TAIL, COPY, EMPTY = "core", "member", "tail", "copy", "empty"


@dataclass(frozen=True, kw_only=True, slots=True)
class Assigned:
    """One row of the file."""

    id: int
    """Its place there, from 0."""
    need: int | None
    """None where it holds no text."""
    confidence: float | None
    set: str
    """"core": stands for its need; "tail": only loosely in it; "member": between; "copy" of an earlier row; "empty"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Understood:
    needs: tuple[Need, ...]
    numbers: Mapping[str, Measure]
    findings: tuple[str, ...]
    details: Mapping[str, Any]
    """For the page and needs.json; JSON types."""
    assigned: tuple[Assigned, ...]
    check_file: str
    """Content of check.csv, to be filled in."""
    stamp: str
    """Of the needs that numbers mean."""
    kept: Earlier
    """For a later run."""


def understand(
    read: Read, settings: UnderstandSettings, cache: Path, checks: Checks | None = None, earlier: Earlier | None = None
) -> Understood:
    """`cache`: a file of vectors that earlier runs have made. Raises DataError where there are too few messages."""
    if len(read.feedback) < FEWEST_MESSAGES:
        message = tr("{count} different messages are too few to find needs in; {least} are the least.")
        raise DataError(
            message.format(count=len(read.feedback), least=FEWEST_MESSAGES), code="feedback.few",
            hint=tr("Read so few with your own eyes."),
        )  # fmt: skip
    texts = [*(f.text for f in read.feedback), *(earlier.texts if earlier else ())]
    words = [words_of(text) for text in texts]
    vectors = read_texts(texts, words, settings.engine, cache)
    own = len(read.feedback)
    messages = _messages(read, words[:own], vectors.points[:own], settings)
    say(tr("Naming and measuring {count} needs.").format(count=messages.grouping.count))
    described = describe(messages, settings.fewest_users)
    stamp = checking.stamp_of(messages.grouping.labels)
    kept = keep(messages, described)
    lost: tuple[Change, ...] = ()
    unlike = say_unlike(messages.grouping.count, earlier) if earlier else ""
    if earlier and not unlike:
        described, lost = compare(messages, described, earlier, vectors.points[own:])
    fits = checks is not None and checks.stamp == stamp
    right = checking.meant(checks, range(1, messages.grouping.count + 1)) if checks and fits else {}
    if len(right) >= checking.FEWEST:
        described = _put_right(messages, described, right)
    told = (*filter(None, [unlike]), *_told(read, vectors.told, messages, checks, right))
    return Understood(
        needs=described.needs, numbers=_numbers(messages, described),
        findings=tuple(tell(messages, described, lost, told)),
        details=_details(messages, described, lost, earlier), assigned=_assigned(read, messages, described.numbers),
        check_file=_check_file(messages, described, settings, stamp), stamp=stamp, kept=kept,
    )  # fmt: skip


def _messages(
    read: Read, words: Sequence[Sequence[Word]], points: Array, settings: UnderstandSettings
) -> Messages:  # fmt: skip
    return Messages(
        feedback=read.feedback, words=words, points=points, grouping=group(points, settings.seed),
        feelings=feel(read.feedback, words),
        calendar=calendar_of([f.time for f in read.feedback]), weights=weights_of(read.feedback),
        speakers=speakers_of(read.feedback),
    )  # fmt: skip


def _put_right(messages: Messages, described: Described, right: Mapping[int, int]) -> Described:
    """With sizes as the checked rows say; the order and the numbers of the needs stay."""
    place_of = {f.row: place for place, f in enumerate(messages.feedback)}
    label_of = {int(number): label for label, number in enumerate(described.numbers)}
    checked = {
        place_of[row]: label_of.get(need, NONE) for row, need in right.items() if row in place_of
    }
    found = corrected(messages.grouping.labels, messages.grouping.count, messages.weights, checked)
    needs = [replace(need, share=found[label_of[need.id]], is_corrected=True) for need in described.needs]
    return replace(described, needs=tuple(needs))


def _told(
    read: Read, reader: str, messages: Messages, checks: Checks | None, right: Mapping[int, int]
) -> Iterator[str]:
    """What a reader must know of how it was made."""
    yield reader
    yield messages.feelings.told
    if len(right) >= checking.FEWEST:
        yield tr("Sizes were put right by {count} messages that a person has checked.").format(count=len(right))
    elif right:
        told = tr("{count} rows of check.csv are filled in; from {least} on sizes are put right.")
        yield told.format(count=len(right), least=checking.FEWEST)
    elif checks:
        yield tr("check.csv was filled in for other needs; its answers are kept beside the new one.")
    else:
        yield tr("Sizes are as the messages were divided, and not put right yet: fill in check.csv and run again.")
    yield from read.notes


def _numbers(messages: Messages, described: Described) -> Mapping[str, Measure]:
    grouping = messages.grouping
    confirmed = [need for need in described.needs if need.is_confirmed]
    whole = float(messages.weights.sum())
    agreed = grouping.agreement
    counts = {
        "messages": whole, "users": len(np.unique(messages.speakers)) if messages.knows_users else None,
        "needs": len(described.needs), "confirmed_needs": len(confirmed),
    }  # fmt: skip
    return {
        **{name: Measure.exact(float(count)) for name, count in counts.items() if count is not None},
        "confirmed_share": Measure.exact(described.confirmed_share, n=round(whole)),
        "agreement": Measure(value=agreed.value, low=agreed.low, high=agreed.high, n=len(messages.feedback)),
        "agreement_floor": Measure.exact(agreed.floor, n=len(messages.feedback)),
    }


def _details(
    messages: Messages, described: Described, lost: Sequence[Change], earlier: Earlier | None
) -> Mapping[str, Any]:
    scripts: Counter[str] = Counter()
    for need in described.needs:
        scripts.update({key: share * need.num_messages for key, share in need.languages.items()})
    shares = {key: count / scripts.total() for key, count in scripts.most_common()}
    times = sorted(f.time for f in messages.feedback if f.time)
    told: Mapping[str, Any] = msgspec.to_builtins({
        "needs": described.needs, "parents": described.parents, "lost": list(lost), "languages": shares,
        "is_stable": messages.grouping.is_stable, "levels": messages.grouping.levels,
        "first": f"{times[0]:%Y-%m-%d}" if times else "", "last": f"{times[-1]:%Y-%m-%d}" if times else "",
        "step": messages.calendar.step if messages.calendar else "",
        "earlier": {"first": earlier.first, "last": earlier.last} if earlier else None,
        "knows_users": messages.knows_users,
    }, enc_hook=_plain)  # fmt: skip
    return told


def _plain(value: object) -> object:
    """Numbers of numpy as Python's own; all else as it is said."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _assigned(read: Read, messages: Messages, numbers: Array) -> tuple[Assigned, ...]:
    rows = {row: Assigned(id=row, need=None, confidence=None, set=EMPTY) for row in range(read.num_rows)}
    grouping = messages.grouping
    core = {int(i) for label in range(grouping.count) for i in messages.core(label)}
    for place, message in enumerate(messages.feedback):
        kind = CORE if place in core else TAIL if grouping.is_tail[place] else MEMBER
        need, sure = int(numbers[grouping.labels[place]]), round(float(grouping.confidence[place]), 4)
        rows[message.row] = Assigned(id=message.row, need=need, confidence=sure, set=kind)
        for copy in message.copies:
            rows[copy] = Assigned(id=copy, need=need, confidence=sure, set=COPY)
    return tuple(rows.values())


def _check_file(messages: Messages, described: Described, settings: UnderstandSettings, stamp: str) -> str:
    places = checking.draw_checks(messages.weights, settings.checks, settings.seed)
    needs = [int(described.numbers[label]) for label in messages.grouping.labels]
    names = {need.id: " / ".join(need.names.values()) or f"#{need.id}" for need in described.needs}
    return checking.write_checks(messages.feedback, places, needs, names, stamp)
