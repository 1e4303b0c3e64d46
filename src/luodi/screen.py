"""The terminal: lines and one moving bar on standard error, so that standard output stays for answers."""

from __future__ import annotations

import logging
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from luodi.core.progress import clock_time
from luodi.messages import one_line, tr

WIDTH = 24  # of the bar, in characters
REDRAW_S = 0.2
QUIET_S = 30.0  # between two lines where the output is no terminal


class Screen(logging.Handler):
    """Listens to the logger `luodi`; `progress` records carry `bar`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.stream = stream or sys.stderr
        self._drawn = 0.0
        self._began: dict[str, tuple[float, float]] = {}
        """When each bar was first heard of, and how far it was: a run that goes on does not begin at 0."""
        self._last: dict[str, float] = {}
        self._is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        bar = getattr(record, "bar", None)
        if bar:
            self._bar(record.getMessage(), *bar)
            return
        self._close()
        self.stream.write(record.getMessage() + "\n")
        self.stream.flush()

    def _bar(self, what: str, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        if done < self._last.get(what, done):  # another one of this name, after one that did not come to its end
            self._began.pop(what, None)
        self._last[what] = done
        began, start = self._began.setdefault(what, (now, done))
        is_terminal = self.stream.isatty()
        if done < total and now - self._drawn < (REDRAW_S if is_terminal else QUIET_S):
            return
        self._drawn = now
        share = min(done / total, 1.0) if total else 1.0
        gone = done - start
        left = (now - began) * (total - done) / gone if gone > 0.02 * total else float("nan")
        filled = round(share * WIDTH)
        clock = "" if left != left else tr(", {time} left").format(time=clock_time(left))
        line = f"{what} [{'#' * filled}{'.' * (WIDTH - filled)}] {done:.0f}/{total:.0f}{clock}  {note}"
        self.stream.write(f"\r\x1b[K{line}" if is_terminal else line + "\n")
        self.stream.flush()
        self._is_open = is_terminal
        if done >= total:
            self._began.pop(what, None)
            self._last.pop(what, None)
            self._close()

    def _close(self) -> None:
        if self._is_open:
            self.stream.write("\n")
            self._is_open = False


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, its columns under one another. Chinese characters take two places."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


_FOR, _AGAINST = (153, 111, 75), (223, 216, 208)  # of the 256 colours: blues and oranges, faint to strong


def painted(units: Sequence[Mapping[str, Any]]) -> str:
    """The parts of an input behind one another: blue where they speak for the answer, orange where against it."""
    return " ".join(_paint(str(unit["name"]), unit["share"]) for unit in units)


def _paint(word: str, share: float) -> str:
    """`share`: -1 to 1, of the strongest part. Control characters of a stranger's text are not sent to a terminal."""
    plain = one_line(word)
    if abs(share) < 0.1:
        return plain
    shade = (_FOR if share > 0 else _AGAINST)[min(int(abs(share) * 3), 2)]
    return f"\x1b[48;5;{shade};38;5;16m{plain}\x1b[0m"


def _width(text: str) -> int:
    """Places that a terminal gives it (Unicode's UAX 11)."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
