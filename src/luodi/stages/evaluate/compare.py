"""Two Bundles on the same rows: which is better, by how much, where, and on which rows they differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle, Manifest
from luodi.core.measure import Measure, Metric, with_interval
from luodi.core.scoring import against, deciding_metric, slices_of
from luodi.core.store import write_atomically
from luodi.core.types import Example, Prediction, X, Y
from luodi.errors import InputError
from luodi.messages import tr
from luodi.stages.evaluate.findings import Beaten, held_against, points, say_p
from luodi.stages.evaluate.mistakes import as_cell

COMPARISON, DIFFERENCES = "comparison.html", "differences.csv"
LEVEL = 0.05
SHOWN = 50
SHOWN_LABELS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    numbers: Mapping[str, Measure]
    findings: tuple[str, ...]
    details: Mapping[str, Any]


def compare(
    ours: Bundle[X, Y], theirs: Bundle[X, Y], examples: Sequence[Example[X, Y]], quality: Sequence[str], folder: Path,
    names: tuple[str, str],
) -> Compared:  # fmt: skip
    """`quality`: names of the contract's metrics, the first decides. Leaves differences.csv in `folder`. Raises
    InputError where the two do not answer the same question."""
    require_same_question(ours.manifest, theirs.manifest)
    task = ours.task
    metric = deciding_metric(task, quality)
    answers = [b.examine(examples, task.metrics, tr("answering with {name}").format(name=n))
               for b, n in zip((ours, theirs), names, strict=True)]  # fmt: skip
    scores = {name: _scores(task.metrics, examples, told) for name, told in zip(names, answers, strict=True)}
    gap, p = against(examples, answers[0], {names[1]: answers[1]}, metric)[names[1]]
    beaten = Beaten(name=names[1], score=scores[names[1]][metric.name], gap=gap, p=p)
    right = [[task.is_same(e.target, a.value) for e, a in zip(examples, told, strict=True)] for told in answers]
    counts = _counts(right)
    parts = list(_parts(ours, examples, answers, metric))
    rows = _differences(ours, examples, answers, right)
    write_differences(folder / DIFFERENCES, rows)
    numbers = {f"{side}.{m}": value for side, name in zip(("first", "second"), names, strict=True)
               for m, value in scores[name].items()}  # fmt: skip
    return Compared(
        numbers={**numbers, "difference": gap},
        findings=(*held_against(metric, beaten), *_say_counts(counts, names), *_say_parts(metric, parts)),
        details={
            "metric": metric.name, "names": list(names), "p": p, "counts": counts, "parts": parts,
            "differences": rows[:SHOWN], "differ": len(rows),
        },
    )  # fmt: skip


def rows_not_seen(
    test: Sequence[Example[X, Y]], is_seen: Sequence[bool] | None, name: str
) -> tuple[list[Example[X, Y]], list[str]]:
    """The rows that the Bundle called `name` did not learn from, and what is to be said of the others. Raises
    InputError where none is left."""
    if is_seen is None:
        sentence = tr("It is not known what {name} learned from: if it has seen these rows, its score is too high.")
        return list(test), [sentence.format(name=name)]
    kept = [e for e, seen in zip(test, is_seen, strict=True) if not seen]
    if not kept:
        message = tr("{name} has learned from all of the test rows: nothing is left to compare on.").format(name=name)
        raise InputError(message, code="evaluate.seen", hint=tr("Compare on the other project, or on new rows."))
    if len(kept) == len(test):
        return kept, []
    sentence = tr("{n} test rows, or near copies of them, stand in what {name} learned from, and were left out.")
    return kept, [sentence.format(n=len(test) - len(kept), name=name)]


def require_same_question(ours: Manifest, theirs: Manifest) -> None:
    """One task, and labels that they have in common where answers are labels. Raises InputError."""
    labels = [", ".join(told.schema.labels[:SHOWN_LABELS]) for told in (ours, theirs)]
    is_answered = not all(labels) or set(ours.schema.labels) & set(theirs.schema.labels)
    if ours.task == theirs.task and is_answered:
        return
    message = tr("The two do not answer the same question: {one} and {other}.")
    one, other = (ours.task, theirs.task) if ours.task != theirs.task else labels
    message = message.format(one=one, other=other)
    raise InputError(message, code="evaluate.task", hint=tr("Compare two Bundles of one task."))


def write_differences(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every row on which the two answers differ, in a form that spreadsheets open."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ("id", "input", "target", "first", "second", "right"))
    writer.writeheader()
    writer.writerows({k: as_cell(v) for k, v in row.items()} for row in rows)
    write_atomically(path, out.getvalue().encode("utf-8-sig"))


def _scores(
    metrics: Sequence[Metric], examples: Sequence[Example[X, Y]], answers: Sequence[Prediction[Y]]
) -> dict[str, Measure]:
    targets, groups = [e.target for e in examples], [e.group for e in examples]
    return {m.name: with_interval(m, m.sums(targets, answers), groups=groups) for m in metrics}


def _counts(right: Sequence[Sequence[bool]]) -> dict[str, int]:
    pairs = list(zip(*right, strict=True))
    return {
        "both": pairs.count((True, True)), "first": pairs.count((True, False)), "second": pairs.count((False, True)),
        "none": pairs.count((False, False)),
    }  # fmt: skip


def _parts(
    bundle: Bundle[X, Y], examples: Sequence[Example[X, Y]], answers: Sequence[Sequence[Prediction[Y]]], metric: Metric
) -> Iterator[dict[str, Any]]:
    """Each slice with the difference in it and its p, corrected for how many slices there are (Holm)."""
    found: list[dict[str, Any]] = []
    for name, places in slices_of(bundle.task, examples).items():
        chosen = [examples[i] for i in places]
        ours, theirs = ([told[i] for i in places] for told in answers)
        gap, p = against(chosen, ours, {"theirs": theirs}, metric)["theirs"]
        found.append({"name": name, "value": gap.value, "low": gap.low, "high": gap.high, "n": gap.n, "p": p})
    held = 0.0
    for rank, row in enumerate(sorted(found, key=lambda r: r["p"])):
        held = max(held, min(1.0, row["p"] * (len(found) - rank)))
        yield {**row, "p": held}


def _differences(
    bundle: Bundle[X, Y], examples: Sequence[Example[X, Y]], answers: Sequence[Sequence[Prediction[Y]]],
    right: Sequence[Sequence[bool]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Those that only one of the two got right first, the surest wrong answer at the top."""
    task, rows = bundle.task, []
    for place, example in enumerate(examples):
        one, other = answers[0][place], answers[1][place]
        if task.is_same(one.value, other.value):
            continue
        only = "first" if right[0][place] else "second" if right[1][place] else ""
        wrong = other if only == "first" else one
        row = {
            "id": example.id, "input": task.input.caption(example.input), "target": task.output.caption(example.target),
            "first": task.output.caption(one.value), "second": task.output.caption(other.value), "right": only,
        }  # fmt: skip
        rows.append((not only, -(wrong.confidence or 0.0), place, row))
    return [row for *_, row in sorted(rows, key=lambda r: r[:3])]


def _say_counts(counts: Mapping[str, int], names: tuple[str, str]) -> Iterator[str]:
    sentence = tr("Both are right on {both} rows, only {one} on {first}, only {other} on {second}, neither on {none}.")
    yield sentence.format(one=names[0], other=names[1], **counts)


def _say_parts(metric: Metric, parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in parts:
        if row["p"] > LEVEL:
            continue
        sentence = (
            tr("In {name} the first is better by {gap} points ({n} rows, {p}, corrected).") if row["value"] > 0
            else tr("In {name} the second is better by {gap} points ({n} rows, {p}, corrected).")
        )  # fmt: skip
        yield sentence.format(name=row["name"], gap=points(metric, abs(row["value"])), n=row["n"], p=say_p(row["p"]))
