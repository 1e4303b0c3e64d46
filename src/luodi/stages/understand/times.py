"""Points in time as people write them; one way of writing for a whole column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y%m%d", "%m-%d-%Y", "%d-%m-%Y", "%m-%d-%Y %H:%M",
    "%d-%m-%Y %H:%M", "%m-%d-%Y %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%d %b %Y", "%b %d %Y", "%d %B %Y", "%B %d %Y",
)  # fmt: skip
_FIRST_SECOND, _LAST_SECOND = 946_684_800, 4_102_444_800  # 2000 to 2100: other numbers are no seconds since 1970


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    times: tuple[datetime | None, ...]
    is_ambiguous: bool = False
    """Whether month and day could as well have been the other way round."""


def times_of(values: Sequence[Any]) -> Times:
    """None where a value is none. Without a time zone UTC is meant."""
    plain = [_plain(value) for value in values]
    exact = [_exact(value, text) for value, text in zip(values, plain, strict=True)]
    if all(t is not None or not text for t, text in zip(exact, plain, strict=True)):
        return Times(times=tuple(exact))
    ways = [[_by(text, way) for text in plain] for way in _FORMATS]
    counts = [sum(t is not None for t in times) for times in ways]
    best = max(range(len(ways)), key=lambda i: counts[i])
    if counts[best] <= sum(t is not None for t in exact):
        return Times(times=tuple(exact))
    swapped = _FORMATS[best].replace("%m-%d-%Y", "%d-%m-%Y")
    is_ambiguous = swapped != _FORMATS[best] and counts[_FORMATS.index(swapped)] == counts[best]
    return Times(times=tuple(ways[best]), is_ambiguous=is_ambiguous)


def _plain(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    text = re.sub(r"\s*年\s*|\s*月\s*", "-", text)
    text = re.sub(r"\s*日\s*", " ", text).strip()
    if re.fullmatch(r"\d+\.\d+", text):
        return text
    date, colon, seconds = text.replace(",", "").partition(":")  # after it a dot begins a fraction of a second
    return re.sub(r"(?<=\d)[/.](?=\d)", "-", date) + colon + seconds


def _exact(value: Any, text: str) -> datetime | None:
    """ISO 8601, a date of the file's own, or seconds or milliseconds since 1970."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if re.fullmatch(r"\d{10}(\.\d+)?|\d{13}", text):
        seconds = float(text) / (1000 if len(text) == 13 else 1)
        return datetime.fromtimestamp(seconds, UTC) if _FIRST_SECOND <= seconds < _LAST_SECOND else None
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _by(text: str, way: str) -> datetime | None:
    if not text or ("%H" in way) != (":" in text):
        return None
    try:
        return datetime.strptime(text, way).replace(tzinfo=UTC)
    except ValueError:
        return None
