"""One spelling for each label, one row for each input; what is dropped keeps its reason."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

from luodi.core.store import write_atomically
from luodi.core.task import Task
from luodi.core.types import Example, SplitName, X, Y
from luodi.messages import tr
from luodi.stages.prepare.repairs import narrow, notes_of_wide_answers

DUPLICATE, CONTRADICTORY, UNREADABLE, LEAK, NOT_DRAWN = "duplicate", "contradictory", "unreadable", "leak", "not_drawn"
AGREEMENT = 2 / 3
"""Share of copies that must give one answer for it to be believed against the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record(Generic[X, Y]):
    """An example and where it stood."""

    example: Example[X, Y]
    file: str
    row: int
    split: SplitName | None = None
    """Where the data came split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DroppedRow:
    file: str
    row: int
    reason: str
    """One word: duplicate, contradictory, unreadable, leak, not_drawn."""
    detail: str
    """A sentence."""
    text: str


def write_dropped(path: Path, rows: Sequence[DroppedRow]) -> None:
    """CSV in UTF-8 with a byte order mark: spreadsheets read Chinese wrongly without one."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("file", "row", "reason", "detail", "text"))
    writer.writerows((row.file, row.row, row.reason, row.detail, row.text) for row in rows)
    write_atomically(path, out.getvalue().encode("utf-8-sig"))


def drop(record: Record[X, Y], reason: str, detail: str, task: Task[X, Y]) -> DroppedRow:
    text = task.input.caption(record.example.input)
    return DroppedRow(file=record.file, row=record.row, reason=reason, detail=detail, text=text)


def answer(task: Task[X, Y], example: Example[X, Y]) -> str:
    """A target as text, equal for equal targets."""
    wire: Any = task.output.encode(example.target)
    return wire if isinstance(wire, str) else json.dumps(wire, ensure_ascii=False, sort_keys=True, default=str)


def has_closed_answers(task: Task[X, Y], records: Sequence[Record[X, Y]]) -> bool:
    """Whether answers are choices out of a set, so that they can be counted, spelled and contradicted."""
    return bool(records) and task.output.is_choice


def merge_spellings(records: Sequence[Record[X, Y]]) -> tuple[list[Record[X, Y]], list[str]]:
    """Labels that differ in case, width or spaces get the commonest spelling; one note for each such label.

    Targets that are not words pass as they are."""
    targets: list[Any] = [r.example.target for r in records]
    counts: Counter[str] = Counter(target for target in targets if isinstance(target, str))
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        spellings[folded(label)].append(label)
    better: dict[Any, Any] = {}
    wide: dict[str, str] = {}
    notes: list[str] = []
    for commonest, *others in spellings.values():
        best = narrow(commonest)
        if best != commonest:
            better[commonest] = wide[commonest] = best
        if not others:
            continue
        better |= dict.fromkeys(others, best)
        message = tr("{count} rows spelled the answer {best!r} otherwise ({others}); they were given this spelling.")
        told = ", ".join(repr(label) for label in others)
        notes.append(message.format(count=sum(counts[label] for label in others), best=best, others=told))
    if not better:
        return list(records), []
    notes = [*notes_of_wide_answers(wide, sum(counts[label] for label in wide)), *notes]
    return [_with_target(r, better) for r in records], notes


def drop_copies(
    records: Sequence[Record[X, Y]], task: Task[X, Y], closed: bool
) -> tuple[list[Record[X, Y]], list[DroppedRow]]:
    """The first of equal inputs is kept. Copies that disagree are all dropped, unless two thirds agree.

    Where answers are open (a translation), only the same input with the same answer is a copy. Rows of
    different given splits are no copies of each other here, and the test rows of such data are never dropped.
    """
    copies: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        if record.split == "test":
            continue
        told = task.input.fingerprint(record.example.input) + ("" if closed else answer(task, record.example))
        copies[record.split or "", told].append(place)
    faults: dict[int, tuple[str, str]] = {}
    for places in copies.values():
        if len(places) > 1:
            faults |= _faults_of_copies([records[p] for p in places], places, task)
    kept = [record for place, record in enumerate(records) if place not in faults]
    return kept, [drop(records[place], *faults[place], task) for place in sorted(faults)]


def _faults_of_copies(
    copies: Sequence[Record[X, Y]], places: Sequence[int], task: Task[X, Y]
) -> dict[int, tuple[str, str]]:
    """Place to (reason, detail) for all but the one that stays, if any does."""
    answers = [answer(task, r.example) for r in copies]
    counts = Counter(answers)
    best, count = counts.most_common(1)[0]
    told = ", ".join(f"{label} × {n}" for label, n in counts.most_common(5))
    if count < AGREEMENT * len(copies):
        detail = tr("{count} copies disagree on the answer: {answers}.").format(count=len(copies), answers=told)
        return dict.fromkeys(places, (CONTRADICTORY, detail))
    stays = answers.index(best)
    same = tr("The same as {file}, row {row}.").format(file=copies[stays].file, row=copies[stays].row)
    other = tr("Most copies have another answer: {answers}.").format(answers=told)
    return {
        place: (DUPLICATE, same) if given == best else (CONTRADICTORY, other)
        for i, (place, given) in enumerate(zip(places, answers, strict=True))
        if i != stays
    }


def folded(label: str) -> str:
    """Equal for labels that a person would call the same."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _with_target(record: Record[X, Y], better: dict[Any, Any]) -> Record[X, Y]:
    target = record.example.target
    if not isinstance(target, str) or target not in better:
        return record
    return replace(record, example=replace(record.example, target=better[target]))
