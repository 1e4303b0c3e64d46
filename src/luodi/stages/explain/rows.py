"""A sample of rows explained: can its reasons be believed, which words count for which answer, does int8 agree?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.measure import Measure, Metric, with_interval
from luodi.core.progress import progress
from luodi.core.types import Example, Floats, X, Y
from luodi.messages import tr
from luodi.stages.explain.config import GRADIENTS, ExplainSettings
from luodi.stages.explain.explain import Explained, as_row, explain, reasons_of, unit_in_words
from luodi.stages.explain.faithfulness import FEWEST, rank_agreement
from luodi.stages.explain.findings import find_in_rows

SHOWN = 8
"""Explained rows that the page shows."""
MOST_WORDS = 8
"""Of each answer."""
LEAST_TIMES = 2
"""How often a word must come to be counted among those of an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    numbers: Mapping[str, Measure]
    findings: tuple[str, ...]
    details: Mapping[str, Any]


def explain_rows(
    bundle: Bundle[X, Y], examples: Sequence[Example[X, Y]], settings: ExplainSettings, other: Bundle[X, Y] | None
) -> Sampled:
    """Of rows spread evenly over `examples`. `other`: the compressed Bundle, where there is one."""
    chosen = [examples[i] for i in _spread(len(examples), settings.rows)]
    found: list[Explained[X, Y]] = []
    for done, example in enumerate(chosen):
        progress(tr("explaining"), done, len(chosen))
        if bundle.task.input.units(example.input):
            found.append(explain(bundle, example.input, settings, search=False))
    progress(tr("explaining"), len(chosen), len(chosen))
    numbers = {**_faithful(found), **(_agreement(other, found, settings) if other else {})}
    checked = [e for e in found if e.faithful]
    return Sampled(
        numbers=numbers,
        findings=tuple(find_in_rows(numbers, sum(e.is_believed for e in checked), len(checked))),
        details={
            "explained": [as_row(bundle, e) for e in found[:SHOWN]], "words": _words(bundle, found),
            "areas": _areas(found),
            "is_share": not bundle.task.output.is_choice,
            "method": settings.method, "unit": unit_in_words(bundle.task.strength_unit), "rows": len(found),
        },
    )  # fmt: skip


def _spread(count: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist())) if count else []


def mean_of(name: str, values: Sequence[float], unit: str = "") -> Measure:
    """The mean with its bootstrap interval."""
    metric = Metric(name=name, sums=_never, pool=_mean, unit=unit)
    return with_interval(metric, np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def _never(targets: Sequence[Any], answers: Sequence[Any]) -> Floats:
    raise TypeError("means are made of values, not of answers")


def _faithful(found: Sequence[Explained[Any, Any]]) -> dict[str, Measure]:
    above = [e.faithful.comprehensiveness - e.faithful.random for e in found if e.faithful]
    return {"above_random": mean_of("above_random", above)} if above else {}


def _areas(found: Sequence[Explained[Any, Any]]) -> list[dict[str, Any]]:
    """Comprehensiveness of the reasons, of random orders, of the reasons turned round: rows of a chart."""
    told = [e.faithful for e in found if e.faithful]
    if not told:
        return []
    families = {
        "reasons": [t.comprehensiveness for t in told], "random": [t.random for t in told],
        "reversed": [t.reversed for t in told],
    }  # fmt: skip
    means = {name: mean_of(name, values) for name, values in families.items()}
    return [{"name": name, "value": m.value, "low": m.low, "high": m.high, "n": m.n} for name, m in means.items()]


def _agreement(
    other: Bundle[X, Y], found: Sequence[Explained[X, Y]], settings: ExplainSettings
) -> dict[str, Measure]:
    """Gradients are not compared: compressed Bundles have none."""
    asked = [e for e in found if len(e.units) >= FEWEST and e.method not in GRADIENTS]
    told = []
    for done, explained in enumerate(asked):
        progress(tr("asking the compressed model"), done, len(asked))
        told.append(rank_agreement(explained.weights, reasons_of(other, explained, settings)))
    ordered = [tau for tau in told if tau is not None]
    return {"same_reasons": mean_of("same_reasons", ordered)} if ordered else {}


def _words(bundle: Bundle[Any, Any], found: Sequence[Explained[Any, Any]]) -> list[dict[str, Any]]:
    """Each answer with the parts that speak most for it: the mean over the rows that hold them and got that answer."""
    if not bundle.task.output.is_choice:
        return []
    told: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for explained in found:
        answer = bundle.task.output.caption(explained.answer.value)
        for unit, weight in zip(explained.units, explained.weights, strict=True):
            told[answer][unit.name.casefold()].append(float(weight))
    listed = []
    for answer, units in sorted(told.items()):
        means = {name: (float(np.mean(w)), len(w)) for name, w in units.items() if len(w) >= LEAST_TIMES}
        best = sorted(means, key=lambda name: -means[name][0])[:MOST_WORDS]
        rows = [{"name": name, "weight": means[name][0], "n": means[name][1]} for name in best if means[name][0] > 0]
        listed.append({"answer": answer, "words": rows})
    return listed
