"""One HTML file that a manager can read: no network, no script, everything in it escaped.

Each stage brings its own section, `stages/<verb>/page.html`; a stage without one has none here, and a new
stage changes nothing in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from luodi.backends.jinja2 import render
from luodi.core.bundle import read_manifest
from luodi.core.contract import VERBS
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict
from luodi.core.store import Result, write_atomically
from luodi.messages import speaking, tr
from luodi.report import charts
from luodi.report.words import FORMATS, gap, number, say_limit, score, word

NUM_CARDS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What stands around the results. All of it may be left out."""

    date: str = ""
    """Now, where not said."""
    model: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)
    """Of data and Bundles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A number to be seen from across the room."""

    name: str
    value: str
    note: str = ""


def about_results(newest: Mapping[str, Result]) -> About:
    """Where the results came from, for the foot of the page: the newest result of each verb."""
    identities = {verb: result.key for verb, result in newest.items()}
    made = [result.path / "bundle" for result in newest.values() if (result.path / "bundle").is_dir()]
    if not made:
        return About(identities=identities)
    manifest = read_manifest(made[-1])
    return About(
        model=str(manifest.network.get("base", "")), recipe=manifest.recipe, versions=manifest.versions,
        identities={**identities, "bundle": manifest.seal},
    )  # fmt: skip


def write_page(
    path: Path, project_title: str, reports: Mapping[str, Report], language: Literal["zh", "en"] | str,
    about: About | None = None,
) -> None:  # fmt: skip
    """`reports`: verb to what it left. Raises ResourceError where Jinja is not installed."""
    with speaking(language):
        page = make_page(project_title, reports, language, about or About())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)


def make_page(project_title: str, reports: Mapping[str, Report], language: str, about: About) -> str:
    templates = templates_of_pages()
    verbs = [v for v in VERBS if v in reports]
    contract = latest_contract([reports[v] for v in verbs])
    verdict = overall([reports[v] for v in verbs])
    context: dict[str, Any] = {
        "tr": tr, "language": language, "title": project_title, "about": about, "charts": charts, **FORMATS,
        "date": about.date or f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
        "verdict": str(verdict), "headline": headline(verdict), "reasons": reasons(verdict, contract, reports),
        "contract": contract, "cards": cards(reports), "reports": reports,
        "units": {name: m.unit for r in reports.values() for name, m in r.numbers.items()},
        "sections": [v for v in verbs if f"{v}.html" in templates],
        "seconds": sum(r.seconds for r in reports.values()),
    }  # fmt: skip
    return render(templates, "page.html", context)


def overall(reports: Sequence[Report]) -> Verdict:
    """One refusal refuses; DONE where nothing was judged."""
    verdicts = {r.verdict for r in reports}
    return next((v for v in (Verdict.REFUSED, Verdict.ACCEPTED) if v in verdicts), Verdict.DONE)


def headline(verdict: Verdict) -> str:
    return {
        Verdict.ACCEPTED: tr("This model may be used."),
        Verdict.REFUSED: tr("This model must not be used yet."),
        Verdict.DONE: tr("Nothing has been judged yet."),
    }[verdict]


def reasons(verdict: Verdict, contract: Sequence[Mapping[str, Any]], reports: Mapping[str, Report]) -> list[str]:
    """Why, in sentences of words and numbers."""
    broken = [_say_broken(row) for row in contract if row["state"] == "broken"]
    if verdict is Verdict.REFUSED:
        # A verb may refuse without the contract (data that leak): its own first words say why.
        others = [r.findings[0] for r in reports.values() if _refused_alone(r)]
        return [*broken, *others]
    if verdict is Verdict.DONE:
        return [tr("No limit of the contract has fallen due.")]
    kept = sum(row["state"] == "kept" for row in contract)
    told: list[str] = [tr("It keeps all {kept} limits of its contract that were due.").format(kept=kept)]
    waiting = [row for row in contract if row["state"] == "open"]
    if waiting:
        names = ", ".join(say_limit(str(row["limit"])) for row in waiting)
        told.append(tr("Still to be measured: {names}.").format(names=names))
    return told


