"""Each candidate as a row of the table: how good it is, how fast and how large, measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np

from luodi.core.batching import item_size
from luodi.core.bundle import Bundle
from luodi.core.measure import Metric
from luodi.core.progress import say
from luodi.core.types import Example, Prediction, X, Y
from luodi.messages import tr
from luodi.stages.compress.candidates import Made, step_of
from luodi.stages.compress.choice import Row
from luodi.stages.compress.gate import Judged, judge, too_slow
from luodi.stages.compress.memory import peak_memory_mb
from luodi.stages.compress.recipes import FOR_OTHERS, LOSSLESS, STUDENTS
from luodi.stages.compress.timing import Timing, spread_by_length, time_all
from luodi.stages.compress.workshop import Workshop

MEMORY_ASKED = 8
"""Inputs at the least, spread over their lengths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench(Generic[X, Y]):
    """What all candidates are measured on, alike."""

    workshop: Workshop
    validation: Sequence[Example[X, Y]]
    """Those that are scored."""
    reference: Sequence[Prediction[Y]]
    """What the trained one answers to them."""
    metric: Metric
    timed: Sequence[X]
    """Inputs, from the shortest to the longest."""


def make_bench(workshop: Workshop, validation: Sequence[Example[X, Y]], metric: Metric) -> Bench[X, Y]:
    trained, settings = workshop.trained, workshop.settings
    drawn = _drawn(validation, settings.scored)
    inputs = [e.input for e in drawn]
    sizes = [item_size(item) for item in trained.task.encode(inputs, trained.processor)]
    return Bench(
        workshop=workshop, validation=drawn, reference=_answers(trained, drawn, metric, "trained"), metric=metric,
        timed=spread_by_length(inputs, sizes, settings.timed),
    )  # fmt: skip


def measure(made: Made, bench: Bench[X, Y], before: Mapping[str, Row]) -> dict[str, Row]:
    """Scores, sizes and times of all that were made. Times are taken of all of them anew, in turns; how good those are
    that were measured `before`, and their memory, is known."""
    judged = {
        name: before[name].judged if name in before else _judge(name, bundle, bench)
        for name, bundle in made.bundles.items()
    }
    own = {name: bundle for name, bundle in made.bundles.items() if name not in FOR_OTHERS}
    times = time_all(own, "trained", bench.timed, bench.workshop.settings.rounds)
    times |= {name: times["trained"] for name in made.bundles if name in FOR_OTHERS}
    rows = {name: _row(name, bundle, judged[name], times[name]) for name, bundle in made.bundles.items()}
    known = {name: row.memory_mb for name, row in before.items()}
    return {name: _with_costs(row, made.bundles[name], bench, known.get(name)) for name, row in rows.items()}


def _judge(name: str, bundle: Bundle[X, Y], bench: Bench[X, Y]) -> Judged:
    """Where it is the same network that was proved when it was made, on golden answers and nine shapes: nothing to
    score anew."""
    same = name == "trained" or name in LOSSLESS
    answers = bench.reference if same else _answers(bundle, bench.validation, bench.metric, name)
    settings = bench.workshop.settings
    gate = replace(settings, min_agreement=0.0) if step_of(name) in STUDENTS else settings
    return judge(bundle.task, bench.validation, answers, bench.reference, bench.metric, gate)


def _row(name: str, bundle: Bundle[Any, Any], judged: Judged, times: Timing) -> Row:
    # In torch and in floats the same network takes the same time, whatever the clock says of it on a busy machine.
    refused = judged.refused or ("" if bundle.manifest.can_learn else too_slow(times.speedup))
    return Row(
        name=name, made_by=bundle.manifest.made_by, size_mb=bundle.size_bytes / 1e6, judged=judged, times=times,
        refused=refused,
    )  # fmt: skip


def _with_costs(row: Row, bundle: Bundle[X, Y], bench: Bench[X, Y], memory: float | None) -> Row:
    """With the memory that it takes, in MB where it is known, and the money where a price is told."""
    if row.refused:
        return row
    workshop, price = bench.workshop, bench.workshop.settings.price_per_hour
    hours = 1e6 / row.times.throughput_per_s.value / 3600
    if memory is None:
        say(tr("{name}: how much memory does it take?").format(name=row.name))
        memory = peak_memory_mb(bundle, bench.timed[:: max(len(bench.timed) // MEMORY_ASKED, 1)], workshop.threads)
    return replace(row, memory_mb=memory, cost_per_million=price * hours if price else None)


def _answers(
    bundle: Bundle[X, Y], examples: Sequence[Example[X, Y]], metric: Metric, name: str
) -> list[Prediction[Y]]:
    return bundle.examine(examples, [metric], tr("scoring {name}").format(name=name))


def _drawn(examples: Sequence[Example[X, Y]], most: int) -> Sequence[Example[X, Y]]:
    """In their own order, and the same ones at every run."""
    if len(examples) <= most:
        return examples
    places = np.random.default_rng(0).choice(len(examples), most, replace=False)
    return [examples[i] for i in sorted(places)]
