"""Trainings that are broken off, and what must be the same when they went on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luodi.stages.train import loop
from luodi.stages.train import train as stage


def cut_at(steps: Iterator[loop.Step], stop: int) -> Iterator[loop.Step]:
    for step in steps:
        if step.number == stop:
            raise KeyboardInterrupt
        yield step


def untimed(point: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in point.items() if k not in ("seconds", "tokens_per_s")}


def assert_resumes(fit: Callable[[Path], stage.Trained], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is broken off twice has the loss curve, the scores and the weights of a whole one, bit for bit."""
    monkeypatch.setattr(stage, "CURVE_EVERY", 1)
    whole = fit(folder / "whole")
    monkeypatch.setattr(stage, "SAVE_EVERY_S", 0.0)
    original = loop.training_steps
    for stop in (4, 7):
        monkeypatch.setattr(stage, "training_steps", lambda *a, stop=stop: cut_at(original(*a), stop))
        with pytest.raises(KeyboardInterrupt):
            fit(folder / "broken")
    monkeypatch.setattr(stage, "training_steps", original)
    again = fit(folder / "broken")
    assert len(whole.details["curve"]) > 8
    for key in ("curve", "scores"):
        ours, theirs = ([untimed(p) for p in run.details[key]] for run in (whole, again))
        assert ours == theirs
    files = [(run.bundle / "weights" / "model.safetensors").read_bytes() for run in (whole, again)]
    assert files[0] == files[1]
