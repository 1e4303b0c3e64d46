"""What the numbers say, in sentences that somebody can act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from luodi.core.contract import Judgement, explain_judgement
from luodi.core.measure import Measure, Metric
from luodi.core.types import Array
from luodi.messages import tr

# Half-width of a 95 % interval to the distance seen with 80 % power: (1.96 + 0.84) / 1.96, squared.
POWER = 2.04
FEWEST_TO_SPEAK = 30
SURE_Z = 2.0
MOST_PARTS_SAID = 3
PLAINEST = "majority"  # the baseline that never looks at the input


@dataclass(frozen=True, kw_only=True, slots=True)
class Beaten:
    """A baseline, and how far the model is above it on the same examples."""

    name: str
    score: Measure
    gap: Measure
    """Positive where the model is better, in the metric's direction."""
    p: float
    above_chance: float = 0.0
    """Its `chance_z`."""

    def as_row(self) -> dict[str, Any]:
        gap = {"value": self.gap.value, "low": self.gap.low, "high": self.gap.high}
        score = {"value": self.score.value, "low": self.score.low, "high": self.score.high, "n": self.score.n}
        return {"name": self.name, **score, "difference": gap, "p": self.p}


def find(
    metric: Metric, numbers: Mapping[str, Measure], beaten: Sequence[Beaten], details: Mapping[str, Any]
) -> list[str]:
    """How far above the baselines, then what should worry a reader."""
    nothing = list(_no_better_than_chance(beaten, details))
    # Where nothing was learned, more test rows would not help.
    held = [told for b in beaten for told in (held_against(metric, b) if not nothing else [_beats(metric, b)])]
    weak = (*_weak_slice(metric, numbers), *_weak_parts(details))
    return [*nothing, *held, *_collapse(details), *weak, *_openings(details["openings"])]


def say_limits(judgements: Sequence[Judgement]) -> list[str]:
    """The contract's limits; `beats_baseline` is told with each baseline instead, unless there was none to beat."""
    return [explain_judgement(j) for j in judgements if j.limit.name != "beats_baseline" or j.measured is None]


def rows_needed(n: int, half_width: float, distance: float) -> int:
    """Test rows that would show `distance`, four times out of five, where `n` gave this half-width of the interval."""
    return ceil(n * POWER * (half_width / distance) ** 2)


def points(metric: Metric, value: float, *, sign: bool = False) -> str:
    """A difference as people say it: shares in points of a hundred, all else in the metric's own unit."""
    plus = "+" if sign else ""
    if metric.unit:
        return f"{value:{plus}.3g} {metric.unit}"
    told = round(100 * value, 1) + 0.0  # never -0.0
    return f"{told:{plus}.1f}" if told else "0.0"


def say_p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.01 else f"p = {p:.2f}"


def chance_z(targets: Sequence[Any], answers: Sequence[Any]) -> float:
    """How many standard deviations more answers are right than if they had been dealt out at random among the rows.
    0 where all answers, or all targets, are one."""
    places = {label: i for i, label in enumerate(sorted({*targets, *answers}))}
    counts = np.zeros((len(places), len(places)))
    np.add.at(counts, ([places[t] for t in targets], [places[a] for a in answers]), 1)
    return _z_of(counts)


def _z_of(confusion: Sequence[Sequence[int]] | Array) -> float:
    """Of the trace of a table of counts with these margins, under shuffling (Hoeffding 1951). Rows: targets; columns:
    answers."""
    counts = np.asarray(confusion, np.float64)
    n, truth, given = counts.sum(), counts.sum(1), counts.sum(0)
    if n < 2:
        return 0.0
    grand = float(truth @ given) / n**2
    centred = np.eye(len(counts)) - given[:, None] / n - truth[None, :] / n + grand
    variance = float((truth[:, None] * given[None, :] * centred**2).sum()) / (n - 1)
    return float((np.trace(counts) - grand * n) / variance**0.5) if variance > 1e-12 else 0.0


def _no_better_than_chance(beaten: Sequence[Beaten], details: Mapping[str, Any]) -> Iterator[str]:
    """The model tells nothing. Nor does a simple one: shuffled rows look so, and a wrong column."""
    n = sum(map(sum, details.get("confusion", ())))
    asked = sum(row["n"] > 0 for row in details.get("per_class", ()))
    if n < FEWEST_TO_SPEAK or asked < 2 or _z_of(details["confusion"]) >= SURE_Z:
        return
    if better := next((b for b in beaten if b.above_chance >= SURE_Z), None):
        yield tr(
            "On {n} test rows the model does no better than chance, and {name} does ({score:.3f}): it is not the data. "
            "Train for more epochs, or with another learning rate."
        ).format(n=n, name=better.name, score=better.score.value)
        return
    names = ", ".join(b.name for b in beaten if b.name != PLAINEST)
    yield tr(
        "On {n} test rows neither the model nor {names} does better than chance: the answers do not seem to depend on "
        "the input. Look at a few rows: were they shuffled, is it the right column?"
    ).format(n=n, names=names)


