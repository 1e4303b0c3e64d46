"""Being asked to stop. SIGTERM and Ctrl+C become `Stopped`; where that would cost work, they wait for its end.

Results are made so that a kill at any point loses nothing that was saved; so `Stopped` may be raised anywhere.
`finishing` is for loops that save what they have first.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

PATIENCE_S = 2.0
"""A second signal within it is the same wish: coreutils' `timeout` sends SIGTERM to its child, then to its group."""


class Stopped(KeyboardInterrupt):
    """Not an Exception: what catches errors to go on without them must not go on after this."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number  # as shells tell it: 143 for SIGTERM, 130 for Ctrl+C


@dataclass(slots=True)
class _Wish:
    """Signals are the process's own, and so is what they ask for."""

    number: int = 0
    since: float = 0.0
    loops: int = 0
    """How many `finishing` blocks are open."""


_wish = _Wish()


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Inside, in the main thread, SIGTERM and SIGINT raise Stopped. The old handlers come back after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _wish.number = 0
    asked = (signal.SIGTERM, signal.SIGINT)
    before = {name: signal.getsignal(name) for name in asked}
    # `nohup` and scripts that start a job in the background have it ignored on purpose.
    mine = [name for name in asked if before[name] not in (signal.SIG_IGN, None)]
    for name in mine:
        signal.signal(name, _ask)
    try:
        yield
    finally:
        for name in mine:
            signal.signal(name, before[name])
        _wish.number = 0


def stop_asked() -> bool:
    """For loops inside `finishing`: save, and leave."""
    return bool(_wish.number)


def stop_if_asked() -> None:
    """Raises Stopped where a signal came that was not heard: Python drops what is raised inside a destructor."""
    if _wish.number:
        raise Stopped(_wish.number)


@contextmanager
def finishing() -> Iterator[None]:
    """Inside, a signal only makes `stop_asked` true, and leaving raises Stopped. An impatient one still raises."""
    _wish.loops += 1
    try:
        yield
    finally:
        _wish.loops -= 1
    stop_if_asked()


def _ask(number: int, frame: FrameType | None) -> None:
    is_first = not _wish.number
    if is_first:
        _wish.number, _wish.since = number, time.monotonic()
    if (is_first and not _wish.loops) or time.monotonic() - _wish.since > PATIENCE_S:
        raise Stopped(number)
