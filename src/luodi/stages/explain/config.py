"""Settings of `explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from luodi.core.task import Task
from luodi.errors import ConfigError
from luodi.messages import tr

Method = Literal["occlusion", "shapley", "gradient", "integrated"]
GRADIENTS = ("gradient", "integrated")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainSettings:
    method: Method = "occlusion"
    """occlusion: each part hidden in turn; shapley: parts hidden in random orders, fairer where parts say the same;
    gradient and integrated: from the network's gradients, fast, for tasks that are read in one pass."""
    samples: int = 16
    """Random orders of `shapley`."""
    steps: int = 32
    """Points on the way of `integrated`, up to eight times as many where they do not suffice."""
    orders: int = 10
    """Random orders that the reasons are held against."""
    rows: int = 40
    """Validation rows that are explained where no input is named."""
    neighbours: int = 5
    """Training rows shown beside an answer."""


SETTINGS = ExplainSettings


def check(settings: ExplainSettings, task: Task[Any, Any]) -> None:
    """Raises ConfigError where a count is too small to say anything."""
    for name, least in (("samples", 2), ("steps", 2), ("orders", 5), ("rows", 1), ("neighbours", 0)):
        value = getattr(settings, name)
        if value < least:
            message = tr("explain.{name} is {value}; it must be at least {least}.")
            hint = tr("Leave it out: the value it comes with will do.")
            raise ConfigError(message.format(name=name, value=value, least=least), code="config.value", hint=hint)
