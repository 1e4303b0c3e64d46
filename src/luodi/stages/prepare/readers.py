"""Files to raw rows. Nothing is lost in silence: a row that cannot be read comes out with its fault."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from luodi.core.types import Row
from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.prepare import repairs, tagged
from luodi.stages.prepare.encoding import Decoded, decode
from luodi.stages.prepare.sources import PICTURES, TABLES, TAGGED, TEXTS, Source, files_of, kind_of
from luodi.stages.prepare.unpack import read_bytes

TEXT_COLUMN, PICTURE_COLUMN, LABEL_COLUMN = "text", "picture", "label"
_DELIMITERS = (",", "\t", ";", "|")
_INVISIBLE = " \t\r\n\u3000\ufeff\u200b\xa0"
_LONGEST_CELL = 1 << 24  # characters; csv's own limit of 131,072 refuses a long article


@dataclass(frozen=True, kw_only=True, slots=True)
class RawRow:
    row: int
    """Line on which it begins, from 1 (the header of a table is line 1), or the row's number in a Parquet file."""
    cells: Row
    fault: str = ""
    """Why it cannot be used, in words."""
    file: str = ""
    """Where it is another than the source's name."""
    folder: Path | None = None
    """In which the files lie that its cells may name; None: where the source itself lies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[RawRow, ...]
    encoding: str
    notes: tuple[str, ...] = ()
    """What was repaired, and what a reader may not expect, in words."""
    has_header: bool = True
    """Whether its columns were named in the file; else they are called 1, 2, ..."""


def read_table(source: Source) -> Table:
    """Raises DataError in one line where the file as a whole cannot be read, or holds no row."""
    if kind_of(files[0] if (files := files_of(source)) else source.path) in PICTURES:
        table = _read_pictures(source)
    elif source.path.is_dir():
        table = _read_texts(source)
    elif kind_of(source.path) == ".parquet":
        table = _read_parquet(source)
    elif kind_of(source.path) == ".xlsx":
        table = _read_xlsx(source)
    else:
        decoded = decode_file(source.path, source.name)
        kind = kind_of(source.path)
        table = _READERS[kind](repairs.one_line_end(decoded.text), source)
        told = (*repairs.encoding_notes(decoded, source.name), *repairs.line_end_notes(decoded.text, source.name))
        table = replace(table, encoding=decoded.encoding, notes=(*told, *table.notes))
        if kind in TABLES and repairs.is_wide(decoded.text):
            table = _with_narrow_numbers(table, source.name)
    if not table.rows:
        raise DataError(tr("{file} holds no rows.").format(file=source.name), code="data.empty", hint=_needed())
    return table


def _with_narrow_numbers(table: Table, name: str) -> Table:
    cells, notes = repairs.narrow_numbers([row.cells for row in table.rows], name)
    rows = tuple(replace(row, cells=c) if c is not row.cells else row for row, c in zip(table.rows, cells, strict=True))
    return replace(table, rows=rows, notes=(*table.notes, *notes))


def decode_file(path: Path, name: str) -> Decoded:
    data = read_bytes(path, name)
    if not data.strip():
        raise DataError(tr("{file} is empty.").format(file=name), code="data.empty", hint=_needed())
    return decode(data, name)


def _needed() -> str:
    return tr("A table needs a line with the names of its columns, and below it a row for each example.")


def _read_csv(text: str, source: Source) -> Table:
    """Commas, tabs, semicolons or bars; cells in quotes may hold line breaks."""
    text = text.lstrip("\ufeff")
    name = source.name
    try:
        records, delimiter = _records_of_best(text, source)
    except csv.Error as error:
        message = tr("{file} cannot be read as a table: {reason}.").format(file=name, reason=error)
        raise DataError(message, code="data.csv") from error
    records = [(line, cells) for line, cells in records if cells and any(cells)]
    if not records:
        raise DataError(tr("{file} is empty.").format(file=name), code="data.empty")
    has_header = not _is_numbers(records)
    if has_header:
        columns, notes = _clean_header(records.pop(0)[1], name)
    else:
        columns, notes = _numbered(records[0][1], name)
    notes += tuple(repairs.line_break_notes(records, name))
    if delimiter != ("\t" if _is_tsv(source) else ","):
        notes += (tr("{file}: columns are separated by {delimiter!r}.").format(file=name, delimiter=delimiter),)
    rows = tuple(_csv_row(line, cells, columns) for line, cells in records)
    return Table(columns=columns, rows=rows, encoding="", notes=notes, has_header=has_header)


def _csv_row(line: int, cells: Sequence[str], columns: Sequence[str]) -> RawRow:
    fault = ""
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        message = tr("It has {found} cells and the header has {expected}.")
        fault = message.format(found=len(cells), expected=len(columns))
    return RawRow(row=line, cells=dict(zip(columns, cells, strict=False)), fault=fault)


Records = list[tuple[int, list[str]]]


def _is_numbers(records: Records) -> bool:
    """Whether the first line is a row already: numbers alone, as in the next one. 0, 1, 2, 3, ... are names that a
    program gave to columns without any."""
    first = records[0][1]
    if len(records) < 2 or not all(repairs.is_number(cell) for _, cells in records[:2] for cell in cells):
        return False
    counted = ([str(i) for i in range(start, start + len(first))] for start in (0, 1))
    return len(first) < 4 or first not in counted


def _numbered(first: Sequence[str], file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for the columns of a table without a header, and what to say of them."""
    names = tuple(str(i) for i in range(1, len(first) + 1))
    if len(names) == 1:
        return names, (tr("{file} has no line with names: its column is called 1.").format(file=file),)
    message = tr("{file} has no line with names: its columns are called 1 to {last}, from left to right.")
    return names, (message.format(file=file, last=names[-1]),)


