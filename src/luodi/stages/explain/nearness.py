"""The training rows that an answer stands beside: the most alike, and of these how much the answer leans on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.nearest import Index, index_of, nearest
from luodi.core.types import Example, Floats, Prediction, X, Y

MOST_ROWS = 20_000
"""Training rows that are looked through; of more, so many spread evenly."""
CANDIDATES = 100
"""Rows whose influence is told: so many of the most alike, and so many spread evenly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside(Generic[X, Y]):
    """The training rows of a Bundle."""

    rows: tuple[Example[X, Y], ...]
    index: Index
    trained: Bundle[X, Y]
    """As it was trained: compressed ones do not show what their last layer reads."""


def beside(trained: Bundle[X, Y], rows: Sequence[Example[X, Y]]) -> Beside[X, Y]:
    places = np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(int)
    kept = tuple(rows[i] for i in places)
    pieces = trained.task.input.pieces
    return Beside(rows=kept, index=index_of([pieces(row.input) for row in kept]), trained=trained)


def neighbours(known: Beside[X, Y], value: X, answer: Prediction[Y], count: int) -> list[dict[str, Any]]:
    """The most alike rows, then those of the strongest influence for and against that are not among them."""
    task = known.trained.task
    found = nearest(known.index, task.input.pieces(value), CANDIDATES)
    spread = np.linspace(0, len(known.rows) - 1, min(len(known.rows), CANDIDATES)).round().astype(int).tolist()
    alike = dict(found)
    places = list(dict.fromkeys([*alike, *spread]))
    told = _influence(known, value, answer, places)
    shown = [place for place, _ in found[:count]]
    if told is not None and count:
        order = [places[i] for i in np.argsort(-told, kind="stable")]
        shown = list(dict.fromkeys([*shown, *order[:2], *order[-2:]]))
    influence = {} if told is None else dict(zip(places, map(float, told), strict=True))
    return [
        {
            "id": known.rows[i].id, "input": task.input.caption(known.rows[i].input),
            "target": task.output.caption(known.rows[i].target), "alike": alike.get(i, 0.0),
            "influence": influence.get(i), "picture": task.input.thumbnail(known.rows[i].input),
            "is_same": task.is_same(known.rows[i].target, answer.value),
        }
        for i in shown
    ]  # fmt: skip


def _influence(known: Beside[X, Y], value: X, answer: Prediction[Y], places: Sequence[int]) -> Floats | None:
    bundle = known.trained
    if not bundle.manifest.can_learn or not bundle.task.output.is_choice:
        return None
    from luodi.models.influence import influences

    rows = [known.rows[i] for i in places]
    inputs, targets = [value, *(r.input for r in rows)], [answer.value, *(r.target for r in rows)]
    asked, *items = bundle.task.encode(inputs, bundle.processor, targets)
    engine: Any = bundle.engine
    return influences(engine, bundle.task, asked, items)
