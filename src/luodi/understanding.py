"""The step behind `luodi understand`: what it reads, what it leaves, and where.

    feedback-needs/
      report.html, needs.json, assign.parquet    of the newest run
      check.csv                                  to be filled in; what a person wrote is never overwritten
      runs/                                      results by what made them, and the vectors of texts read so far
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from luodi.core.progress import say
from luodi.core.project import code_version
from luodi.core.report import Report, Verdict, keep_report, read_report
from luodi.core.store import KEY_LENGTH, Result, Store, hash_file, hash_json, write_atomically
from luodi.errors import InputError
from luodi.messages import language, tr
from luodi.stages.understand.checks import FILE as CHECKS
from luodi.stages.understand.checks import read_checks
from luodi.stages.understand.columns import find_columns, tell_columns
from luodi.stages.understand.config import UnderstandSettings
from luodi.stages.understand.earlier import Earlier
from luodi.stages.understand.reading import Read, read_feedback
from luodi.stages.understand.understand import Assigned, Understood

if TYPE_CHECKING:
    from luodi.stages.prepare.readers import Table

REPORT, PAGE, NEEDS, ASSIGNED, KNOWN = "report.json", "report.html", "needs.json", "assign.parquet", "known.json"
VERB = "understand"
_VECTORS = "vectors.npz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedbacks:
    """A source of feedback, read."""

    name: str
    identity: str
    table: Mapping[str, Sequence[Any]]
    notes: tuple[str, ...]


def understood(source: str, settings: UnderstandSettings, out: Path, since: Path | None) -> Report:
    """The needs in a file or a database, found now or before; the newest results in `out`."""
    if out.exists() and not out.is_dir():
        message = tr("{folder} is no folder.").format(folder=out)
        raise InputError(message, code="understand.out", hint=tr("Name another one with --out."))
    feedbacks = read_source(source, settings.query)
    store = Store(out / "runs")
    earlier = _earlier(since)
    inputs = {"source": feedbacks.identity, "checks": _identity(out / CHECKS), "since": earlier[0] if earlier else ""}
    told = {"verb": VERB, "inputs": inputs, "settings": asdict(settings), "code": code_version()}
    key = hash_json({**told, "language": language()})[:KEY_LENGTH]  # findings are kept as they were said

    def work(folder: Path) -> None:
        began = time.perf_counter()
        from luodi.stages.understand.understand import understand

        read = feedback_of(feedbacks, settings)
        checks = read_checks(out / CHECKS)
        known = earlier[1] if earlier else None
        made = understand(read, settings, store.root / _VECTORS, checks, known)
        _write(folder, made, replace(_report(made, feedbacks), seconds=time.perf_counter() - began))

    result = store.find(VERB, key) or store.make(VERB, key, inputs, work, {"settings": asdict(settings)})
    _show(result, out)
    report = read_report(result.path / REPORT)
    first = next((n["id"] for n in report.details["needs"] if n["is_confirmed"] and n["phrases"]), None)
    after = again(source, settings, out, first) if first is not None and report.details["is_stable"] else ""
    return replace(report, report=str(out / PAGE), next=after)


def again(source: str, settings: UnderstandSettings, out: Path, need: int) -> str:
    """The same command, for a project of a need: numbers of needs mean nothing to another. Never with a password."""
    from luodi.backends.sqlalchemy import without_password

    usual = asdict(UnderstandSettings())
    told = {name: value for name, value in asdict(settings).items() if value != usual[name]}
    words = [f"{name}={json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value}"
             for name, value in told.items()]  # fmt: skip
    command = ["luodi", VERB, without_password(source), *words, "--out", str(out), "--need", str(need)]
    return shlex.join([*command, "--new", f"need-{need}"])


def read_source(source: str, query: str = "") -> Feedbacks:
    """A table, a file of texts, a folder of them, or a database by its address. Raises DataError in one line."""
    if "://" in source or Path(source).suffix.lower() in (".db", ".sqlite", ".sqlite3"):
        from luodi.backends.sqlalchemy import read_database

        path = Path(source)
        if "://" not in source and not path.is_file():
            raise InputError(tr("There is no file {path}.").format(path=source), code="data.missing")
        table = read_database(source if "://" in source else f"sqlite:///{path.resolve().as_posix()}", query)
        name = path.name if "://" not in source else tr("database")
        return Feedbacks(name=name, identity=hash_json(table), table=table, notes=())
    from luodi.stages.prepare.readers import read_table
    from luodi.stages.prepare.sources import files_of, find_sources

    found = find_sources(source, Path())
    tables = [read_table(one) for one in found]
    rows = [row for table in _alike([one.name for one in found], tables) for row in table]
    names = dict.fromkeys(name for row in rows for name in row)
    notes = tuple(note for table in tables for note in table.notes)
    identity = hash_json([hash_file(path) for one in found for path in files_of(one)])
    columns = {name: [row.get(name) for row in rows] for name in names}
    return Feedbacks(name=Path(source).name, identity=identity, table=columns, notes=notes)


def _alike(files: Sequence[str], tables: Sequence[Table]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Rows of each table; where one calls a column otherwise than the first does, by the name that it has there."""
    first: dict[str, str] = {}
    for file, table in zip(files, tables, strict=True):
        rows = [raw.cells for raw in table.rows]
        if all(other.columns == table.columns for other in tables):
            yield rows
            continue
        columns = {name: [row.get(name) for row in rows] for name in table.columns}
        kinds = asdict(find_columns(columns, UnderstandSettings(), file))
        first = first or kinds
        called = {name: first[kind] or name for kind, name in kinds.items() if isinstance(name, str) and name}
        yield [{called.get(name, name): value for name, value in row.items()} for row in rows]


