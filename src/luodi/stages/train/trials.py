"""The trials of a search: kept in one file that is whole at any moment, and shown as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from luodi.backends.optuna import Tried, Value
from luodi.core.measure import Measure
from luodi.core.store import write_atomically
from luodi.messages import tr

FILE = "study.json"
SHOWN = 5
"""Trials that a terminal shows, the default beside them; the report page has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    number: int
    """From 1, which has the page's own settings."""
    values: Mapping[str, Value]
    state: Literal["done", "pruned", "diverged"]
    """diverged: its loss was no number."""
    measure: Measure | None = None
    """On the validation rows: of what was sealed, or the last before it was pruned."""
    score: float | None = None
    """Of a trial that is done: the measure's value, so that higher is better."""
    scores: tuple[tuple[float, float], ...] = ()
    """(share of its plan, score then)."""
    key: str = ""
    """Of its result, where it is done."""
    seconds: float = 0.0

    @property
    def tried(self) -> Tried:
        return Tried(values=self.values, score=self.score, scores=self.scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """All trials so far of one page and data, `identity`: however many are wanted."""

    identity: str
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    """As results say when they were published."""
    trials: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial:
        """Of equals the first, so that the default stays where nothing is better."""
        return max((t for t in self.trials if t.score is not None), key=lambda t: (t.score, -t.number))


def write_study(folder: Path, study: Study) -> None:
    write_atomically(folder / FILE, msgspec.json.encode(study))


def longest_study(runs: Path, identity: str) -> Study:
    """The longest search with this identity that lies in `runs`, finished or not; an empty one where there is none."""
    found = [msgspec.json.decode(path.read_bytes(), type=Study) for path in runs.glob(f"search-*/{FILE}")]
    same = [study for study in found if study.identity == identity]
    return max(same, key=lambda study: len(study.trials), default=Study(identity=identity))


def say_values(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name}={say_value(value)}" for name, value in values.items())


def say_value(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_rows(details: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The best trials and the default, for a terminal; `details` as the report of a search has them."""
    trials = details["trials"]
    ranked = sorted((t for t in trials if t["state"] == "done"), key=lambda t: (-t["score"], t["number"]))
    shown = [*ranked[:SHOWN], *(t for t in ranked[SHOWN:] if t["number"] == 1)]
    head = (tr("Trial"), str(details["metric"]), tr("95 % interval"), tr("Settings"))
    return [head, *(_row(t) for t in shown)]


def _row(trial: Mapping[str, Any]) -> tuple[str, ...]:
    measure = trial["measure"]
    spread = f"{measure['low']:.4g} – {measure['high']:.4g}"
    return (str(trial["number"]), f"{measure['value']:.4f}", spread, str(trial["settings"]))


def page_rows(trials: Sequence[Trial], told: Mapping[int, str]) -> list[dict[str, Any]]:
    """JSON types. `told`: number of a trial to what differs from the default, in words."""
    return [{**msgspec.to_builtins(t), "settings": told[t.number]} for t in trials]
