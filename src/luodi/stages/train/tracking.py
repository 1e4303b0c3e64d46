"""The run as trackers see it. One that fails is told of once and left out: it must not cost the training."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from luodi.backends.quiet import quiet
from luodi.core.config import Brief
from luodi.core.measure import Measure
from luodi.core.progress import say
from luodi.core.tracking import Run, Tracker
from luodi.messages import tr
from luodi.stages.train.checkpoints import Records
from luodi.stages.train.plan import Plan
from luodi.stages.train.setup import Setup

FOLDER = "tracking"
"""Beside the results: what is written there outlives the draft that becomes one."""


class Tracking:
    """Tells each point once, and to all trackers that still answer."""

    def __init__(self, trackers: Mapping[str, Tracker], metric: str) -> None:
        self._trackers = dict(trackers)
        self._metric = metric
        self._curve = 0
        self._scores = 0
        self._step = 0

    def begin(self, run: Run) -> None:
        self._tell(lambda tracker: tracker.begin(run), tr("{tracker} keeps this run; see it: {place}"))

    def follow(self, records: Records) -> None:
        """What has been added to the records. First of all, and after a resume, that is all that they hold."""
        added = [(p.step, {"loss": p.loss, "learning_rate": p.lr, "tokens_per_second": p.tokens_per_s})
                 for p in records.curve[self._curve :]]  # fmt: skip
        name = f"validation_{self._metric}"
        added += [(p.step, {name: p.value, f"{name}_low": p.low, f"{name}_high": p.high})
                  for p in records.scores[self._scores :]]  # fmt: skip
        self._curve, self._scores, self._step = len(records.curve), len(records.scores), records.step
        for step, numbers in sorted(added, key=lambda point: point[0]):
            self._tell(partial(_log, step=step, numbers=numbers))

    def end(self, numbers: Mapping[str, Measure]) -> None:
        told = {name: number.value for name, number in numbers.items()}
        self._tell(lambda tracker: tracker.end(self._step, told))

    def _tell(self, action: Callable[[Tracker], Any], sentence: str = "") -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                with quiet():
                    place = action(tracker)
            except Exception as error:  # of any package, a server, a disk: said here, and the training goes on
                del self._trackers[name]
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                told = tr("{tracker} fails, and training goes on without it: {reason}")
                say(told.format(tracker=name, reason=reason))
            else:
                if sentence:
                    say(sentence.format(tracker=name, place=place))


def make_trackers(names: Sequence[str]) -> dict[str, Tracker]:
    """Raises ResourceError where the package of one is not installed."""
    found: dict[str, Tracker] = {}
    for name in names:
        found[name] = importlib.import_module(f"luodi.backends.{name}").tracker()
    return found


def _log(tracker: Tracker, step: int, numbers: Mapping[str, float]) -> None:
    tracker.log(step, numbers)


@contextmanager
def tracked(trackers: Mapping[str, Tracker], setup: Setup, plan: Plan, brief: Brief) -> Iterator[Tracking]:
    """Inside, the run is followed; where it is broken off, trackers are told."""
    tracking = Tracking(trackers, setup.metric.name)
    told = {"task": brief.task, "model": brief.model, "budget": brief.budget, "seed": brief.seed}
    told |= {f"train.{name}": value for name, value in msgspec.to_builtins(setup.settings).items()}
    told |= {f"plan.{name}": value for name, value in msgspec.to_builtins(plan).items()}
    place = setup.folder.parent / FOLDER
    tracking.begin(Run(name=setup.folder.stem, project=brief.title, folder=place, settings=told))
    try:
        yield tracking
    except BaseException:
        tracking.end({})
        raise
