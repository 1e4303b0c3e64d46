"""What a stage says while it works. Nothing is printed here: the CLI listens to the logger `luodi`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger("luodi")


def say(line: str) -> None:
    """One line that the user should see and may want to read again."""
    _log.info(line)


def progress(what: str, done: float, total: float, note: str = "") -> None:
    """A moving bar; `done` and `total` share any unit."""
    _log.info(what, extra={"bar": (done, total, note)})


@contextmanager
def silent() -> Iterator[None]:
    """Inside, nothing is said: what is done a second time has been told the first time."""
    before = _log.disabled
    _log.disabled = True
    try:
        yield
    finally:
        _log.disabled = before


def clock_time(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
