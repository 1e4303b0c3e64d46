"""Columns that neither the model nor anybody asked for, and by which scores are still worth looking at: a shop, a
channel, a month."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from luodi.core.types import Row

MOST_COLUMNS = 30
MOST_VALUES = 20
LEAST_FILLED = 0.5
LONGEST = 40  # characters: more is no name of a part
MOST_MONTHS = 24
_DATE = re.compile(r"((?:19|20)\d\d)[-/.年](0?[1-9]|1[0-2])(?!\d)")

Tags = tuple[tuple[str, str], ...]


def tags_of(rows: Sequence[Row], used: Set[str]) -> list[Tags]:
    """Of each row, (column, value) for every column outside of `used` that has few different values, or dates: those
    are told by their month, or their year where there are many months."""
    names = [n for n in dict.fromkeys(name for row in rows[:1] for name in row) if n not in used][:MOST_COLUMNS]
    columns = {name: told for name in names if (told := _told([row.get(name) for row in rows]))}
    return [
        tuple((_plain(name), column[i]) for name, column in columns.items() if column[i]) for i in range(len(rows))
    ]


def _told(cells: Sequence[object]) -> list[str]:
    """What each cell says, "" for nothing; no list where the column tells no parts apart."""
    words = ["" if cell is None else _plain(str(cell).strip()) for cell in cells]
    filled = [word for word in words if word]
    if len(filled) < LEAST_FILLED * len(words) or max(map(len, filled), default=0) > LONGEST:
        return []
    if sum(_DATE.match(str(cell).strip()) is not None for cell in cells if cell is not None) >= 0.9 * len(filled):
        words = _dates(cells)
        filled = [word for word in words if word]
        return words if len(set(filled)) >= 2 else []
    return words if 2 <= len(set(filled)) <= MOST_VALUES else []


def _dates(cells: Sequence[object]) -> list[str]:
    found = [_DATE.match("" if cell is None else str(cell).strip()) for cell in cells]
    months = [f"{m[1]}-{int(m[2]):02}" if m else "" for m in found]
    return months if len(set(months)) <= MOST_MONTHS else [m[1] if m else "" for m in found]


def _plain(word: str) -> str:
    """Points part the names of slices from one another."""
    return word.replace(".", "_")