def feedback_of(feedbacks: Feedbacks, settings: UnderstandSettings) -> Read:
    """With the columns found, personal data out and near copies folded; what was taken for what is said."""
    from luodi.stages.prepare.near_duplicates import group_places

    found = find_columns(feedbacks.table, settings, feedbacks.name)
    told = tuple(tell_columns(found, feedbacks.table))
    for line in told:
        say(line)
    read = read_feedback(feedbacks.table, found, group_places, settings, feedbacks.name)
    return replace(read, notes=(*told, *feedbacks.notes, *read.notes))


def newest(out: Path) -> Result:
    """The newest result in a folder that `understand` has written. Raises InputError where there is none."""
    result = Store(out / "runs").latest(VERB)
    if result is None:
        message = tr("{folder} holds no needs.").format(folder=out)
        raise InputError(message, code="understand.none", hint=tr("Name a folder that luodi understand has written."))
    return result


def load_assigned(result: Result) -> dict[int, Assigned]:
    from luodi.backends.pyarrow import read_parquet

    _, rows = read_parquet(result.path / ASSIGNED, ASSIGNED)
    return {row["id"]: Assigned(**row) for row in rows}


def _earlier(since: Path | None) -> tuple[str, Earlier] | None:
    if since is None:
        return None
    result = newest(since)
    return result.key, msgspec.json.decode((result.path / KNOWN).read_bytes(), type=Earlier)


def _identity(path: Path) -> str:
    """Of what a person wrote into it: as long as that is nothing, it is the same whether there is a file or not."""
    checks = read_checks(path)
    return hash_json([checks.stamp, [asdict(a) for a in checks.answers]])[:KEY_LENGTH] if checks else ""


def _report(made: Understood, feedbacks: Feedbacks) -> Report:
    return Report(
        verb=VERB, verdict=Verdict.DONE, numbers=made.numbers, findings=made.findings,
        details={**made.details, "source": feedbacks.name, "stamp": made.stamp},
    )  # fmt: skip


def _write(folder: Path, made: Understood, report: Report) -> None:
    from luodi.backends.pyarrow import write_parquet

    needs = {"numbers": report.numbers, "findings": [str(f) for f in report.findings], **report.details}
    plain = json.loads(msgspec.json.encode(needs, enc_hook=str))
    write_atomically(folder / NEEDS, json.dumps(plain, ensure_ascii=False, indent=1))
    write_parquet(folder / ASSIGNED, [asdict(row) for row in made.assigned])
    write_atomically(folder / CHECKS, made.check_file)
    write_atomically(folder / KNOWN, msgspec.json.encode(made.kept))
    keep_report(folder / REPORT, report)


def _show(result: Result, out: Path) -> None:
    """The newest result where people look for it."""
    from luodi.report.single import write_needs

    report = read_report(result.path / REPORT)
    for name in (NEEDS, ASSIGNED):
        write_atomically(out / name, (result.path / name).read_bytes())
    _keep_checks(result, out, report.details["stamp"])
    write_needs(out / PAGE, report, language())


def _keep_checks(result: Result, out: Path, stamp: str) -> None:
    """What a person wrote about other needs is put aside, what they once wrote about these comes back."""
    written, aside = read_checks(out / CHECKS), out / f"check-{stamp}.csv"
    if written and written.stamp == stamp:
        return
    if written:
        (out / CHECKS).rename(out / f"check-{written.stamp}.csv")
    if aside.is_file():
        aside.rename(out / CHECKS)
        say(tr("{file} holds your answers about these needs again; the next run counts them.").format(file=CHECKS))
    else:
        write_atomically(out / CHECKS, (result.path / CHECKS).read_bytes())