def _is_tsv(source: Source) -> bool:
    return kind_of(source.path) == ".tsv"


def _records_of_best(text: str, source: Source) -> tuple[Records, str]:
    """The separator under which most of the first records have as many cells as the header, more than one."""
    order = sorted(_DELIMITERS, key=lambda d: (d != "\t") if _is_tsv(source) else (d != ","))
    best = max(order, key=lambda d: _agreement(text, d))  # the first of equals
    if _agreement(text, best) == (0, 0):
        best = order[0]
    records = _records(text, best, csv.QUOTE_MINIMAL)
    if best == "\t" and _swallowed(records):
        # Tables with tabs are often written without quoting; a review that opens with a quotation mark
        # would then swallow the rows after it.
        return _records(text, best, csv.QUOTE_NONE), best
    _require_closed(text, records, source.name)
    return records, best


def _agreement(text: str, delimiter: str) -> tuple[float, int]:
    """Share of the first records with the header's number of cells; that number."""
    first = [r for _, r in islice(_parse(text[:200_000], delimiter, csv.QUOTE_MINIMAL), 60) if any(r)]
    if not first or len(first[0]) < 2:
        return 0, 0
    return sum(len(r) == len(first[0]) for r in first) / len(first), len(first[0])


def _records(text: str, delimiter: str, quoting: int) -> Records:
    return list(_parse(text, delimiter, quoting))


