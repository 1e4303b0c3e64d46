"""How long candidates take on this machine. They take turns, so that a busy moment hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.measure import DRAWS, Measure
from luodi.core.progress import progress
from luodi.core.types import Floats
from luodi.messages import tr

BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Of one candidate, from raw input to answer. Intervals say how much other inputs would have changed it."""

    p50_ms: Measure
    p95_ms: Measure
    cpu_ms: Measure
    """Median time of all threads together: what a busy neighbour changes less."""
    batch_p50_ms: Measure
    """Median time of a whole batch of 8."""
    batch_p95_ms: Measure
    throughput_per_s: Measure
    """Inputs a second in batches of 8."""
    speedup: Measure
    """Median of the reference over ours, on the same inputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seconds:
    """rounds x inputs; rounds x batches."""

    wall: Floats
    cpu: Floats
    batch: Floats


def time_all(
    bundles: Mapping[str, Bundle[Any, Any]], reference: str, inputs: Sequence[Any], rounds: int
) -> dict[str, Timing]:
    """Each input alone, then in batches; the medians over `rounds` of each input count."""
    found = _take_turns(bundles, inputs, rounds)
    wall = {name: np.median(s.wall, axis=0) * 1e3 for name, s in found.items()}
    return {name: _timing(s, wall[name], wall[reference], len(inputs)) for name, s in found.items()}


def spread_by_length(inputs: Sequence[Any], sizes: Sequence[int], count: int) -> list[Any]:
    """`count` of the inputs, evenly from the shortest to the longest: their quantiles are those of all."""
    order = sorted(range(len(inputs)), key=lambda i: (sizes[i], i))
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [inputs[order[p]] for p in places]


def _take_turns(bundles: Mapping[str, Bundle[Any, Any]], inputs: Sequence[Any], rounds: int) -> dict[str, _Seconds]:
    names = list(bundles)
    rows: dict[str, list[tuple[list[float], list[float], list[float]]]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            row = _one_turn(bundles[name], inputs)
            if turn:  # the first one warms up: kernels are made, pages come into memory
                rows[name].append(row)
        progress(tr("timing"), turn, rounds)
    return {
        name: _Seconds(
            wall=np.array([r[0] for r in turns]), cpu=np.array([r[1] for r in turns]),
            batch=np.array([r[2] for r in turns]),
        )
        for name, turns in rows.items()
    }  # fmt: skip


def _one_turn(bundle: Bundle[Any, Any], inputs: Sequence[Any]) -> tuple[list[float], list[float], list[float]]:
    bundle.predict(inputs[:1])  # takes the caches and cores over from whoever was before
    wall, cpu, batches = [], [], []
    for x in inputs:
        before, used = time.perf_counter(), time.process_time()
        bundle.predict([x])
        wall.append(time.perf_counter() - before)
        cpu.append(time.process_time() - used)
    for start in range(0, len(inputs), BATCH):
        before = time.perf_counter()
        bundle.predict(inputs[start : start + BATCH])
        batches.append(time.perf_counter() - before)
    return wall, cpu, batches


def _timing(seconds: _Seconds, ours: Floats, theirs: Floats, num_inputs: int) -> Timing:
    cpu = np.median(seconds.cpu, axis=0) * 1e3
    speed, batch = num_inputs / seconds.batch.sum(1), np.median(seconds.batch, axis=0) * 1e3
    return Timing(
        p50_ms=_drawn(ours, lambda drawn, _: np.median(drawn, -1), "ms"),
        p95_ms=_drawn(ours, lambda drawn, _: np.quantile(drawn, 0.95, -1), "ms"),
        cpu_ms=_drawn(cpu, lambda drawn, _: np.median(drawn, -1), "ms"),
        batch_p50_ms=_drawn(batch, lambda drawn, _: np.median(drawn, -1), "ms"),
        batch_p95_ms=_drawn(batch, lambda drawn, _: np.quantile(drawn, 0.95, -1), "ms"),
        throughput_per_s=_drawn(speed, lambda drawn, _: np.median(drawn, -1), "/s"),
        speedup=_drawn(ours, lambda drawn, same: np.median(theirs[same], -1) / np.median(drawn, -1), "x"),
    )


def _drawn(values: Floats, statistic: Callable[[Floats, Any], Floats], unit: str) -> Measure:
    """Percentile bootstrap over inputs; `statistic` takes draws x n values and the places that were drawn."""
    n = len(values)
    places = np.random.default_rng(0).integers(n, size=(DRAWS, n))
    low, high = np.quantile(statistic(values[places], places), [0.025, 0.975])
    value = float(statistic(values[None], np.arange(n)[None])[0])
    return Measure(value=value, low=float(low), high=float(high), n=n, unit=unit)
