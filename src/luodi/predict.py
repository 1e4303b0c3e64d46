"""A file in, the same rows with answers out. No row is lost: one that cannot be answered says why."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle
from luodi.core.config import did_you_mean, expand_columns
from luodi.core.measure import Measure
from luodi.core.progress import progress
from luodi.core.report import Report, Verdict
from luodi.core.store import write_atomically
from luodi.core.types import Prediction
from luodi.errors import DataError, InputError, UsageError
from luodi.messages import tr
from luodi.stages.prepare.readers import RawRow, Table, decode_file, read_pictures_below, read_table
from luodi.stages.prepare.sources import PICTURES, TABLES, TEXTS, Source, kind_of, near_files, stem_of

ADDED = ("answer", "confidence", "reason")
UNREAD = "unread"
"""Column that keeps the line of a row that could not be read; there only where such a row is."""
CHUNK = 512
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")
_MOST_SHOWN = 20  # answers of a task with more are not counted one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer, or the reason why there is none."""

    value: Any = None
    """As it goes over the wire."""
    confidence: float | None = None
    reason: str = ""


def predict_file(bundle: Bundle[Any, Any], file: Path, out: Path, column: str | None = None) -> Report:
    """`file` may be a folder of pictures. Writes `out` (csv, tsv, txt, json, jsonl by its ending). Raises InputError
    where the file or column is none."""
    began = time.perf_counter()
    _require_kinds(file, out)
    table = _read(bundle, file)
    columns = _input_columns(bundle, table, file, column)
    wires = [_wire(row, columns) for row in table.rows]
    answers = predict_wires(bundle, wires, file if file.is_dir() else file.parent)
    answers = [a if not row.fault else Answered(reason=row.fault) for a, row in zip(answers, table.rows, strict=True)]
    write_atomically(out, _written(out.suffix.lower(), *_answered_table(table, answers, file)))
    answered = sum(not a.reason for a in answers)
    return Report(
        verb="predict", verdict=Verdict.DONE, seconds=time.perf_counter() - began,
        numbers={"rows": Measure.exact(len(answers)), "answered": Measure.exact(answered)},
        findings=(*table.notes, *_findings(answers, out, bundle.task.output.is_choice)),
        details={"out": str(out), "columns": list(columns)},
    )  # fmt: skip


def _read(bundle: Bundle[Any, Any], file: Path) -> Table:
    """A table, a file of texts, a picture, or a folder of pictures where the model reads pictures."""
    names_pictures = file.is_dir() or kind_of(file) in PICTURES
    if names_pictures and not bundle.task.input.suffixes:
        message = tr("{file} is a folder or a picture, and the model reads {kind}.")
        message = message.format(file=file, kind=type(bundle.task.input).__name__.lower())
        raise InputError(message, code="data.folder", hint=tr("Name a table or a file of texts."))
    return read_pictures_below(file) if file.is_dir() else read_table(Source(path=file, name=file.name))


def answers_path(file: Path) -> Path:
    """Where answers go where no place is named: beside the file, as a kind that is written and not packed."""
    kind = kind_of(file)
    return file.with_name(f"{stem_of(file)}.answers{kind if kind in (*_DELIMITERS, *_JSON) else '.csv'}")


def predict_wires(bundle: Bundle[Any, Any], wires: Sequence[Any], folder: Path) -> list[Answered]:
    """An answer for each input as tables carry it, in order; None has none. They may name files in `folder`."""
    answers: list[Answered] = []
    for start in range(0, len(wires), CHUNK):
        progress(tr("Answering"), start, len(wires))
        answers += _chunk(bundle, wires[start : start + CHUNK], folder)
    progress(tr("Answering"), len(wires), len(wires))
    return answers


def _chunk(bundle: Bundle[Any, Any], wires: Sequence[Any], folder: Path) -> list[Answered]:
    """All that can be read together; where that fails, each alone, so that one row fails alone."""
    answers = [Answered()] * len(wires)
    values = {}
    for place, wire in enumerate(wires):
        if wire is None:
            answers[place] = Answered(reason=tr("It is empty."))
            continue
        try:
            values[place] = bundle.task.input.load(wire, folder)
        except DataError as error:
            answers[place] = Answered(reason=error.message)
    try:
        predictions: list[Answered] = [_told(bundle, p) for p in bundle.predict(list(values.values()))]
    except Exception:  # whatever a model may do on strange input; its message comes with the row below
        predictions = [_alone(bundle, value) for value in values.values()]
    for place, answer in zip(values, predictions, strict=True):
        answers[place] = answer
    return answers


def _alone(bundle: Bundle[Any, Any], value: Any) -> Answered:
    try:
        return _told(bundle, bundle.predict([value])[0])
    except Exception as error:  # goes into the row's reason
        reason = tr("The model failed on it: {error}.").format(error=f"{type(error).__name__}: {error}")
        return Answered(reason=reason)


