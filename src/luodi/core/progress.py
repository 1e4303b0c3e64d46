"""What a stage says while it works. Nothing is printed here: the CLI listens to the logger `luodi`."""

from __future__ import annotations

import logging

_log = logging.getLogger("luodi")


def say(line: str) -> None:
    """One line that the user should see and may want to read again."""
    _log.info(line)


def progress(what: str, done: float, total: float, note: str = "") -> None:
    """A moving bar; `done` and `total` share any unit."""
    _log.info(what, extra={"bar": (done, total, note)})


def clock_time(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
