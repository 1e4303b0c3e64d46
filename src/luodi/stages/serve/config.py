"""Settings of `serve`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    host: str = "127.0.0.1"
    """Other addresses need a key (environment variable LUODI_API_KEY)."""
    port: int = 8000
    max_queue: int = 128
    """Inputs waiting; more are refused with 429."""
    max_batch: int = 32
    deadline_ms: int = 10_000
    """A request that waited longer is answered with 503."""
    max_body_bytes: int = 1_000_000


SETTINGS = ServeSettings
