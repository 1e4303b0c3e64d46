"""Settings of `compress`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressSettings:
    max_loss: float = 0.01
    """Largest loss of the deciding score, on the validation set, that a candidate may bring."""
    max_slice_loss: float = 0.02
    """The same for the worst slice."""
    threads: int | None = None
    """Threads for timing; all of the machine's where not said."""


SETTINGS = CompressSettings