def _told(bundle: Bundle[Any, Any], prediction: Prediction[Any]) -> Answered:
    confidence = None if prediction.confidence is None else round(prediction.confidence, 6)
    return Answered(value=bundle.task.output.encode(prediction.value), confidence=confidence)


def _require_kinds(file: Path, out: Path) -> None:
    if not file.exists():
        message = tr("There is no file {path}.").format(path=file)
        raise InputError(message, code="data.missing", hint=near_files(file))
    if file.is_file() and kind_of(file) not in (*TABLES, *TEXTS, *PICTURES):
        message = tr("{file} is of a kind that is not read.").format(file=file)
        hint = tr("Known: {names}.").format(names=", ".join((*TABLES, *TEXTS, *PICTURES)))
        raise DataError(message, code="data.format", hint=hint)
    if out.suffix.lower() not in (*_DELIMITERS, *_JSON):
        message = tr("{file} is of a kind that is not written.").format(file=out)
        hint = tr("Known: {names}.").format(names=", ".join((*_DELIMITERS, *_JSON)))
        raise UsageError(message, code="predict.format", hint=hint)
    if out.resolve() == file.resolve():
        message = tr("The answers would be written over {file}.").format(file=file)
        raise UsageError(message, code="predict.same_file", hint=tr("Name another file with --out."))
    if not out.parent.is_dir():
        raise InputError(tr("There is no folder {folder}.").format(folder=out.parent), code="predict.folder")


def _input_columns(bundle: Bundle[Any, Any], table: Table, file: Path, column: str | None) -> tuple[str, ...]:
    """What was asked for; else what the model was trained on; else the only column that there is."""
    if column:
        wanted: tuple[str, ...] = (column,)
    else:
        trained = bundle.manifest.recipe.get("brief", {}).get("input") or ()
        wanted = (trained,) if isinstance(trained, str) else tuple(trained)
        if len(table.columns) == 1 and len(wanted) < 2:
            return table.columns
    wanted = expand_columns(wanted, table.columns)
    missing = [name for name in wanted if name not in table.columns]
    if wanted and not missing:
        return wanted
    if missing:
        message = tr("{file} has no column {column}.").format(file=file, column=missing[0])
        near = did_you_mean(missing[0], table.columns)
    else:
        message, near = tr("{file} has several columns.").format(file=file), ""
    say_which = tr("Say which one the model is to read: --column NAME.")
    raise DataError(message, code="data.column", hint=f"{near} {say_which}".strip())


def _wire(row: RawRow, columns: Sequence[str]) -> Any:
    """None where a cell has nothing in it."""
    cells = [row.cells.get(name) for name in columns]
    if any(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in cells):
        return None
    return cells[0] if len(cells) == 1 else cells


def _answered_table(
    table: Table, answers: Sequence[Answered], file: Path
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """All columns of the file, and the added ones under names that it does not have."""
    lines = _lines(file) if any(row.fault for row in table.rows) else None
    extra = (*ADDED, UNREAD) if lines else ADDED
    names = tuple(_free(name, table.columns) for name in extra)
    rows = []
    for row, answer in zip(table.rows, answers, strict=True):
        told: list[Any] = [answer.value, answer.confidence, answer.reason]
        if lines:
            told.append(lines[row.row - 1] if row.fault and row.row <= len(lines) else "")
        rows.append({**row.cells, **dict(zip(names, told, strict=True))})
    return (*table.columns, *names), rows


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name = f"luodi_{name}"
    return name


def _lines(file: Path) -> list[str]:
    """By number, where the file has lines: what stands there of a row that could not be read is kept."""
    text = decode_file(file, file.name).text.lstrip("\ufeff")
    return io.StringIO(text, newline=None).read().split("\n") if not text.lstrip().startswith("[") else [text]


def _written(suffix: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    if suffix == ".json":
        return json.dumps(rows, ensure_ascii=False, indent=1, default=str).encode()
    if suffix in _JSON:
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode()
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=_DELIMITERS[suffix], lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return sink.getvalue().encode("utf-8-sig")  # Excel takes UTF-8 for what it is only with the mark


def _cell(value: Any) -> str:
    if value is None or isinstance(value, (str, int, float)):
        return "" if value is None else str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _findings(answers: Sequence[Answered], out: Path, is_choice: bool) -> Iterator[str]:
    answered = [a for a in answers if not a.reason]
    yield tr("{answered} of {rows} rows have an answer, in {file}.").format(
        answered=len(answered), rows=len(answers), file=out
    )
    counts = Counter(a.value for a in answered if isinstance(a.value, str))
    if is_choice and 0 < len(counts) <= _MOST_SHOWN:
        yield ", ".join(f"{value} {count}" for value, count in counts.most_common())
    for reason, count in Counter(a.reason for a in answers if a.reason).most_common(3):
        yield tr("{count} rows without an answer: {reason}").format(count=count, reason=reason)
