"""Rows of a file to Feedback: personal data out first, then one message for all near copies of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from luodi.core.personal import mask
from luodi.core.types import Array
from luodi.errors import DataError
from luodi.messages import tr
from luodi.modalities.text import Text
from luodi.stages.understand.columns import USERS_TURN, Found, numbers
from luodi.stages.understand.config import UnderstandSettings
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.times import times_of

Fold = Callable[[Sequence[str], Sequence[str], Sequence[Array] | None, float], list[int]]
"""Given groups, fingerprints, pieces, threshold: for each place the smallest place of its group."""
_CODES: Mapping[str, str] = {
    **dict.fromkeys(("chinese", "mandarin", "中文", "汉语", "普通话", "简体中文", "繁体中文", "cn"), "zh"),
    **dict.fromkeys(("english", "英文", "英语", "us", "uk"), "en"),
}
_SCALES = (1.0, 3.0, 5.0, 7.0, 10.0, 100.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    feedback: tuple[Feedback, ...]
    notes: tuple[str, ...]
    num_rows: int
    """Of the file, with those that hold no text."""


def read_feedback(
    table: Mapping[str, Sequence[Any]], found: Found, fold: Fold, settings: UnderstandSettings, file: str
) -> Read:
    """`table`: the values of each column, in the order of the file. Raises DataError where no text is left."""
    texts = [_text(value) for value in table[found.text]]
    others = _of_others(table, found)
    texts = ["" if place in others else text for place, text in enumerate(texts)]
    masked = [mask(text) for text in texts]
    kept = [place for place, text in enumerate(texts) if any(c.isalpha() for c in text)]
    if not kept:
        message = tr("{file}: the column {name} holds no text.").format(file=file, name=found.text)
        hint = tr("Name another column: luodi understand FILE text=COLUMN")
        raise DataError(message, code="feedback.empty", hint=hint)
    times, told = _times(table, found)
    ratings, scale = _ratings(table, found, settings.rating_scale)
    users = _users(table, found)
    money = numbers(table[found.money]) if found.money else [None] * len(texts)
    languages = _languages(table, found)
    kinds = {name: table[name] for name in (*found.segments, found.source) if name}
    kinds |= {found.language: languages} if found.language else {}
    rows = [
        Feedback(
            row=place, text=masked[place].text, user=users[place], time=times[place], rating=ratings[place],
            money=money[place],
            attachment=mask(_cell(table, found.attachment, place)).text, language=languages[place],
            segments={name: mask(value).text for name in kinds if (value := _cell(kinds, name, place))},
        )
        for place in kept
    ]  # fmt: skip
    folded = _folded(rows, fold, settings.near_duplicates)
    counts = sum((Counter(masked[place].counts) for place in kept), Counter())
    told += [tr("{count} rows are not what users said; they are left out.").format(count=len(others))] if others else []
    notes = (*told, *scale, *_tell(len(texts) - len(others), len(kept), len(folded), counts, bool(found.user)))
    return Read(feedback=tuple(folded), notes=notes, num_rows=len(texts))


def _text(value: Any) -> str:
    """A cell as a text without control characters; of a conversation, what the user said first and last."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except ValueError:
            value = str(value)
    if isinstance(value, (list, tuple)):
        return _of_conversation(value)
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\r\n", "\n")).strip()


def _of_conversation(turns: Sequence[Any]) -> str:
    said = [
        _text(turn.get("content", turn.get("value", turn.get("message"))))
        for turn in turns
        if isinstance(turn, Mapping) and str(turn.get("role", turn.get("from", "user"))).lower() in USERS_TURN
    ] or [_text(turn.get("message")) for turn in turns if isinstance(turn, Mapping) and "message" in turn]
    said = [text for text in said if text]
    return "\n".join(dict.fromkeys((said[0], said[-1]))) if said else ""


def _of_others(table: Mapping[str, Sequence[Any]], found: Found) -> frozenset[int]:
    """Places of what assistants and agents said, where each row is a turn."""
    turns = table[found.role] if found.role else ()
    return frozenset(place for place, turn in enumerate(turns) if str(turn).strip().casefold() not in USERS_TURN)


def _cell(table: Mapping[str, Sequence[Any]], name: str, place: int) -> str:
    value = table[name][place] if name else None
    return "" if value is None else str(value).strip()


