"""The results of a project: listed, compared, removed. What a report or a running service points to stays.

    current      the newest result of each verb, which the page shows, and all that it was made from
    old          a newer one has taken its place
    unfinished   stopped on the way; the same command goes on there
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from luodi.core.bundle import read_manifest
from luodi.core.datasets import load_split
from luodi.core.disk import tell_size
from luodi.core.lock import Holder
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict, read_report
from luodi.core.scoring import against, deciding_metric
from luodi.core.store import Result, Store, size_of
from luodi.core.task import load_task
from luodi.core.types import Prediction
from luodi.errors import InputError, ResourceError
from luodi.messages import tr

_REPORT, _ANSWERS = "report.json", "predictions.jsonl"


class State(StrEnum):
    CURRENT = "current"
    OLD = "old"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """What lies in a store, and what points to what."""

    store: Store
    results: tuple[Result, ...]
    """The oldest first."""
    services: Mapping[str, Holder]
    """Name of a result to the process that serves from it."""

    @property
    def newest(self) -> tuple[Result, ...]:
        return tuple({r.verb: r for r in self.results}.values())

    @property
    def current(self) -> frozenset[str]:
        """Names of the newest results and of all that they were made from."""
        return self.made_from(self.newest)

    def made_from(self, roots: Iterable[Result]) -> frozenset[str]:
        """Names of these results and of their ancestors."""
        by_key = {r.key: r for r in self.results}
        found: dict[str, Result] = {}
        waiting = list(roots)
        while waiting:
            result = waiting.pop()
            if result.name not in found:
                found[result.name] = result
                waiting += [by_key[key] for key in result.parents if key in by_key]
        return frozenset(found)

    def needed_by(self, result: Result) -> list[str]:
        """In words, who points to it: results made from it, the page, services."""
        found = [r.name for r in self.results if result.key in r.parents]
        if result.name in {r.name for r in self.newest}:
            found.append(tr("the report page"))
        served = self.services.get(result.name)
        return [*found, tr("the service of process {pid}").format(pid=served.pid)] if served else found


def open_shelf(folder: Path) -> Shelf:
    """Raises InputError where there are no results."""
    store = Store(folder / "runs")
    if not store.root.is_dir():
        message = tr("{folder} has no results yet.").format(folder=folder)
        raise InputError(message, code="runs.none", hint=f"luodi run {folder}")
    return Shelf(store=store, results=tuple(store.results()), services=store.services())


def list_runs(folder: Path) -> Report:
    """Every result with its verdict and main number, the newest last."""
    shelf = open_shelf(folder)
    current = shelf.current
    rows = [_row(shelf, r, State.CURRENT if r.name in current else State.OLD) for r in shelf.results]
    rows += [
        {"name": d.stem, "verb": d.stem.rpartition("-")[0], "state": State.UNFINISHED, "bytes": size_of(d)}
        for d in shelf.store.drafts()
    ]
    total = tr("{count} results and drafts, {size} in all; {old} could go with --clean.").format(
        count=len(rows), size=tell_size(sum(r["bytes"] for r in rows)),
        old=tell_size(sum(r["bytes"] for r in rows if r["state"] is State.OLD and not r["served_by"])),
    )  # fmt: skip
    return _told((total,), {"results": rows})


def remove_run(folder: Path, name: str) -> Report:
    """One result or draft. Refused where anything points to it."""
    with Store(folder / "runs").held("runs"):
        shelf = open_shelf(folder)
        draft = next((d for d in shelf.store.drafts() if d.stem == Path(name).stem), None)
        gone = draft or _required(shelf, name)
        if isinstance(gone, Result):
            needed_by = shelf.needed_by(gone)
            if needed_by:
                message = tr("{name} stays: {who} needs it.").format(name=gone.name, who=", ".join(needed_by))
                hint = tr("Remove results made from it first; a newer result takes a place on the page.")
                raise ResourceError(message, code="runs.needed", hint=hint)
            gone = gone.path
        freed = shelf.store.remove([gone])
    said = tr("{name} is removed, {size} are free again.").format(name=gone.stem, size=tell_size(freed))
    return _told((said,), {"removed": [gone.stem], "bytes": freed})


def clean_runs(folder: Path) -> Report:
    """All that nothing points to: old results, drafts that a newer result of their verb has overtaken, leftovers."""
    with Store(folder / "runs").held("runs"):
        shelf = open_shelf(folder)
        served = [r for r in shelf.results if r.name in shelf.services]
        kept = shelf.made_from([*shelf.newest, *served])
        gone = [r.path for r in shelf.results if r.name not in kept] + _overtaken(shelf)
        freed = shelf.store.sweep() + shelf.store.remove(gone)
    names = [path.stem for path in gone]
    said = tr("{count} results and drafts are removed, {size} are free again.")
    return _told((said.format(count=len(names), size=tell_size(freed)),), {"removed": names, "bytes": freed})


def compare_runs(folder: Path, first: str, second: str) -> Report:
    """Numbers side by side, the settings that differ, and, on the same test rows, whether one is better."""
    shelf = open_shelf(folder)
    a, b = _required(shelf, first), _required(shelf, second)
    reports = [read_report(r.path / _REPORT) for r in (a, b)]
    names = {**reports[0].numbers, **reports[1].numbers}
    numbers = [{"name": n, "first": reports[0].numbers.get(n), "second": reports[1].numbers.get(n)} for n in names]
    made = [_made_with(shelf, r) for r in (a, b)]
    settings = [
        {"name": n, "first": made[0].get(n), "second": made[1].get(n)}
        for n in sorted({*made[0], *made[1]}) if made[0].get(n) != made[1].get(n)
    ]  # fmt: skip
    paired = _paired(shelf, a, b)
    details = {"first": a.name, "second": b.name, "numbers": numbers, "settings": settings, "paired": paired}
    return _told(_say(a, b, settings, paired), details)


def as_rows(details: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table that a terminal shows: of results, or of two side by side."""
    if "results" in details:
        names = (tr("Result"), tr("Made"), tr("Size"), tr("Verdict"), tr("Number"), tr("State"))
        return [names, *(_cells(row) for row in details["results"])]
    if "numbers" not in details:
        return []
    head = ("", str(details["first"]), str(details["second"]))
    numbers = [(n["name"], _say_number(n["first"]), _say_number(n["second"])) for n in details["numbers"]]
    settings = [(s["name"], _say_setting(s["first"]), _say_setting(s["second"])) for s in details["settings"]]
    return [head, *numbers, *settings]


