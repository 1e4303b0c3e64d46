"""Sources to Dataset: read, clean, group, split, and say in a datasheet what was found and done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

import numpy as np

from luodi.core.config import Brief, did_you_mean, expand_columns, range_ends
from luodi.core.progress import say
from luodi.core.store import need_disk
from luodi.core.task import Task
from luodi.core.types import SPLITS, Columns, Dataset, Example, Row, SplitName, X, Y
from luodi.errors import ConfigError, DataError
from luodi.messages import tr
from luodi.stages.prepare import clean, repairs
from luodi.stages.prepare.clean import DroppedRow, Record
from luodi.stages.prepare.config import PrepareSettings
from luodi.stages.prepare.datasheet import Facts, SourceFacts, make_datasheet, refusals_of
from luodi.stages.prepare.giveaway import find_giveaway
from luodi.stages.prepare.near_duplicates import group_places
from luodi.stages.prepare.readers import RawRow, Table, read_table
from luodi.stages.prepare.sources import PACKED, Source, files_of, find_sources, kind_of
from luodi.stages.prepare.split import split_groups
from luodi.stages.prepare.tags import tags_of

MOST_TEXTS = 8  # columns; a table with more of them holds numbers, of which repairs have been told already

TIMES, SPACE = 4, 1 << 20
"""Bytes written for each byte read, and besides: the rows again, in JSON, what was dropped, the report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared(Generic[X, Y]):
    dataset: Dataset[X, Y]
    dropped: tuple[DroppedRow, ...]
    refusals: tuple[str, ...]
    """Why nothing should be trained on this, in words; none where it is sound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading(Generic[X, Y]):
    """All rows of all sources, typed where they could be."""

    records: tuple[Record[X, Y], ...]
    dropped: tuple[DroppedRow, ...]
    sources: tuple[SourceFacts, ...]
    notes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    """What the model reads, as it is called in the first source."""


def prepare(task: Task[X, Y], brief: Brief, settings: PrepareSettings, folder: Path) -> Prepared[X, Y]:
    """Raises DataError where a source cannot be read at all, ConfigError where a setting is impossible."""
    check_settings(settings)
    need_disk(folder, SPACE + TIMES * sum(_size(p) for s in find_sources(brief.data, folder) for p in files_of(s)))
    return build(task, read_all(task, brief, folder), settings, brief.seed)


def check_settings(settings: PrepareSettings) -> None:
    if not (settings.validation > 0 and settings.test > 0 and settings.validation + settings.test < 1):
        message = tr("prepare.validation and prepare.test must be above 0 and leave something to train on.")
        raise ConfigError(message, code="config.range")
    if not 0 < settings.near_duplicates <= 1:
        raise ConfigError(tr("prepare.near_duplicates must be above 0 and at most 1."), code="config.range")
    if settings.rows is not None and settings.rows < 1:
        raise ConfigError(tr("prepare.rows must be at least 1."), code="config.range")


def read_all(task: Task[X, Y], brief: Brief, folder: Path) -> Reading[X, Y]:
    """Every row of every source, in order."""
    sources = find_sources(brief.data, folder)
    prefixes = _prefixes(sources)
    records: list[Record[X, Y]] = []
    dropped: list[DroppedRow] = []
    facts: list[SourceFacts] = []
    notes: list[str] = []
    read: list[Columns] = []
    kept: list[Row] = []
    for source in sources:
        table = read_table(source)
        columns = require_columns(table, brief.columns, source.name)
        read.append(columns)
        for raw in table.rows:
            found = _read_row(task, raw, columns, source, prefixes[source.name])
            if isinstance(found, Record):
                records.append(found)
                kept.append(raw.cells)
            else:
                dropped.append(found)
        paths = tuple(files_of(source))
        facts.append(SourceFacts(name=source.name, paths=paths, encoding=table.encoding, rows=len(table.rows)))
        notes += table.notes
        if len(columns.input) <= MOST_TEXTS:
            cells = [raw.cells for raw in table.rows]
            notes += repairs.input_notes(cells, columns.input, columns.target, source.name)
        say(tr("{file}: {rows} rows read.").format(file=source.name, rows=len(table.rows)))
    if not records:
        raise no_rows(len(dropped), dropped[0].detail)
    used = {name for c in read for name in (*c.input, c.target, c.group, c.id) if name}
    tagged = [replace(r, example=replace(r.example, tags=tags))
              for r, tags in zip(records, tags_of(kept, used), strict=True)]  # fmt: skip
    return Reading(
        records=tuple(tagged), dropped=tuple(dropped), sources=tuple(facts), notes=tuple(notes), columns=read[0].input
    )


def build(task: Task[X, Y], reading: Reading[X, Y], settings: PrepareSettings, seed: int) -> Prepared[X, Y]:
    """Clean, group and split what was read."""
    records, notes = clean.merge_spellings(reading.records)
    closed = clean.has_closed_answers(task, records)
    if not closed:
        records, notes = list(reading.records), []
    records, dropped = clean.drop_copies(records, task, closed)
    dropped = [*reading.dropped, *dropped]
    if settings.rows is not None and settings.rows < len(records):
        records, left_out = _draw(records, settings.rows, seed, task)
        dropped += left_out
    groups = _groups(records, task, settings)
    if settings.leaks == "drop":
        records, groups, leaks = _without_leaks(records, groups, task)
        dropped += leaks
    records = _with_group_names(records, groups)
    strata = [clean.answer(task, r.example) if closed else "" for r in records]
    splits = _splits(records, groups, strata, settings, seed)
    examples = [r.example for r in records]
    giveaway = find_giveaway([e.input for e in examples], strata, reading.columns) if closed and records else None
    refused = giveaway if settings.giveaways == "refuse" else None
    notes += [giveaway] if giveaway and not refused else []
    facts = Facts(
        groups=tuple(groups), strata=tuple(strata), splits=tuple(splits), dropped=tuple(dropped),
        sources=reading.sources, notes=(*reading.notes, *notes), closed=closed, keeps_leaks=settings.leaks == "keep",
        giveaway=refused,
    )  # fmt: skip
    sheet = make_datasheet(task, examples, facts)
    parts = [tuple(e for e, s in zip(examples, splits, strict=True) if s == name) for name in SPLITS]
    dataset = Dataset(train=parts[0], validation=parts[1], test=parts[2], datasheet=sheet)
    return Prepared(dataset=dataset, dropped=tuple(dropped), refusals=tuple(refusals_of(facts, sheet)))


def require_columns(table: Table, columns: Columns, file: str) -> Columns:
    """The columns, ranges resolved. DataError naming the nearest one where one that the brief names is not there."""
    faults = [row.fault for row in table.rows if row.fault]
    if len(faults) == len(table.rows):
        raise no_rows(len(faults), faults[0])
    if not table.columns:
        raise DataError(tr("{file} has no columns.").format(file=file), code="data.columns")
    found = replace(columns, input=expand_columns(columns.input, table.columns))
    for name in filter(None, (*found.input, found.target, found.group, found.id)):
        if name not in table.columns:
            raise no_column(name, table.columns, file)
    if found.target in found.input and columns.target not in columns.input:
        message = tr("The range {range} holds the column with the answer, {column!r}.")
        message = message.format(range=", ".join(columns.input), column=found.target)
        raise DataError(message, code="data.range", hint=tr("Leave it out: a list of two ranges does."))
    return found


def no_rows(count: int, reason: str) -> DataError:
    message = tr("None of the {count} rows can be used. The first one: {reason}")
    return DataError(message.format(count=count, reason=reason), code="data.no_rows")


def no_column(name: str, known: Sequence[str], file: str) -> DataError:
    """The error for a name that is no column; of a range, the end that is not there, or the order of both."""
    ends = range_ends(name, known)
    if ends and set(ends) <= set(known):
        message = tr("In {file}, the column {last!r} stands before {first!r}.")
        hint = tr("Write {range}.").format(range=f"{ends[1]}:{ends[0]}")
        return DataError(message.format(file=file, first=ends[0], last=ends[1]), code="data.range", hint=hint)
    lacking = next((end for end in ends if end not in known), name) if ends else name
    message = tr("{file} has no column {column!r}.").format(file=file, column=lacking)
    return DataError(message, code="data.column", hint=did_you_mean(lacking, known))


def _size(path: Path) -> int:
    """Bytes, as they will be when unpacked."""
    size = path.stat().st_size
    return 5 * size if path.suffix.lower() == PACKED or kind_of(path) == ".parquet" else size


def _prefixes(sources: Iterable[Source]) -> dict[str, str]:
    """What ids of a source begin with: the file's stem, or its whole name where stems are alike."""
    stems = {source.name: source.path.stem for source in sources}
    alone = [stem for stem in stems.values() if list(stems.values()).count(stem) == 1]
    return {name: stem if stem in alone else name for name, stem in stems.items()}


