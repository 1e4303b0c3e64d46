"""What to do next: more rows, better labels, or something else. Rough on purpose, and it says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any

import numpy as np

from luodi.core.contract import Contract, Judgement, Limit, State
from luodi.core.measure import Measure, Metric
from luodi.messages import tr
from luodi.stages.evaluate.findings import FEWEST_TO_SPEAK, Beaten, points, rows_needed

SURE = 0.95
FLAT = 0.005  # a gain by doubling the rows that nobody would pay for
MOST_TIMES = 30  # a power law read off three points is not believed further out
FAR_OFF = 0.05
ANSWERED = 0.8  # share of the answers, where a model may stay silent


def give(
    metric: Metric, numbers: Mapping[str, Measure], contract: Contract, judgements: Sequence[Judgement],
    beaten: Sequence[Beaten], details: Mapping[str, Any],
) -> list[str]:  # fmt: skip
    """Sentences, the most useful first."""
    return [
        *_unsure_limits(contract, judgements), *_more_rows(metric, numbers, judgements, details["curve"]),
        *_weak_class(details), *_confused(details), *_sure_mistakes(details), *_calibration(details),
        *_silence(details),
    ]  # fmt: skip


def error_law(curve: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """(a, b) of error = a * rows ** -b by least squares in logarithms; None where an error is 0 or there is no curve.

    Power laws fit learning curves of text models well over a decade or two (Hestness et al. 2017).
    """
    errors = [1 - value for _, value in curve]
    if len(curve) < 3 or min(errors) <= 0:
        return None
    slope, start = np.polyfit([log(n) for n, _ in curve], [log(e) for e in errors], 1)
    return float(np.exp(start)), float(-slope)


def _more_rows(
    metric: Metric, numbers: Mapping[str, Measure], judgements: Sequence[Judgement], curve: Sequence[Sequence[float]]
) -> Iterator[str]:
    """From the baseline's curve, which is cheap; a pretrained model's is usually flatter."""
    law = error_law(curve)
    if law is None or not metric.higher_is_better or metric.unit:
        return
    rows, (_, fall) = curve[-1][0], law
    error = 1 - numbers[metric.name].value
    gain = error * (1 - 2**-fall)
    if gain < FLAT:
        yield tr(
            "Learning curve: twice the {n} training rows would bring less than half a point; "
            "better labels or a larger model would bring more."
        ).format(n=int(rows))
        return
    yield tr("Learning curve: twice the {n} training rows would bring about {gain} points (rough).").format(
        n=int(rows), gain=points(metric, gain)
    )
    broken = [j.limit for j in judgements if j.limit.name == metric.name and j.state is State.BROKEN]
    wanted = broken[0].at_least if broken else None
    if wanted is None or wanted >= 1:
        return
    times = (error / (1 - wanted)) ** (1 / fall)
    if times <= MOST_TIMES:
        yield tr("For {metric} {wanted:g}: about {more} more training rows of the same kind (rough).").format(
            metric=metric.name, wanted=wanted, more=_rounded(rows * (times - 1))
        )
    else:
        yield tr("For {metric} {wanted:g}, more rows of the same kind will not do alone.").format(
            metric=metric.name, wanted=wanted
        )


def _unsure_limits(contract: Contract, judgements: Sequence[Judgement]) -> Iterator[str]:
    """Quality limits that lie inside the interval of their score: kept or broken by luck of the draw."""
    for judgement in judgements:
        number, limit = judgement.measured, judgement.limit
        bound = _bound(limit)
        if limit not in contract.quality or number is None or bound is None or not number.low < bound < number.high:
            continue
        distance = abs(number.value - bound)
        half = (number.high - number.low) / 2
        more = rows_needed(number.n, half, distance) - number.n if distance > half / MOST_TIMES**0.5 else 0
        if more > 0:
            sentence = tr("{limit} lies inside the interval of the score; about {more} more test rows would decide it.")
            yield sentence.format(limit=limit, more=_rounded(more))
        else:
            sentence = tr("{limit} lies so close to the score that no test set of useful size would decide it.")
            yield sentence.format(limit=limit)


def _weak_class(details: Mapping[str, Any]) -> Iterator[str]:
    classes = [r for r in details.get("per_class", ()) if r["n"] >= FEWEST_TO_SPEAK and r["recall"] is not None]
    if len(classes) < 2:
        return
    worst = min(classes, key=lambda r: r["recall"])
    others = sum(r["recall"] * r["n"] for r in classes) / sum(r["n"] for r in classes)
    if worst["recall"] < others - FAR_OFF:
        yield tr("{label} is recognised in {recall:.0%} of its {n} cases: more examples of it help most.").format(
            label=worst["label"], recall=worst["recall"], n=worst["n"]
        )


def _confused(details: Mapping[str, Any]) -> Iterator[str]:
    """Only with three classes or more: of two, one is always taken for the other."""
    pairs = details.get("confused", ())
    if len(details.get("labels", ())) > 2 and pairs and pairs[0]["n"] >= 5:
        yield tr("{target} is most often taken for {answer} ({n} times): can people tell the two apart?").format(
            target=pairs[0]["target"], answer=pairs[0]["answer"], n=pairs[0]["n"]
        )


def _sure_mistakes(details: Mapping[str, Any]) -> Iterator[str]:
    sure = sum((row["confidence"] or 0.0) >= SURE for row in details["errors"])
    if sure >= 5:
        yield tr(
            "{sure} wrong answers have a confidence of {level:.0%} or more: check their labels first (errors.csv)."
        ).format(sure=sure, level=SURE)


def _calibration(details: Mapping[str, Any]) -> Iterator[str]:
    told = details.get("calibration")
    if not told or told["ece"] < FAR_OFF:
        return
    gap = told["mean_confidence"] - told["right"]
    sentence = (
        tr("Confidences are too high by {gap} points on average; do not read them as probabilities.") if gap > 0
        else tr("Confidences are too low by {gap} points on average; do not read them as probabilities.")
    )  # fmt: skip
    yield sentence.format(gap=f"{100 * abs(gap):.1f}")


def _silence(details: Mapping[str, Any]) -> Iterator[str]:
    """What it would be worth to leave the least sure fifth of the answers to people, where that is clearly better."""
    rows = {row["share"]: row for row in details.get("abstention", ())}
    whole, part = rows.get(1.0), rows.get(ANSWERED)
    if whole and part and part["low"] > whole["value"]:
        yield tr(
            "If only the surest {share:.0%} are answered (confidence {confidence:.2f} and above), {right:.1%} "
            "[{low:.1%}, {high:.1%}] are right, not {whole:.1%}: leave the others to people."
        ).format(
            share=ANSWERED, confidence=part["confidence"], right=part["value"], low=part["low"], high=part["high"],
            whole=whole["value"],
        )  # fmt: skip


def _bound(limit: Limit) -> float | None:
    return limit.at_least if limit.at_least is not None else limit.at_most


def _rounded(count: float) -> int:
    """Two figures: the estimate has no more."""
    size = 10 ** max(len(str(int(count))) - 2, 0)
    return int(round(count / size) * size)