def _times(table: Mapping[str, Sequence[Any]], found: Found) -> tuple[Sequence[datetime | None], list[str]]:
    if not found.time:
        return [None] * len(table[found.text]), []
    read = times_of(table[found.time])
    told: list[str] = []
    missing = sum(t is None for t in read.times)
    if missing:
        told.append(tr("{count} of {all} values of {name} are no time; these messages count in no trend.").format(
            count=missing, all=len(read.times), name=found.time
        ))  # fmt: skip
    if read.is_ambiguous:
        told.append(tr("{name}: month and day could be the other way round; the month was taken first.").format(
            name=found.time
        ))  # fmt: skip
    return read.times, told


def _ratings(
    table: Mapping[str, Sequence[Any]], found: Found, scale: Sequence[float]
) -> tuple[Sequence[float | None], list[str]]:
    """From 0 to 1 on `scale`, the worst and the best; where it is not said, on the smallest usual one that holds all
    values, and that starts at 1 where no 0 was given."""
    if not found.rating:
        return [None] * len(table[found.text]), []
    given = numbers(table[found.rating])
    known = [n for n in given if n is not None]
    if not known:
        return given, []
    worst, best = scale or _scale(min(known), max(known))
    outside = sum(not min(worst, best) <= n <= max(worst, best) for n in known)
    told: list[str] = [tr("Ratings in {name} were read on a scale from {low:g} to {high:g}.").format(
        name=found.rating, low=worst, high=best
    )]  # fmt: skip
    if outside:
        told.append(tr("{count} ratings lie outside of it; they count as its ends.").format(count=outside))
    return [None if n is None else min(max((n - worst) / (best - worst), 0.0), 1.0) for n in given], told


def _scale(low: float, high: float) -> tuple[float, float]:
    if low < 0:
        return -max(high, -low), max(high, -low)
    top = next((scale for scale in _SCALES if high <= scale), high)
    return 1.0 if low >= 1 and top > 1 else 0.0, top


def _languages(table: Mapping[str, Sequence[Any]], found: Found) -> list[str]:
    """"zh-CN", "Chinese" and "中文" are zh."""
    given = [_cell(table, found.language, place).casefold() for place in range(len(table[found.text]))]
    return [mask(_CODES.get(name, re.split("[-_]", name)[0])).text for name in given]


def _users(table: Mapping[str, Sequence[Any]], found: Found) -> list[str]:
    """u1, u2, ... in the order in which they speak up."""
    if not found.user:
        return [""] * len(table[found.text])
    given = [_cell(table, found.user, place) for place in range(len(table[found.text]))]
    names = {name: f"u{i}" for i, name in enumerate(dict.fromkeys(filter(None, given)), 1)}
    return [names.get(name, "") for name in given]


def _folded(rows: Sequence[Feedback], fold: Fold, threshold: float) -> list[Feedback]:
    """The first of near copies stands for all of them, if they come from one user or none is known: what many say in
    the same words, many have said."""
    modality = Text()
    texts = [row.text for row in rows]
    prints = [f"{row.user} {modality.fingerprint(text)}" for row, text in zip(rows, texts, strict=True)]
    pieces = [modality.pieces(text) for text in texts] if threshold < 1 else None
    groups = fold([""] * len(rows), prints, pieces, threshold)
    members: dict[tuple[int, str], list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault((group, rows[place].user), []).append(place)
    return [
        replace(rows[first], copies=tuple(rows[other].row for other in others)) for first, *others in members.values()
    ]


def _tell(
    num_rows: int, num_texts: int, num_kept: int, counts: Mapping[str, int], knows_users: bool
) -> Iterator[str]:  # fmt: skip
    if num_texts < num_rows:
        yield tr("{count} of {all} rows hold no text.").format(count=num_rows - num_texts, all=num_rows)
    if num_kept < num_texts:
        told = tr("{count} messages are near copies of another one; each counts with its weight.")
        if knows_users:
            told = tr("{count} messages are near copies of another one of the same user; each counts with its weight.")
        yield told.format(count=num_texts - num_kept)
    if counts:
        found = ", ".join(f"[{name}] {count}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))
        yield tr("Personal data was masked before anything else: {found}.").format(found=found)
