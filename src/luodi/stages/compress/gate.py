"""Whether a candidate may stand for the model that was trained, in numbers and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luodi.core.measure import Measure, Metric, with_interval
from luodi.core.scoring import against, slices_of
from luodi.core.task import Engine, Task
from luodi.core.types import Example, Item, Prediction, X, Y
from luodi.errors import ParityError
from luodi.messages import tr
from luodi.stages.compress.config import CompressSettings

EXPORT_TOLERANCE = 1e-4
"""Of a network's outputs, relative to the largest: fp32 engines add up in different orders, and no more."""
_ROUNDING = 1e-9  # 1 - 0.99 is a little more than 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A candidate on the validation examples, beside the trained model on the same ones."""

    score: Measure
    difference: Measure
    """Above 0 where the candidate is better, whichever way the metric points."""
    agreement: float
    refused: str = ""
    """Why it may not be taken. Empty: it may."""


def judge(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], ours: Sequence[Prediction[Y]],
    trained: Sequence[Prediction[Y]], metric: Metric, settings: CompressSettings,
) -> Judged:  # fmt: skip
    """`ours` and `trained` are the answers of the candidate and of the trained model to `examples`."""
    gap = _gap(examples, ours, trained, metric)
    unit = metric.value([e.target for e in examples], trained) if metric.is_scaled else 1.0
    same = agreement(task, ours, trained)
    groups = [e.group for e in examples]
    score = with_interval(metric, metric.sums([e.target for e in examples], ours), groups=groups)
    refused = (
        _not_numbers(ours)
        or _loses(metric, gap, settings.max_loss * unit)
        or _differs(same, settings)
        or _loses_in_a_slice(task, examples, ours, trained, (metric, settings.max_slice_loss * unit))
    )
    return Judged(score=score, difference=gap, agreement=same, refused=refused)


def agreement(task: Task[X, Y], ours: Sequence[Prediction[Y]], trained: Sequence[Prediction[Y]]) -> float:
    """Share of what both give: of labels, of the entities that either found; of whole answers where nothing is counted.
    One entity among ten that is found otherwise is a tenth of a difference, not another answer."""
    both = all_parts = 0
    for a, b in zip(ours, trained, strict=True):
        mine, theirs = task.output.counted(a.value), task.output.counted(b.value)
        if mine is None or theirs is None:
            both, all_parts = both + 2 * task.is_same(a.value, b.value), all_parts + 2
        else:
            both += 2 * len(set(mine) & set(theirs))
            all_parts += len(mine) + len(theirs)
    return both / all_parts if all_parts else 1.0


def too_slow(speedup: Measure) -> str:
    """A sentence where it is slower than the trained model, and not by chance; 5 % is what two runs differ by."""
    if speedup.value >= 0.95 or speedup.high >= 1:
        return ""
    return tr("It is slower than the trained model: {value:.2f} times its speed.").format(value=speedup.value)


def check_shapes(
    source: Engine, made: Engine, task: Task[Any, Any], items: Sequence[Item], tolerance: float = EXPORT_TOLERANCE
) -> float:
    """Largest difference at nine shapes, the smallest, the longest and the widest among them. An export that took a
    size for a constant fails here, not at the first user with a long text. `tolerance`: inf where numbers are rounded,
    which must still be numbers of the same shape. Raises ParityError."""
    longest = task.schema.max_length
    worst = 0.0
    for count in (1, 3, 8):
        for length in (1, min(17, longest), longest):
            batch = task.collate([task.stretched(items[i % len(items)], length) for i in range(count)])
            expected, found = source.run(batch), made.run(batch)
            for name, array in expected.items():
                if found[name].shape != array.shape or not np.isfinite(found[name]).all():
                    message = tr("Exported, it gives no numbers at {count} x {length}.")
                    raise ParityError(message.format(count=count, length=length), code="compress.export")
                scale = max(1.0, float(np.abs(array).max()))
                worst = max(worst, float(np.abs(array - found[name]).max()) / scale)
            if not worst <= tolerance:
                message = tr("Exported, it answers differently at {count} x {length}: by {worst:.2g}.")
                message = message.format(count=count, length=length, worst=worst)
                raise ParityError(message, code="compress.export")
    return worst


def _gap(
    examples: Sequence[Example[X, Y]], ours: Sequence[Prediction[Y]], trained: Sequence[Prediction[Y]], metric: Metric
) -> Measure:
    return against(examples, ours, {"trained": trained}, metric)["trained"][0]


def _not_numbers(answers: Sequence[Prediction[Any]]) -> str:
    bad = sum(not all(map(math.isfinite, p.numbers)) for p in answers)
    return tr("{count} of its answers are not numbers.").format(count=bad) if bad else ""


def _loses(metric: Metric, gap: Measure, allowed: float) -> str:
    if -gap.value <= allowed + _ROUNDING:
        return ""
    return tr(
        "It loses {loss:.3f} of {metric} [{low:.3f}, {high:.3f}] on n = {n}; {allowed:.3f} is allowed."
    ).format(
        loss=-gap.value, low=-gap.high, high=-gap.low, metric=metric.name, n=gap.n, allowed=allowed
    )


def _differs(agreement: float, settings: CompressSettings) -> str:
    if agreement >= settings.min_agreement:
        return ""
    return tr(
        "Only {agreement:.1%} of its answers are those of the trained model; {least:.1%} is the least allowed."
    ).format(agreement=agreement, least=settings.min_agreement)


def _loses_in_a_slice(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], ours: Sequence[Prediction[Y]],
    trained: Sequence[Prediction[Y]], rule: tuple[Metric, float],
) -> str:  # fmt: skip
    """The worst slice. One answer of a slice of 30 is 3 points, so a loss counts only where it is not chance: where
    its whole interval is a loss."""
    metric, allowed = rule
    gaps = {}
    for name, places in slices_of(task, examples).items():
        part = [examples[i] for i in places]
        gaps[name] = _gap(part, [ours[i] for i in places], [trained[i] for i in places], metric)
    broken = {name: gap for name, gap in gaps.items() if -gap.value > allowed + _ROUNDING and gap.high < 0}
    if not broken:
        return ""
    worst = min(broken, key=lambda name: broken[name].value)
    gap = broken[worst]
    return tr(
        "In {where} it loses {loss:.3f} of {metric} [{low:.3f}, {high:.3f}] on n = {n}; {allowed:.3f} is allowed."
    ).format(
        where=worst, loss=-gap.value, low=-gap.high, high=-gap.low, metric=metric.name, n=gap.n, allowed=allowed
    )
