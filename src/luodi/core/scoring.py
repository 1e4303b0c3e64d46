"""From answers to numbers: every metric of a task, its slices, and how far it is above the baselines.

Used wherever a Bundle is judged, so a score means the same at evaluate, compress, serve and monitor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.measure import (
    FEWEST_GROUPS,
    Measure,
    Metric,
    by_group,
    difference,
    firsts,
    mcnemar,
    paired_p,
    with_interval,
)
from luodi.core.task import Task
from luodi.core.types import Example, Prediction, X, Y

SMALLEST_SLICE = 30
"""Fewer examples say too little: at 30, a score of 0.9 has an interval of about +-0.11."""


def deciding_metric(task: Task[Any, Any], quality: Sequence[str] = ()) -> Metric:
    """The contract's first quality limit; the task's own first metric where it names none."""
    by_name = {metric.name: metric for metric in task.metrics}
    return next((by_name[name] for name in quality if name in by_name), task.metrics[0])


def score(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], predictions: Sequence[Prediction[Y]], metric: Metric
) -> dict[str, Measure]:
    """All metrics on all examples, and `metric` on each slice: {"accuracy": ..., "slices.language.zh": ...}."""
    targets, groups = [e.target for e in examples], [e.group for e in examples]
    numbers = {m.name: with_interval(m, m.sums(targets, predictions), groups=groups) for m in task.metrics}
    for name, places in slices_of(task, examples).items():
        part = metric.sums([targets[i] for i in places], [predictions[i] for i in places])
        numbers[f"slices.{name}"] = with_interval(metric, part, groups=[groups[i] for i in places])
    return numbers


def slices_of(task: Task[X, Y], examples: Sequence[Example[X, Y]]) -> dict[str, list[int]]:
    """"family.slice" to places, for slices large enough to speak of, smaller than the whole and different from one
    another (a file for each class makes two names of one slice). Ten users who wrote a thousand rows are ten."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        for family, name in parts_of(task, example).items():
            found[f"{family}.{name}"].append(place)
    groups = [e.group for e in examples]
    large = {
        name: places for name, places in found.items()
        if SMALLEST_SLICE <= len(places) < len(examples) and len(firsts([groups[i] for i in places])) >= FEWEST_GROUPS
    }  # fmt: skip
    first: dict[tuple[int, ...], str] = {}
    for name, places in large.items():
        first.setdefault(tuple(places), name)
    return {k: large[k] for k in sorted(first.values())}


def parts_of(task: Task[X, Y], example: Example[X, Y]) -> dict[str, str]:
    """Family to slice: what the task says of an example, then its file, then what else its row said."""
    told, own = {"source": example.source.replace(".", "_")} if example.source else {}, task.slices(example)
    return {**own, **told, **{k: v for k, v in example.tags if k not in own}}


def against(
    examples: Sequence[Example[X, Y]], predictions: Sequence[Prediction[Y]],
    simple: Mapping[str, Sequence[Prediction[Y]]], metric: Metric,
) -> dict[str, tuple[Measure, float]]:  # fmt: skip
    """Baseline name to (how far we are above it, paired p). McNemar where an answer is right or wrong."""
    targets, groups = [e.target for e in examples], [e.group for e in examples]
    found = {}
    for name, theirs_answers in simple.items():
        ours, theirs = (metric.sums(targets, answers) for answers in (predictions, theirs_answers))
        gap = difference(metric, ours, theirs, groups=groups)
        if np.isin(ours, (0.0, 1.0)).all() and ours.shape[1] == 2:
            ahead = by_group(ours - theirs, groups)[:, 0]  # a whole group speaks once, for the one that is better in it
            p = mcnemar([bool(v) for v in ahead > 0], [bool(v) for v in ahead < 0])
        else:
            p = paired_p(metric, ours, theirs, groups=groups)
        found[name] = (gap if metric.higher_is_better else _negated(gap), p)
    return found


def _negated(gap: Measure) -> Measure:
    return Measure(value=-gap.value, low=-gap.high, high=-gap.low, n=gap.n, unit=gap.unit)
