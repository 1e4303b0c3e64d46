"""One answer explained: what in the input speaks for it, and how far that can be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic

import msgspec
import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.modality import Unit
from luodi.core.task import AMOUNT
from luodi.core.types import Floats, Prediction, X, Y
from luodi.errors import InputError
from luodi.messages import tr
from luodi.stages.explain.attribution import Question, occlusion, question_of, shapley
from luodi.stages.explain.config import ExplainSettings
from luodi.stages.explain.faithfulness import FEWEST, Faithfulness, judge, rank_agreement

COMPLETE = 0.01
"""Share of the whole by which integrated gradients may miss it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """What a method finds."""

    weights: Floats
    missing: float | None = None
    """Of integrated gradients: by which share of the whole their sum is off."""
    outside: float = 0.0
    """And which share of it stands in no part: in marks at the beginning and the end, which nobody wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained(Generic[X, Y]):
    value: X
    answer: Prediction[Y]
    method: str
    units: tuple[Unit, ...]
    weights: Floats
    """Of each unit: how much it speaks for the answer, in the task's `strength`; methods that look at gradients tell it
    in logarithms of the probability."""
    faithful: Faithfulness | None
    """None where the input has too few parts."""
    missing: float | None = None
    outside: float = 0.0
    """See `Weighed`."""
    shuffled: float | None = None
    """Rank agreement with the reasons of the network with its weights shuffled; None for other engines."""

    @property
    def is_believed(self) -> bool:
        return self.faithful is not None and self.faithful.is_better


def explain(
    bundle: Bundle[X, Y], value: X, settings: ExplainSettings, *, search: bool = True
) -> Explained[X, Y]:  # fmt: skip
    """`search` asks for the normalised faithfulness and for shuffled weights too, which take most of the time. Raises
    InputError where nothing can be hidden, and where the method asks for gradients that engine or task do not have."""
    question = question_of(bundle, value)
    if not question.units:
        raise InputError(tr("There is nothing in the input that could be hidden."), code="explain.nothing")
    found = _weigh(question, settings)
    weights = found.weights
    faithful = judge(question.ask, weights, settings.orders, search=search)
    is_checked = search and bundle.manifest.can_learn and len(weights) >= FEWEST
    other = _with_shuffled(question, weights, settings) if is_checked else None
    return Explained(
        value=value, answer=question.answer, method=settings.method, units=question.units, weights=weights,
        faithful=faithful, missing=found.missing, outside=found.outside, shuffled=other,
    )  # fmt: skip


def reasons_of(bundle: Bundle[X, Y], explained: Explained[X, Y], settings: ExplainSettings) -> Floats:
    """The weights that the same parts have for the same answer in another Bundle, by the same method."""
    question = Question(bundle=bundle, value=explained.value, units=explained.units, answer=explained.answer)
    return _weigh(question, settings).weights


def as_row(bundle: Bundle[X, Y], explained: Explained[X, Y]) -> dict[str, Any]:
    """For the page, the terminal and `--json`: plain JSON types."""
    task, weights = bundle.task, explained.weights
    largest = max(float(np.abs(weights).max(initial=0.0)), 1e-12)
    units = [
        {"name": unit.name, "weight": float(w), "share": float(w) / largest}
        for unit, w in zip(explained.units, weights, strict=True)
    ]
    faithful = explained.faithful
    return {
        "input": task.input.caption(explained.value), "answer": task.output.caption(explained.answer.value),
        "confidence": explained.answer.confidence, "method": explained.method, "units": units,
        "unit": _unit(bundle, explained.method), "is_amount": task.strength_unit == AMOUNT,
        "is_choice": task.output.is_choice, "picture": _heat(bundle, explained, weights / largest),
        "faithful": msgspec.to_builtins(faithful) if faithful else None, "is_believed": explained.is_believed,
        "missing": explained.missing, "outside": explained.outside, "shuffled": explained.shuffled,
    }  # fmt: skip


def _unit(bundle: Bundle[Any, Any], method: str) -> str:
    by_hiding = method in ("occlusion", "shapley")
    return unit_in_words(bundle.task.strength_unit or ("" if by_hiding else "nats"))


def unit_in_words(unit: str) -> str:
    """As whoever reads it says it; bits and nats are called so everywhere."""
    return tr("units") if unit == AMOUNT else unit


def _heat(bundle: Bundle[X, Y], explained: Explained[X, Y], shares: Floats) -> str:
    regions = {r: float(s) for unit, s in zip(explained.units, shares, strict=True) for r in unit.regions}
    return bundle.task.input.heat(explained.value, [regions[r] for r in sorted(regions)])


def _weigh(question: Question[X, Y], settings: ExplainSettings) -> Weighed:
    count = len(question.units)
    if settings.method == "occlusion":
        return Weighed(weights=occlusion(question.ask, count))
    if settings.method == "shapley":
        return Weighed(weights=shapley(question.ask, count, settings.samples))
    return _by_gradients(question, settings)


def _by_gradients(question: Question[X, Y], settings: ExplainSettings) -> Weighed:
    """Of positions, added up to units. What belongs to no unit (the mark at the beginning) is left out."""
    bundle, value = question.bundle, question.value
    if not bundle.manifest.can_learn:
        message = tr("A compressed Bundle has no gradients.")
        hint = tr("Take --method occlusion or shapley, or name the project or the trained Bundle.")
        raise InputError(message, code="explain.method", hint=hint)
    owners = bundle.task.owners(value, bundle.processor)
    from luodi.models.gradients import gradient_times_input, integrated_gradients

    item = bundle.task.encode([value], bundle.processor, [question.answer.value])[0]
    engine: Any = bundle.engine
    if settings.method == "gradient":
        told, missing = gradient_times_input(engine, bundle.task, item), None
    else:
        for times in (1, 2, 4, 8):  # points on the way, until the sum is what the input adds
            told, missing = integrated_gradients(engine, bundle.task, item, times * settings.steps)
            if missing <= COMPLETE:
                break
    count = len(bundle.task.input.regions(value))
    scale = bundle.task.schema.spread
    sums = np.bincount(owners[owners >= 0], told[owners >= 0], minlength=count) * scale
    weights = np.array([float(sums[list(unit.regions)].sum()) for unit in question.units])
    whole = scale * float(told.sum())
    outside = 0.0 if missing is None else 1 - float(weights.sum()) / (whole if abs(whole) > 1e-6 else 1e-6)
    return Weighed(weights=weights, missing=missing, outside=outside)


def _with_shuffled(question: Question[X, Y], weights: Floats, settings: ExplainSettings) -> float | None:
    """The same method on the network with its weights shuffled, for the same answer."""
    from luodi.models.influence import shuffled

    engine: Any = question.bundle.engine
    other = replace(question, bundle=replace(question.bundle, engine=shuffled(engine)))
    return rank_agreement(weights, _weigh(other, settings).weights)
