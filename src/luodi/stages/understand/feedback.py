"""What people said: one message, typed, with what is known of who said it and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """One message. Personal data has been taken out of `text` before this is made."""

    row: int
    """Place in the file, from 0."""
    text: str
    copies: tuple[int, ...] = ()
    """Places of the near copies that it stands for, itself not among them."""
    user: str = ""
    """Who said it, as a name that says nothing; empty: not known."""
    time: datetime | None = None
    rating: float | None = None
    """From 0, the worst, to 1, the best, whatever the scale of the file."""
    money: float | None = None
    """What this customer brings, in the file's own unit."""
    language: str = ""
    """As the file says it, as a code where it is known: "zh", "en"; empty: it says nothing."""
    segments: Mapping[str, str] = field(default_factory=dict)
    """Of each column that divides people into a few kinds, the kind."""
    attachment: str = ""
    """Name of a picture, a sound or a file that came with it; it is never opened."""

    @property
    def weight(self) -> int:
        """How many messages this is."""
        return 1 + len(self.copies)
