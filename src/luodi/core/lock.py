"""Who works here. A lock lies on a file, and the operating system drops it when its process ends, however it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

_FAR = 1 << 20  # where Windows locks a byte: it may not be read, and the note at the beginning must be


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The process that holds a lock, in its own words."""

    pid: int
    doing: str
    """The verb, or what is served."""
    since: str
    """ISO time in UTC."""

    @property
    def clock(self) -> str:
        """When it began, as clocks here tell it."""
        return f"{datetime.fromisoformat(self.since).astimezone():%Y-%m-%d %H:%M}"


class TakenError(Exception):
    """Another process holds the lock. It knows no words: who asked for the lock tells the user."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def held(path: Path, doing: str) -> Iterator[None]:
    """Raises TakenError at once where another process, or another thread of this one, holds it."""
    with path.open("ab+", buffering=0) as handle:
        if not _try(handle):
            raise TakenError(_read(path))
        _note(handle, doing)
        yield


def holder_of(path: Path) -> Holder | None:
    """Who holds it now; None where nobody does, or the file is gone."""
    try:
        with path.open("rb") as handle:
            return None if _try(handle) else _read(path)
    except FileNotFoundError:
        return None


def _note(handle: IO[bytes], doing: str) -> None:
    told = Holder(pid=os.getpid(), doing=doing, since=datetime.now(UTC).isoformat(timespec="seconds"))
    # Only a courtesy: a full disk must not keep anybody from clearing the disk.
    with suppress(OSError):
        handle.truncate(0)
        handle.write(json.dumps(asdict(told), ensure_ascii=False).encode())


def _read(path: Path) -> Holder:
    """A process that has the lock and could not say so yet is pid 0."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return Holder(pid=0, doing="?", since=datetime.now(UTC).isoformat(timespec="seconds"))


def _try(handle: IO[bytes]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt  # the Windows name of the same thing

            os.lseek(handle.fileno(), _FAR, os.SEEK_SET)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            os.lseek(handle.fileno(), 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
