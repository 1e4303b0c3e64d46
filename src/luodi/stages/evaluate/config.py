"""Settings of `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings:
    errors: int = 200
    """How many wrong answers the report lists, the most confident first."""


SETTINGS = EvaluateSettings
