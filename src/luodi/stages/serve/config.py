"""Settings of `serve`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    host: str = "127.0.0.1"
    """Other addresses need a key (environment variable LUODI_API_KEY)."""
    port: int = 8000
    """0 takes a free one."""
    max_queue: int = 128
    """Inputs waiting; more are refused with 429."""
    max_batch: int = 32
    """Inputs that go through the model together."""
    max_inputs: int = 64
    """Inputs of one request; more are refused with 422."""
    deadline_ms: int = 10_000
    """A request that took longer is answered with 503; of a stream, each piece."""
    max_new_tokens: int = 512
    """Tokens of a written answer; requests that ask for more are refused with 422."""
    max_body_bytes: int | None = None
    """Longer requests are refused with 413. Not said: what the kind of input needs, 1 MB for texts and 16 MB for
    pictures."""
    progress_ms: int = 5_000
    """/health/progress says 503 where a forward pass takes longer."""
    drain_s: float = 30.0
    """On SIGTERM, the longest that requests under way may take to finish."""
    traffic: str = ""
    """A file of SQLite, in the project's folder, in which inputs and answers are kept for `luodi understand`: texts
    alone, and without personal data that has a form. Empty: nothing is kept."""
    max_traffic: int = 100_000
    """Rows in it; the oldest make place."""
    threads: int | None = None
    """Processor threads of the model; all where it is not set."""


SETTINGS = ServeSettings
