"""Settings of `prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareSettings:
    validation: float = 0.16
    """Share of groups held back to choose everything that is chosen."""
    test: float = 0.20
    """Share of groups that only `evaluate` and `compress` open."""
    near_duplicates: float = 0.8
    """Jaccard similarity from which two inputs are near copies and stay on one side. 1 turns the search off."""
    leaks: Literal["drop", "keep"] = "drop"
    """Rows of given splits that are copies of held-out rows: dropped, or kept to compare with published scores. Scores
    with them kept are higher than on new rows, and every report says so."""
    giveaways: Literal["refuse", "keep"] = "refuse"
    """Inputs that tell the answer by a mark alone (the answer's own words, a tag at the beginning): refused, or kept
    where rows to come will have the mark as well."""
    rows: int | None = None
    """Take only so many rows, drawn at random: for a quick trial."""


SETTINGS = PrepareSettings
