"""Trainings that are broken off, and what must be the same when they went on."""

from __future__ import annotations

from collections.abc import Iterator

from luodi.stages.train import loop


def cut_at(steps: Iterator[loop.Step], stop: int) -> Iterator[loop.Step]:
    for step in steps:
        if step.number == stop:
            raise KeyboardInterrupt
        yield step


def untimed(point: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in point.items() if k not in ("seconds", "tokens_per_s")}