def side_by_side(done: Report) -> list[tuple[str, ...]]:
    """The table of `luodi evaluate A B`: each score of the two."""
    names = [key.removeprefix("first.") for key in done.numbers if key.startswith("first.")]
    rows = [(n, *(_say_number(done.numbers[f"{side}.{n}"]) for side in ("first", "second"))) for n in names]
    return [("", *map(str, done.details["names"])), *rows]


def _row(shelf: Shelf, result: Result, state: State) -> dict[str, Any]:
    report = read_report(result.path / _REPORT)
    name, number = _main_number(report)
    served = shelf.services.get(result.name)
    names = {r.key: r.name for r in shelf.results}
    return {
        "name": result.name, "verb": result.verb, "state": state, "bytes": size_of(result.path),
        "published": result.published, "verdict": report.verdict, "metric": name, "number": number,
        "made_from": [names[key] for key in result.parents if key in names],
        "served_by": served.pid if served else None,
    }  # fmt: skip


def _main_number(report: Report) -> tuple[str, Measure | None]:
    """The one that decides: the metric's, or the verb's first."""
    metric = str(report.details.get("metric", ""))
    for name in (metric, f"validation_{metric}", "rows_kept", *report.numbers):
        if name in report.numbers:
            return name, report.numbers[name]
    return "", None


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    states = {State.CURRENT: tr("current"), State.OLD: tr("old"), State.UNFINISHED: tr("unfinished")}
    verdicts = {Verdict.ACCEPTED: tr("ACCEPTED"), Verdict.REFUSED: tr("REFUSED"), Verdict.DONE: tr("DONE")}
    state = str(states[row["state"]])
    if row.get("served_by"):
        state = tr("{state}, served by process {pid}").format(state=state, pid=row["served_by"])
    if row["state"] is State.UNFINISHED:
        return (row["name"], "", tell_size(row["bytes"]), "", "", state)
    made = f"{datetime.fromisoformat(row['published']).astimezone():%Y-%m-%d %H:%M}"
    number = f"{row['metric']} {_say_number(row['number'])}".strip()
    return (row["name"], made, tell_size(row["bytes"]), verdicts[row["verdict"]], number, state)


