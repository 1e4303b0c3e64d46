"""Every answer of the test set, and the wrong ones as a work-list that opens in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luodi.core.measure import Metric
from luodi.core.nearest import index_of, nearest
from luodi.core.store import write_atomically
from luodi.core.task import Task
from luodi.core.types import Example, Prediction, X, Y

ERRORS, PREDICTIONS = "errors.csv", "predictions.jsonl"
_COLUMNS = (
    "id", "input", "target", "answer", "confidence", "group", "nearest_id", "nearest", "nearest_target", "alike",
)  # fmt: skip
NUM_NEAREST = 1
MOST_KNOWN = 20_000
"""Training rows that are looked through; of more, so many spread evenly."""
MOST_ASKED = 2_000
"""Mistakes, the worst first, that get a neighbour."""


def mistakes_of(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], answers: Sequence[Prediction[Y]], metric: Metric
) -> list[dict[str, Any]]:
    """Answers that differ from the truth, the worst by the metric first, among equals the most confident."""
    sums = metric.sums([e.target for e in examples], answers)
    each = metric.each(sums)
    pairs = list(zip(examples, answers, strict=True))
    caption = task.output.caption
    wrong = [i for i, (e, a) in enumerate(pairs) if not task.is_same(e.target, a.value)]
    worst = sorted(wrong, key=lambda i: (each[i], -(answers[i].confidence or 0.0), i))
    return [
        {
            "id": e.id, "input": task.input.caption(e.input), "target": caption(e.target), "answer": caption(a.value),
            "confidence": a.confidence,
        }
        for e, a in (pairs[i] for i in worst)
    ]  # fmt: skip


def with_company(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], mistakes: Sequence[Mapping[str, Any]],
    known: Sequence[Example[X, Y]], groups: Mapping[int, str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Each mistake with its group (place in `examples` to name) and the training row that is most like it: with another
    answer there, one of the two labels may be wrong. None is looked for behind the `MOST_ASKED` worst mistakes."""
    known = [known[i] for i in np.linspace(0, len(known) - 1, min(len(known), MOST_KNOWN)).round().astype(int)]
    place = {e.id: i for i, e in enumerate(examples)}
    pieces = task.input.pieces
    index = index_of([pieces(e.input) for e in known] if mistakes else [])
    rows = []
    for rank, row in enumerate(mistakes):
        i = place[row["id"]]
        found = nearest(index, pieces(examples[i].input), NUM_NEAREST) if rank < MOST_ASKED else []
        beside = known[found[0][0]] if found else None
        rows.append({
            **row, "group": groups.get(i, ""), "nearest_id": beside.id if beside else "",
            "nearest": task.input.caption(beside.input) if beside else "",
            "nearest_target": task.output.caption(beside.target) if beside else "",
            "alike": found[0][1] if found else None,
        })  # fmt: skip
    return rows


def with_thumbnails(
    task: Task[X, Y], examples: Sequence[Example[X, Y]], mistakes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows with a small picture of the input, where an input is for the eye."""
    inputs = {e.id: e.input for e in examples}
    drawn = [(row, task.input.thumbnail(inputs[row["id"]])) for row in mistakes]
    return [{**row, "picture": picture} if picture else dict(row) for row, picture in drawn]


def write_mistakes(path: Path, mistakes: Sequence[dict[str, Any]]) -> None:
    """utf-8-sig, because Excel takes a file without the mark for the system's code page."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _COLUMNS)
    writer.writeheader()
    writer.writerows({k: as_cell(v) for k, v in row.items()} for row in mistakes)
    write_atomically(path, out.getvalue().encode("utf-8-sig"))


def write_predictions(
    path: Path, task: Task[X, Y], examples: Sequence[Example[X, Y]], answers: Sequence[Prediction[Y]]
) -> None:
    """One JSON line an answer, in the order of the split."""
    lines = []
    for example, answer in zip(examples, answers, strict=True):
        told = {
            "id": example.id, "target": task.output.encode(example.target), "answer": task.output.encode(answer.value),
            "confidence": answer.confidence, "scores": dict(answer.scores),
        }  # fmt: skip
        lines.append(json.dumps(told, ensure_ascii=False) + "\n")
    write_atomically(path, "".join(lines))


def as_cell(value: Any) -> Any:
    """A review that begins like a formula is shown by the spreadsheet, not run (OWASP, CSV injection)."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
