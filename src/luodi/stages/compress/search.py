"""What is measured, until something keeps the contract: all that was made; then students, one after another, of the
sizes that those before lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from luodi.core.contract import Contract
from luodi.core.store import need_disk, write_atomically
from luodi.stages.compress.candidates import Made, add_student
from luodi.stages.compress.choice import Row, any_within
from luodi.stages.compress.config import LOWER, NARROWER
from luodi.stages.compress.plan import Means, Shape, Student, next_shape, shape_for
from luodi.stages.compress.recipes import STUDENTS
from luodi.stages.compress.students import depth_of, may_narrow
from luodi.stages.compress.table import Bench, measure
from luodi.stages.compress.workshop import Workshop

SHAPES = "students.json"
"""Among the candidates: the shapes of the students that were planned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    made: Made
    rows: Mapping[str, Row]
    students: Sequence[Student]
    """Those that the limits led to, in order."""


def search(made: Made, bench: Bench[Any, Any], contract: Contract) -> Found:
    workshop, rows = bench.workshop, measure(made, bench, {})
    students: list[Student] = []
    while shape := _next_shape(rows, students, workshop, contract):
        need_disk(workshop.folder, 3 * workshop.trained.size_bytes)  # in torch and for two engines, each smaller
        made, before = add_student(made, replace(workshop, shape=shape), len(students) + 1), rows
        rows = measure(made, bench, before)
        own = {name: row for name, row in rows.items() if name not in before}
        students.append(Student(shape=shape, rows=own))
    return Found(made=made, rows=rows, students=students)


def _next_shape(
    rows: Mapping[str, Row], students: Sequence[Student], workshop: Workshop, contract: Contract
) -> Shape:  # fmt: skip
    """Of a student that should keep the contract; empty where the page says what to try, or nothing more is needed.
    Planned once, and kept: a run that was killed finds what has learned already."""
    settings, path = workshop.settings, workshop.folder / SHAPES
    kept = msgspec.json.decode(path.read_bytes(), type=list[Shape]) if path.is_file() else []
    if len(students) < len(kept):
        return kept[len(students)]
    is_said = any(told is not None for told in (settings.distill, settings.prune, settings.low_rank))
    wished = STUDENTS & set(settings.candidates or STUDENTS)
    if is_said or not wished:
        return Shape()
    means = Means(
        depth=depth_of(workshop.trained), narrow=may_narrow(workshop.trained),
        lower=any(name.startswith(LOWER) for name in wished), whole=any(name.startswith(NARROWER) for name in wished),
    )  # fmt: skip
    shape = Shape()
    if not students:
        shape = shape_for(rows, contract, means)
    elif not any_within(rows, contract):
        shape = next_shape(students, contract, means)
    if shape:
        write_atomically(path, msgspec.json.encode([*kept, shape]))
    return shape