def held_against(metric: Metric, b: Beaten) -> Iterator[str]:
    """Whether the other is beaten, and where that cannot be told, how many rows more would tell."""
    yield _beats(metric, b)
    yield from _too_few(b)


def _beats(metric: Metric, b: Beaten) -> str:
    beats = b.gap.low > 0
    if metric.unit:
        won, lost = (
            tr("Beats {name} ({score:.3f}) by {gap} [{low}, {high}], {p}."),
            tr("Does not beat {name} ({score:.3f}): {gap} [{low}, {high}], {p}."),
        )
    else:
        won, lost = (
            tr("Beats {name} ({score:.3f}) by {gap} points [{low}, {high}], {p}."),
            tr("Does not beat {name} ({score:.3f}): {gap} points [{low}, {high}], {p}."),
        )
    return (won if beats else lost).format(
        name=b.name, score=b.score.value, p=say_p(b.p), gap=points(metric, b.gap.value, sign=not beats),
        low=points(metric, b.gap.low, sign=True), high=points(metric, b.gap.high, sign=True),
    )  # fmt: skip


def _too_few(b: Beaten) -> Iterator[str]:
    if b.gap.low > 0 or b.gap.high < 0:
        return
    if b.gap.value <= 0:
        yield tr("On these {n} rows nothing shows that the model is worth more than {name}.").format(
            n=b.gap.n, name=b.name
        )
        return
    more = rows_needed(b.gap.n, (b.gap.high - b.gap.low) / 2, b.gap.value) - b.gap.n
    yield tr("The test set has {n} rows: too few to tell the model from {name}; about {more} more are needed.").format(
        n=b.gap.n, name=b.name, more=max(more, 1)
    )


def _collapse(details: Mapping[str, Any]) -> Iterator[str]:
    """A model that has given up on the input, or on some of the classes."""
    if "confusion" not in details:
        return
    given = [sum(column) for column in zip(*details["confusion"], strict=True)]
    silent = [label for label, n in zip(details["labels"], given, strict=True) if n == 0]
    asked = [row["label"] for row in details["per_class"] if row["n"]]
    if len(details["labels"]) - len(silent) == 1 and len(asked) > 1:
        label = next(label for label in details["labels"] if label not in silent)
        yield tr("The model always answers {label}: it has learned nothing from the input.").format(label=label)
    elif missed := [label for label in asked if label in silent]:
        yield tr("{count} of {all} classes are never answered: {names}.").format(
            count=len(missed), all=len(asked), names=", ".join(missed[:5])
        )


def _weak_slice(metric: Metric, numbers: Mapping[str, Measure]) -> Iterator[str]:
    """The worst slice, where its whole interval lies on the bad side of the score."""
    whole = numbers[metric.name]
    sign = 1 if metric.higher_is_better else -1
    slices = {k.removeprefix("slices."): m for k, m in numbers.items() if k.startswith("slices.")}
    if not slices:
        return
    name = min(slices, key=lambda k: sign * slices[k].value)
    worst = slices[name]
    if (worst.high < whole.value) if metric.higher_is_better else (worst.low > whole.value):
        yield tr("Weakest part: {name}, {value:.3f} [{low:.3f}, {high:.3f}] on {n} rows.").format(
            name=name, value=worst.value, low=worst.low, high=worst.high, n=worst.n
        )


def _weak_parts(details: Mapping[str, Any]) -> Iterator[str]:
    """What the search for weak parts has found."""
    for part in details.get("parts", ())[:MOST_PARTS_SAID]:
        yield tr(
            "Where there is {name}, {wrong} of {n} answers are wrong, elsewhere {elsewhere:.0%} ({p}, corrected for "
            "{looked} parts looked at)."
        ).format(
            name=part["name"], wrong=part["wrong"], n=part["n"], elsewhere=part["elsewhere"], p=say_p(part["p"]),
            looked=details["parts_looked_at"],
        )  # fmt: skip


def _openings(openings: int) -> Iterator[str]:
    if openings > 1:
        yield tr(
            "The test set has been opened {k} times: each choice made after a look at it makes the score rosier."
        ).format(k=openings)
