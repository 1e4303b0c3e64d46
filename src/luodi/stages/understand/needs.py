"""A need: what many messages have in common, and all that is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from luodi.core.measure import Measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """Words of users, as they wrote them."""

    text: str
    language: str
    """"zh" or "en"."""
    count: int
    """Messages of this need that hold it."""
    log_odds: float
    """How much likelier in this need than in the others, in standard errors (Monroe et al. 2008)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """A message, or a span of one, as it was written."""

    row: int
    text: str
    user: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """A week, or what else the messages were counted by."""

    start: str
    """ISO date of its first day."""
    count: int
    """Messages of this need."""
    total: int
    """All messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    ratio: Measure
    """Share of the newer half of the periods over that of the older."""
    q: float
    """p, corrected for having looked at every need (Benjamini and Hochberg 1995)."""
    periods: tuple[Period, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A kind of people among whom the need is commoner than among the others."""

    column: str
    value: str
    lift: Measure
    """Share among them over share among all others."""
    q: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Opportunity:
    """size x severity x growth x value x unmet; needs are ranked by the lower end."""

    score: Measure
    factors: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """A finer need."""

    names: Mapping[str, str]
    num_messages: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Against an earlier run."""

    kind: str
    """"grew", "shrank", "same", "appeared", "part", "met", "gone"."""
    was: int
    """The number that it, or what it is now a part of, had then; 0: there was none."""
    names: Mapping[str, str]
    """As it was called then."""
    ratio: Measure | None = None
    """Its share now over that of then."""
    q: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    id: int
    """From 1; stays while the messages do, also where sizes are put right."""
    names: Mapping[str, str]
    """Language ("zh", "en") to words of its users; empty where too few have spoken."""
    phrases: tuple[Phrase, ...]
    quotes: tuple[Quote, ...]
    num_messages: int
    num_users: int
    """0 where users are not known."""
    share: Measure
    """Of all messages; corrected where people have checked some."""
    is_corrected: bool
    stability: float
    """Mean Jaccard overlap with what is found in subsamples of the messages, 0 to 1 (Hennig 2007)."""
    is_confirmed: bool
    parent: int
    """Number of the wider need that it is a part of, from 1."""
    neighbours: tuple[int, ...]
    """Numbers of those that are most like it, the nearest first."""
    details: tuple[Detail, ...]
    """Finer needs in it."""
    tail_share: float
    """Of its messages, those that lie nearer to another need: the long tail."""
    kinds: Mapping[str, float]
    """Shares of "bug", "wish", "question", "praise", "other"."""
    sentiment: Measure
    """Mean from -1 to 1."""
    urgency: Measure
    """Share of messages with words of loss, blocking, deadlines, leaving."""
    opportunity: Opportunity
    ranks: tuple[int, int]
    """Between which ranks it lay in 95 of 100 draws of other users."""
    languages: Mapping[str, float]
    """Shares of "zh", "en", "mixed", "other"."""
    place: tuple[float, float]
    """On the map of needs, which is 1 wide."""
    radius: float
    trend: Trend | None = None
    segments: tuple[Segment, ...] = ()
    money: float | None = None
    """Sum of what its customers bring."""
    change: Change | None = None

    @property
    def is_shown(self) -> bool:
        """Whether enough people speak of it for their words to be shown."""
        return bool(self.quotes)

    def name(self, language: str) -> str:
        """In a language where it has one there, else in the one it has."""
        return self.names.get(language) or next(iter(self.names.values()), f"#{self.id}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """A wider need."""

    id: int
    names: Mapping[str, str]
    needs: tuple[int, ...]
    share: float
