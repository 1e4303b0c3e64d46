"""Settings of `prepare`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareSettings:
    validation: float = 0.16
    """Share of groups held back to choose everything that is chosen."""
    test: float = 0.20
    """Share of groups that only `evaluate` and `compress` open."""
    near_duplicates: float = 0.8
    """Jaccard similarity from which two inputs are near copies and stay on one side. 1 turns the search off."""
    rows: int | None = None
    """Take only so many rows, drawn at random: for a quick trial."""


SETTINGS = PrepareSettings
