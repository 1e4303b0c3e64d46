"""What people ask a service and what it answers, in a file of SQLite, where that is wanted: feedback for `understand`.

Personal data is masked before anything is written. No answer waits for the disk: what was said gathers in the event
loop, and once a second a thread of its own writes it down. What cannot be kept is counted, and the log says why.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from luodi.core.bundle import GoldenPair
from luodi.core.modality import Codec
from luodi.core.personal import mask
from luodi.errors import ConfigError, ResourceError
from luodi.messages import tr
from luodi.stages.serve.batcher import Worker

TABLE = "traffic"
EVERY_S = 1.0
MOST_WAITING = 10_000
"""Exchanges that are not on disk yet; while the disk cannot take them, more are lost."""
_LOCKED_S = 5.0
_log = logging.getLogger("luodi.serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One input and its answer, as a row of the table."""

    time: str
    """ISO 8601, UTC."""
    text: str
    """A conversation as the JSON list of its turns."""
    answer: str
    confidence: float | None
    model: str
    """Identity of the Bundle that answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """An Exchange to be, as it came."""

    time: str
    input: Any
    answer: GoldenPair
    model: str


_COLUMNS = tuple(field.name for field in fields(Exchange))


class Traffic:
    """The store of one service. But for `_write`, which runs in the worker's thread, it lives in the event loop."""

    def __init__(self, path: Path, most: int, observe: Callable[[str, int], None]) -> None:
        self._path = path
        self._most = most
        """Rows that are kept; the oldest make place."""
        self._worker = Worker("luodi-traffic")
        self._observe = observe
        """Told how many exchanges were "kept" or "lost"."""
        self._waiting: list[_Said] = []
        self._turn = asyncio.Lock()

    def note(self, inputs: Sequence[Any], answers: Sequence[GoldenPair], model: str) -> None:
        """`inputs` as they travel. Takes no time: masking and writing come later."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        said = [_Said(time=now, input=i, answer=a, model=model) for i, a in zip(inputs, answers, strict=True)]
        room = max(MOST_WAITING - len(self._waiting), 0)
        self._waiting += said[:room]
        if said[room:]:
            self._observe("lost", len(said[room:]))

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop()

    async def run(self) -> None:
        """Writes for ever. Where it is cancelled, a write under way goes on, and the next `flush` waits for it."""
        while True:
            await asyncio.sleep(EVERY_S)
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        async with self._turn:
            rows, self._waiting = self._waiting, []
            if not rows:
                return
            try:
                await self._worker.do(partial(self._write, rows))
                self._observe("kept", len(rows))
            except sqlite3.Error as error:  # answering goes on: who watches sees it in the log and in /metrics
                self._observe("lost", len(rows))
                _log.error("%d exchanges could not be kept in %s: %s", len(rows), self._path, error)

    def open(self) -> None:
        """Makes the file where there is none, for its owner alone. Raises ResourceError where it cannot be written."""
        try:
            self._path.touch(mode=0o600)
            with closing(self._connect()) as database, database:
                database.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY, {', '.join(_COLUMNS)})")
                database.execute(f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} LIMIT 1")
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            message = tr("Traffic cannot be kept in {file}: {reason}.").format(file=self._path, reason=reason)
            raise ResourceError(
                message, code="serve.traffic", hint=tr("Name a new file in a folder that can be written.")
            ) from error

    def _write(self, said: Sequence[_Said]) -> None:
        signs = ", ".join("?" for _ in _COLUMNS)
        with closing(self._connect()) as database, database:
            rows = [astuple(_exchange(one)) for one in said]
            database.executemany(f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({signs})", rows)
            database.execute(f"DELETE FROM {TABLE} WHERE id <= (SELECT max(id) FROM {TABLE}) - ?", (self._most,))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_LOCKED_S)


@asynccontextmanager
async def keeping(traffic: Traffic | None) -> AsyncIterator[None]:
    """What is noted meanwhile is on disk in the end."""
    if traffic is None:
        yield
        return
    traffic.start()
    writing = asyncio.create_task(traffic.run())
    try:
        yield
    finally:
        writing.cancel()
        await traffic.flush()
        traffic.stop()


def require_text(codec: Codec[Any]) -> None:
    """Raises ConfigError where inputs are no text: of a picture there is nothing to mask, so nothing may be kept."""
    if "contentEncoding" in codec.schema():
        message = tr("serve.traffic keeps texts alone, and this model reads something else.")
        raise ConfigError(message, code="config.traffic", hint=tr("Leave serve.traffic out."))


def _exchange(said: _Said) -> Exchange:
    text, answer = _plain(said.input), _plain(said.answer.value)
    return Exchange(time=said.time, text=text, answer=answer, confidence=said.answer.confidence, model=said.model)


def _plain(wire: Any) -> str:
    clean = _clean(wire)
    return clean if isinstance(clean, str) else json.dumps(clean, ensure_ascii=False)


def _clean(wire: Any) -> Any:
    """The same without personal data, wherever in it a text stands."""
    if isinstance(wire, str):
        return mask(wire).text
    if isinstance(wire, dict):
        return {name: _clean(value) for name, value in wire.items()}
    return [_clean(value) for value in wire] if isinstance(wire, (list, tuple)) else wire