def _say_number(number: Measure | None) -> str:
    if number is None:
        return "-"
    spread = "" if number.low == number.high else f" [{number.low:.4g}, {number.high:.4g}]"
    return f"{number.value:.4g}{spread} {number.unit}".strip()


def _say_setting(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _say(
    a: Result, b: Result, settings: Sequence[Mapping[str, Any]], paired: Mapping[str, Any] | None
) -> tuple[str, ...]:
    told = [tr("They were made with the same settings from the same data.")] if not settings else []
    if paired:
        gap = paired["difference"]
        sentence = tr(
            "On the same {n} test rows {second} is {value:+.4f} [{low:+.4f}, {high:+.4f}] from {first} in {metric}, "
            "p = {p:.2g}."
        )  # fmt: skip
        told.append(sentence.format(
            n=gap.n, second=b.name, first=a.name, metric=paired["metric"], value=gap.value, low=gap.low, high=gap.high,
            p=paired["p"],
        ))  # fmt: skip
    return tuple(told)


def _made_with(shelf: Shelf, result: Result) -> dict[str, Any]:
    """All settings that went into it and into what it was made from: {"model": ..., "train.epochs": ...}."""
    found: dict[str, Any] = {}
    ancestors = shelf.made_from([result])
    known = {r.key for r in shelf.results}
    for made in (r for r in shelf.results if r.name in ancestors):
        found |= _flat(made.recipe.get("brief", {}), "")
        found |= _flat(made.recipe.get("settings") or {}, f"{made.verb}.")
        found[f"{made.verb}.code"] = str(made.recipe.get("code", ""))[:12]
        found |= {f"{made.verb}.inputs": key[:12] for key in made.parents if key not in known}
    return found


def _flat(told: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in told.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _paired(shelf: Shelf, a: Result, b: Result) -> dict[str, Any] | None:
    """How far b is above a, both having answered the test rows of one Dataset; None where they have not."""
    data = _dataset(shelf, a)
    if a.name == b.name or data is None or data != _dataset(shelf, b):
        return None
    if not all((r.path / _ANSWERS).is_file() for r in (a, b)):
        return None
    report = read_report(b.path / _REPORT)
    manifest = read_manifest((b.path / report.bundle).resolve())
    task = load_task(manifest.task, manifest.schema)
    metric = deciding_metric(task, [str(report.details["metric"])])
    answers = [_answers(r.path / _ANSWERS, task) for r in (a, b)]
    gap, p = against(load_split(data.path, "test", task), answers[1], {"first": answers[0]}, metric)["first"]
    return {"metric": metric.name, "difference": gap, "p": p}


def _dataset(shelf: Shelf, result: Result) -> Result | None:
    return next((r for r in shelf.results if r.verb == "prepare" and r.key in result.parents), None)


def _answers(path: Path, task: Any) -> list[Prediction[Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [
        Prediction(value=task.output.decode(row["answer"]), confidence=row["confidence"], scores=row["scores"])
        for row in rows
    ]


def _required(shelf: Shelf, name: str) -> Result:
    """By its name, or a beginning of it that no other has; `runs/train-1a2b/` means the same."""
    wanted = Path(name).name
    found = [r for r in shelf.results if r.name.startswith(wanted)] if wanted else []
    if len(found) == 1 or any(r.name == wanted for r in found):
        return next(r for r in found if len(found) == 1 or r.name == wanted)
    names = ", ".join(r.name for r in found or shelf.results)
    message = tr("No result is called {name}.") if not found else tr("{name} may mean more than one result.")
    raise InputError(message.format(name=name), code="runs.name", hint=tr("There are: {names}.").format(names=names))


def _overtaken(shelf: Shelf) -> list[Path]:
    """Drafts last touched before the newest result of their verb was published: nobody went on with them."""
    since = {r.verb: datetime.fromisoformat(r.published).timestamp() for r in shelf.results}
    return [
        draft for draft in shelf.store.drafts()
        if max(p.stat().st_mtime for p in (draft, *draft.rglob("*"))) < since.get(draft.stem.rpartition("-")[0], 0.0)
    ]  # fmt: skip


def _told(findings: tuple[str, ...], details: Mapping[str, Any]) -> Report:
    return Report(verb="runs", verdict=Verdict.DONE, findings=findings, details=details)
