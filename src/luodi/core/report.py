"""What a verb leaves behind: the verdict, numbers with their intervals, findings, the next command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from luodi.core.measure import Measure
from luodi.core.store import write_atomically
from luodi.messages import Sentence

_SENTENCE = "$sentence"


class Verdict(StrEnum):
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    DONE = "DONE"

    @property
    def exit_code(self) -> int:
        return 1 if self is Verdict.REFUSED else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One shape for every verb; `--json` prints it and `report.json` keeps it."""

    verb: str
    verdict: Verdict
    numbers: Mapping[str, Measure] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    contract: tuple[Mapping[str, Any], ...] = ()
    """Each limit of the contract: limit, measured, state (kept, broken, open), in words."""
    bundle: str = ""
    report: str = ""
    next: str = ""
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)
    """What only the page shows: curves, tables, errors. JSON types."""

    def to_json(self) -> str:
        """For machines: sentences as text, in the language spoken."""
        return json.dumps(_plain(self), ensure_ascii=False)


def keep_report(path: Path, report: Report) -> None:
    """As `to_json`, but each sentence keeps what it was made of, so that it can be read in another language."""
    write_atomically(path, json.dumps(_kept(report), ensure_ascii=False))


def read_report(path: Path) -> Report:
    """In the language spoken now. Raises OSError where there is none, msgspec.ValidationError where it is not one."""
    return msgspec.convert(_said(json.loads(path.read_bytes())), Report)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)


def _kept(value: Any) -> Any:
    if isinstance(value, Sentence):
        return {_SENTENCE: value.key, "values": {k: _kept_value(v) for k, v in value.values.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _kept(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _kept(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_kept(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _kept_value(value: Any) -> Any:
    """What stood in a sentence: another sentence, a number to be formatted, or what it looked like."""
    return _kept(value) if isinstance(value, (Sentence, bool, int, float)) else str(value)


def _said(value: Any) -> Any:
    if isinstance(value, list):
        return [_said(v) for v in value]
    if not isinstance(value, dict):
        return value
    inner = {k: _said(v) for k, v in value.items()}
    return Sentence.of(inner[_SENTENCE], inner["values"]) if _SENTENCE in inner else inner
