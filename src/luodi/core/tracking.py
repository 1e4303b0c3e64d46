"""What a tracker of training runs does: TensorBoard, MLflow, Weights & Biases. One file of `backends/` each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a tracker is told of a run before its first step."""

    name: str
    """The same for every resume of a run, and for no other run of the project."""
    project: str
    folder: Path
    """Where a tracker writes that no environment variable sends elsewhere; it outlives the run."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings and plan, by name. JSON types."""


class Tracker(Protocol):
    """Any method may raise what its package raises. `begin` comes first and `end` last."""

    def begin(self, run: Run) -> str:
        """Opens the run, or goes on in it; how to look at it, an address or a command. Whoever calls then tells all
        points from the first step on: those that the run has must not stand in it twice."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Steps never fall; one step may come twice, with other numbers."""

    def end(self, step: int, numbers: Mapping[str, float]) -> None:
        """`numbers`: what the run came to. None at all: it was broken off, and may go on later."""