def _read_row(
    task: Task[X, Y], raw: RawRow, columns: Columns, source: Source, prefix: str
) -> Record[X, Y] | DroppedRow:
    fault, file = raw.fault, raw.file or source.name
    if not fault:
        try:
            example = task.read(raw.cells, columns, raw.folder or source.path.parent)
            named = replace(example, id=example.id or raw.file or f"{prefix}:{raw.row}", source=file)
            return Record(example=named, file=file, row=raw.row, split=source.split)
        except DataError as error:
            fault = error.message
    text = " | ".join(str(raw.cells.get(name, "")) for name in columns.input)
    return DroppedRow(file=file, row=raw.row, reason=clean.UNREADABLE, detail=fault, text=text)


def _draw(
    records: Sequence[Record[X, Y]], count: int, seed: int, task: Task[X, Y]
) -> tuple[list[Record[X, Y]], list[DroppedRow]]:
    drawn = set(np.random.default_rng(seed).permutation(len(records))[:count].tolist())
    detail = tr("prepare.rows asked for {count} rows.").format(count=count)
    left = [clean.drop(r, clean.NOT_DRAWN, detail, task) for i, r in enumerate(records) if i not in drawn]
    return [r for i, r in enumerate(records) if i in drawn], left


def _groups(records: Sequence[Record[X, Y]], task: Task[X, Y], settings: PrepareSettings) -> list[int]:
    """Near copies, equal inputs (across given splits, or with open answers) and the user's groups, united."""
    say(tr("Comparing {count} rows with each other.").format(count=len(records)))
    prints = [task.input.fingerprint(r.example.input) for r in records]
    pieces = [task.input.pieces(r.example.input) for r in records] if settings.near_duplicates < 1 else None
    return group_places([r.example.group for r in records], prints, pieces, settings.near_duplicates)


