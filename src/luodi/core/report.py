"""What a verb leaves behind: the verdict, numbers with their intervals, findings, the next command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from luodi.core.measure import Measure


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
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=False)


def read_report(path: Path) -> Report:
    """Raises OSError where there is none, msgspec.ValidationError where it is not one."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