def latest_contract(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Each limit as it was last judged: a later verb judges what will really be used, and may hold a number against
    another limit than the page's (`--target`)."""
    rows: dict[str, dict[str, Any]] = {}
    for report in reports:
        for row in report.contract:
            told = {**row, "verb": report.verb, "unit": _unit(report, row)}
            if told["state"] != "open" or row["limit"] not in rows:
                rows[row["limit"]] = told
    judged = {_name_of(row) for row in rows.values() if row["state"] != "open"}
    return [row for row in rows.values() if row["state"] != "open" or _name_of(row) not in judged]


def _name_of(row: Mapping[str, Any]) -> str:
    """Of the number that a limit is for."""
    return str(row["limit"]).partition(" ")[0]


def cards(reports: Mapping[str, Report]) -> list[Card]:
    """The score, the distance to the best simple model, speed and size; what was not measured has no card."""
    numbers: dict[str, Measure] = {}
    for verb in VERBS:
        numbers.update(reports[verb].numbers if verb in reports else {})
    metrics = [r.details["metric"] for r in reports.values() if r.details.get("metric") in numbers]
    found = [_score_card(m, numbers[m]) for m in metrics[-1:]]
    gaps = [m for name, m in numbers.items() if name.startswith("beats_baseline.")]
    if gaps:
        found.append(_gap_card(min(gaps, key=lambda m: m.value)))
    for name, unit in (("p50_ms", "ms"), ("p95_ms", "ms"), ("speedup", "×"), ("size_mb", "MB")):
        if name in numbers:
            found.append(Card(name=word(name), value=number(numbers[name].value, unit), note=_spread(numbers[name])))
    return found[:NUM_CARDS]


def _score_card(name: str, measure: Measure) -> Card:
    interval = f"{score(measure.low)} – {score(measure.high)}"
    return Card(name=word(name), value=score(measure.value), note=f"{interval}, n\u00a0=\u00a0{measure.n:,}")


def _gap_card(found: Measure) -> Card:
    unit, (value, low, high) = found.unit, _gaps(found.value, found.low, found.high, found.unit)
    note = tr("{unit}, {low} … {high}") if unit else tr("points, {low} … {high}")
    note = note.format(unit=unit, low=low, high=high)
    return Card(name=tr("Above the best simple model"), value=value, note=note)


def _gaps(value: float, low: float, high: float, unit: str) -> tuple[str, str, str]:
    return gap(value, unit), gap(low, unit), gap(high, unit)


def _spread(measure: Measure) -> str:
    return "" if measure.low == measure.high else f"{number(measure.low)} – {number(measure.high)}"


def _say_broken(row: Mapping[str, Any]) -> str:
    limit, where = say_limit(str(row["limit"])), word(row["where"]) if row["where"] else ""
    if row["value"] is None:
        return tr("{limit}: it was not measured.").format(limit=limit)
    if row["limit"] == "beats_baseline":
        unit = row["unit"]
        value, low, high = _gaps(row["value"], row["low"], row["high"], unit)
        told = (
            tr("It is not clearly better than a simple model ({name}: {points} {unit}, {low} to {high}).") if unit
            else tr("It is not clearly better than a simple model ({name}: {points} points, {low} to {high}).")
        )  # fmt: skip
        return told.format(name=where, points=value, unit=unit, low=low, high=high)
    if where:
        return tr("{limit} is asked; measured: {value} ({where}).").format(
            limit=limit, value=number(row["value"], row["unit"]), where=where
        )
    return tr("{limit} is asked; measured: {value}.").format(limit=limit, value=number(row["value"], row["unit"]))


def _refused_alone(report: Report) -> bool:
    judged = any(row["state"] == "broken" for row in report.contract)
    return report.verdict is Verdict.REFUSED and not judged and bool(report.findings)


def _unit(report: Report, row: Mapping[str, Any]) -> str:
    """Of what was held against the limit: one number, or the worst of a family."""
    name = _name_of(row)
    measured = report.numbers.get(name) or report.numbers.get(f"{name.partition('.')[0]}.{row['where']}")
    return measured.unit if measured else ""


def templates_of_pages() -> dict[str, str]:
    """The page's own, and `<verb>.html` of each stage that has a section."""
    own = {
        part.name: part.read_text(encoding="utf-8")
        for part in files("luodi.report").joinpath("templates").iterdir() if part.is_file()
    }  # fmt: skip
    stages = files("luodi.stages")
    sections = {verb: stages.joinpath(verb, "page.html") for verb in VERBS}
    return {**own, **{f"{v}.html": p.read_text(encoding="utf-8") for v, p in sections.items() if p.is_file()}}