def _without_leaks(
    records: list[Record[X, Y]], groups: list[int], task: Task[X, Y]
) -> tuple[list[Record[X, Y]], list[int], list[DroppedRow]]:
    """Where splits were given: rows for training that are (near) copies of held-out rows go, and rows for
    validation that are copies of test rows. The test rows stay, so that scores compare with others'."""
    held: dict[str, set[int]] = {
        name: {g for r, g in zip(records, groups, strict=True) if r.split == name} for name in SPLITS
    }
    against = {"train": held["validation"] | held["test"], "validation": held["test"]}
    leaks = [g in against.get(r.split or "", ()) for r, g in zip(records, groups, strict=True)]
    detail = tr("A copy or near copy of it, or a row of its group, is held out for testing.")
    dropped = [clean.drop(r, clean.LEAK, detail, task) for r, leak in zip(records, leaks, strict=True) if leak]
    kept = [(r, g) for r, g, leak in zip(records, groups, leaks, strict=True) if not leak]
    return [r for r, _ in kept], [g for _, g in kept], dropped


def _with_group_names(records: Sequence[Record[X, Y]], groups: Sequence[int]) -> list[Record[X, Y]]:
    """Examples of one group carry its name: the user's where there is one, else the first one's id."""
    members: dict[int, list[Example[Any, Any]]] = {}
    for record, group in zip(records, groups, strict=True):
        members.setdefault(group, []).append(record.example)
    names = {
        group: next((e.group for e in found if e.group), found[0].id if len(found) > 1 else "")
        for group, found in members.items()
    }
    return [
        replace(r, example=replace(r.example, group=names[g])) for r, g in zip(records, groups, strict=True)
    ]


def _splits(
    records: Sequence[Record[X, Y]], groups: Sequence[int], strata: Sequence[str], settings: PrepareSettings, seed: int
) -> list[SplitName]:
    """Given splits are kept; those that are missing are cut from train, or from everything."""
    given = {r.split for r in records} - {None}
    shares: dict[SplitName, float] = {"train": 1.0, "validation": settings.validation, "test": settings.test}
    shares = {name: share for name, share in shares.items() if name == "train" or name not in given}
    shares["train"] = 1 - sum(share for name, share in shares.items() if name != "train")
    pool = [i for i, r in enumerate(records) if r.split in (None, "train")]
    cut = split_groups([groups[i] for i in pool], [strata[i] for i in pool], shares, seed)
    splits: list[SplitName] = [r.split or "train" for r in records]
    for place, name in zip(pool, cut, strict=True):
        splits[place] = name
    return splits