def _parse(text: str, delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """(line on which the record begins, its cells)."""
    csv.field_size_limit(_LONGEST_CELL)
    # newline=None: a lone "\r" ends a line too, as old spreadsheets write it; inside quotes it becomes "\n".
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def _swallowed(records: Records) -> bool:
    return any("\n" in cell and "\t" in cell for _, cells in records for cell in cells)


def _require_closed(text: str, records: Records, file: str) -> None:
    """A quotation mark that is never closed makes one cell of the whole rest of the file."""
    if not records or not any("\n" in cell for cell in records[-1][1]):
        return
    start = records[-1][0]
    rest = io.StringIO(text, newline=None).read().split("\n")[start - 1 :]
    if sum(line.count('"') for line in rest) % 2:
        message = tr("{file}: a quotation mark on line {line} is opened and never closed.")
        message = message.format(file=file, line=start)
        raise DataError(message, code="data.csv", hint=tr('Inside quotes, write a quotation mark twice: "".'))


def _clean_header(header: Sequence[str], file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names without what cannot be seen, each only once; and what was changed."""
    stripped = [name.strip(_INVISIBLE) for name in header]
    notes = []
    changed = [name for name, old in zip(stripped, header, strict=True) if name != old]
    if changed:
        message = tr("{file}: stray spaces around column names were removed ({names}).")
        notes.append(message.format(file=file, names=", ".join(changed)))
    seen: Counter[str] = Counter()
    names = []
    for name in stripped:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    twice = [name for name, count in seen.items() if count > 1 and name]
    if twice:
        message = tr("{file}: several columns are called {names}; the later ones are numbered.")
        notes.append(message.format(file=file, names=", ".join(twice)))
    return tuple(names), tuple(notes)


def _read_json(text: str, source: Source) -> Table:
    """A list of objects, or one object a line."""
    if text.lstrip().startswith("["):
        try:
            rows = [_json_row(i, value) for i, value in enumerate(json.loads(text), 1)]
        except (json.JSONDecodeError, RecursionError) as error:
            line = getattr(error, "lineno", "?")
            message = tr("{file} is not valid JSON (line {line}).").format(file=source.name, line=line)
            raise DataError(message, code="data.json") from error
    else:
        lines = text.split("\n")  # not splitlines(): U+2028 may stand inside a JSON string
        rows = [_json_line(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    return Table(columns=tuple(columns), rows=tuple(rows), encoding="")


def _json_line(number: int, line: str) -> RawRow:
    try:
        return _json_row(number, json.loads(line))
    except (json.JSONDecodeError, RecursionError):
        return RawRow(row=number, cells={}, fault=tr("It is not valid JSON."))


def _json_row(number: int, value: Any) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(row=number, cells={}, fault=tr("It is not a JSON object."))
    return RawRow(row=number, cells={name.strip(_INVISIBLE): cell for name, cell in value.items()})


def _read_tagged(text: str, source: Source) -> Table:
    """A row a sentence."""
    sentences = tagged.read_sentences(text)
    by_character = tagged.is_by_character(sentences)
    rows = tuple(RawRow(row=s.line, cells=tagged.cells_of(s, by_character), fault=s.fault) for s in sentences)
    notes: tuple[str, ...] = ()
    if count := tagged.count_repairs(sentences):
        message = tr("{file}: {count} entities begin with the tag of an inner part; they are read as conlleval does.")
        notes = (message.format(file=source.name, count=count),)
    return Table(columns=(tagged.TEXT, tagged.ENTITIES), rows=rows, encoding="", notes=notes)


def _read_lines(text: str, source: Source) -> Table:
    """A row a line; the label is the file's name where it can be one. Tagged characters often come as .txt too."""
    if tagged.is_tagged(text):
        return _read_tagged(text, source)
    columns, given = _columns_of(TEXT_COLUMN, source)
    lines = enumerate(text.split("\n"), 1)
    rows = tuple(RawRow(row=i, cells={TEXT_COLUMN: line, **given}) for i, line in lines if line.strip())
    return Table(columns=columns, rows=rows, encoding="")


def _read_pictures(source: Source) -> Table:
    """A row a file, its name the cell; the label is the folder's name. What is in them is their task's to read."""
    columns, given = _columns_of(PICTURE_COLUMN, source)
    folder = source.path if source.path.is_dir() else source.path.parent
    rows = [
        RawRow(row=i, cells={PICTURE_COLUMN: p.name, **given}, file=f"{source.name}/{p.name}", folder=folder)
        for i, p in enumerate(files_of(source), 1)
    ]
    return Table(columns=columns, rows=tuple(rows), encoding="")


def read_pictures_below(folder: Path) -> Table:
    """All pictures in a folder and the folders in it, each by its path from there. DataError where there are none."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    found = sorted(p for p in files if kind_of(p) in PICTURES)
    if not found:
        message = tr("{folder} holds no pictures.").format(folder=folder)
        raise DataError(message, code="data.folder", hint=tr("Known: {names}.").format(names=", ".join(PICTURES)))
    names = [p.relative_to(folder).as_posix() for p in found]
    rows = [RawRow(row=i, cells={PICTURE_COLUMN: name}, folder=folder) for i, name in enumerate(names, 1)]
    return Table(columns=(PICTURE_COLUMN,), rows=tuple(rows), encoding="")


def _read_texts(source: Source) -> Table:
    """A folder: a row a file; the label is the folder's name."""
    columns, given = _columns_of(TEXT_COLUMN, source)
    rows: list[RawRow] = []
    encodings: list[str] = []
    notes: list[str] = []
    for number, path in enumerate(files_of(source), 1):
        file = f"{source.name}/{path.name}"
        try:
            decoded = decode_file(path, file)
        except DataError as error:
            rows.append(RawRow(row=number, cells={}, fault=error.message, file=file))
            continue
        encodings.append(decoded.encoding)
        notes += repairs.encoding_notes(decoded, file)
        rows.append(RawRow(row=number, cells={TEXT_COLUMN: decoded.text, **given}, file=file))
    encoding = ", ".join(sorted(set(encodings)))
    if len(notes) > 3:  # a folder of a thousand GBK files is one fact, not a thousand
        told = ", ".join(map(repairs.encoding_name, sorted(set(encodings))))
        notes = [tr("{file} was read as {encoding}.").format(file=source.name, encoding=told)]
    return Table(columns=columns, rows=tuple(rows), encoding=encoding, notes=tuple(notes))


def _columns_of(input_column: str, source: Source) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Of files that are one input each, and what is known of all of them."""
    if source.label is None:
        return (input_column,), {}
    return (input_column, LABEL_COLUMN), {LABEL_COLUMN: source.label}


def _read_parquet(source: Source) -> Table:
    from luodi.backends.pyarrow import read_parquet

    columns, rows = read_parquet(source.path, source.name)
    clean, notes = _clean_header(columns, source.name)
    renamed = (dict(zip(clean, row.values(), strict=True)) for row in rows)
    numbered = tuple(RawRow(row=i, cells=cells) for i, cells in enumerate(renamed, 1))
    return Table(columns=clean, rows=numbered, encoding="parquet", notes=notes)


def _read_xlsx(source: Source) -> Table:
    """The first sheet that is not empty; its first row has the names."""
    from luodi.backends.openpyxl import read_sheet

    title, header, cells, others = read_sheet(source.path, source.name)
    names = ["" if name is None else str(name) for name in header]
    while names and not names[-1].strip():
        names.pop()
    columns, notes = _clean_header(names, source.name)
    rows = tuple(
        RawRow(row=i, cells={name: row[place] for place, name in enumerate(columns) if place in row})
        for i, row in enumerate(cells, 2)
    )
    if others:
        told = tr("{file}: the sheet {sheet} was read; {count} others were not.")
        notes = (told.format(file=source.name, sheet=title, count=others), *notes)
    return Table(columns=columns, rows=rows, encoding="xlsx", notes=notes)


_READERS: Mapping[str, Callable[[str, Source], Table]] = {
    ".csv": _read_csv, ".tsv": _read_csv, ".json": _read_json, ".jsonl": _read_json, ".ndjson": _read_json,
    **dict.fromkeys(TAGGED, _read_tagged), **dict.fromkeys(TEXTS, _read_lines),
}  # fmt: skip
