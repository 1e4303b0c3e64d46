"""The bytes of a file, unpacked where gzip packed them, up to a limit: a small archive may hold more than a machine."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.prepare.sources import PACKED, unreadable

STEP = 1 << 20
FREE_BYTES = 64 << 20
"""So much is unpacked of anything."""
MOST_TIMES = 100
"""Beyond that, no more than so many times the archive's own size: tables shrink to a fifth, seldom to a fiftieth; what
shrinks to a hundredth holds nothing to learn, or is meant to fill the memory (gzip's own limit is 1,032)."""


def read_bytes(path: Path, name: str) -> bytes:
    """Raises DataError in one line where it cannot be read or unpacked."""
    try:
        return _unpacked(path, name) if path.suffix.lower() == PACKED else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        message = tr("{file} cannot be unpacked: it is cut short, damaged, or not packed by gzip.").format(file=name)
        raise DataError(message, code="data.gzip", hint=tr("Fetch it anew, or unpack it yourself.")) from error
    except OSError as error:
        raise unreadable(error, name) from error


def _unpacked(path: Path, name: str) -> bytes:
    most = max(FREE_BYTES, MOST_TIMES * path.stat().st_size)
    parts: list[bytes] = []
    size = 0
    with gzip.open(path) as packed:
        while part := packed.read(STEP):
            size += len(part)
            if size > most:
                message = tr("{file} unpacks to more than {size:.0f} MB, {times} times its own size: not a table.")
                message = message.format(file=name, size=most / 1e6, times=round(most / path.stat().st_size))
                raise DataError(message, code="data.gzip", hint=tr("Unpack it yourself if it is meant to be so."))
            parts.append(part)
    return b"".join(parts)
