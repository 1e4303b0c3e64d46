"""What of `luodi understand` can be set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from luodi.errors import ConfigError
from luodi.messages import tr


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderstandSettings:
    text: str = ""
    """The column of what people said; found by name and kind where not named. So are all others."""
    time: str = ""
    """When they said it; without it there are no trends."""
    user: str = ""
    """Who said it: a name or a number, which is shown nowhere."""
    rating: str = ""
    """How content they were, on any scale."""
    rating_scale: list[float] = field(default_factory=list)
    """The worst and the best that can be given: [0, 10], or [5, 1] where 1 is best; told by the ratings if not said."""
    money: str = ""
    """What the customer brings."""
    language: str = ""
    """In which language they wrote: zh, en-US, English; read off the text where it is not said."""
    source: str = ""
    """Where it was said."""
    attachment: str = ""
    """Name of a file that came with it; it is never opened."""
    segments: list[str] = field(default_factory=list)
    """Columns that divide people into a few kinds."""
    query: str = ""
    """Of a database: a table's name, or a SELECT; the only table where not said."""
    engine: str = "auto"
    """What reads the texts: e5-small, another encoder by its folder or its name on a hub (org/name; the mean of its
    last layer), lexical (words alone), or auto: e5-small where it is there."""
    near_duplicates: float = 0.8
    """Jaccard similarity from which two messages are one, told twice; 1: only equal ones are."""
    fewest_users: int = 5
    """Of a need with fewer users no words are shown (k-anonymity); where users are not known, with fewer messages."""
    checks: int = 150
    """Rows in check.csv."""
    seed: int = 0
    """Everything that is drawn at random is drawn from this."""


def _may_be_encoder(name: str) -> bool:
    return name in ("auto", "e5-small", "lexical") or Path(name).is_dir() or name.count("/") == 1


def check_settings(settings: UnderstandSettings) -> None:
    """Raises ConfigError in one line."""
    rules = (
        ("engine", _may_be_encoder(settings.engine), tr("auto, e5-small, lexical, a folder or a name on a hub")),
        ("rating_scale", len({*settings.rating_scale}) == len(settings.rating_scale) in (0, 2),
         tr("two numbers, the worst and the best")),
        ("near_duplicates", 0.5 <= settings.near_duplicates <= 1, tr("from 0.5 to 1")),
        ("fewest_users", settings.fewest_users >= 1, tr("at least 1")),
        ("checks", settings.checks >= 1, tr("at least 1")),
        ("seed", settings.seed >= 0, tr("at least 0")),
    )
    for name, holds, wanted in rules:
        if not holds:
            message = tr("understand.{name} is {value}; it must be {wanted}.")
            value = getattr(settings, name)
            raise ConfigError(
                message.format(name=name, value=value, wanted=wanted), code="config.understand",
                hint=tr("For example: luodi understand feedback.csv engine=lexical"),
            )  # fmt: skip
