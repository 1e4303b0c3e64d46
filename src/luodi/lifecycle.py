"""The whole life of a model on one page. Read this file first.

    prepare -> train -> evaluate -> compress -> serve

Each verb takes a Project and gives a Report. It asks the verb before it for what it needs; what was made once
from the same data, settings and code is not made again, and what was interrupted goes on where it stopped.
Modules of the stages are imported where they are used, so that the first line of help appears at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luodi.core.bundle import Bundle, open_bundle, read_manifest
from luodi.core.contract import explain_judgement, verdict_of
from luodi.core.datasets import load_dataset, load_split, save_dataset
from luodi.core.measure import Measure
from luodi.core.project import Project
from luodi.core.report import Report, Verdict, keep_report, read_report
from luodi.core.store import Result
from luodi.core.types import Datasheet
from luodi.errors import InputError
from luodi.messages import language, tr

if TYPE_CHECKING:
    from luodi.report.page import About

REPORT = "report.json"
SHOWN_ERRORS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A verb's published folder and the report in it."""

    result: Result
    report: Report

    @property
    def folder(self) -> Path:
        return self.result.path


def prepare(project: Project) -> Report:
    """Sources to three splits that share no copies; every dropped row with its reason."""
    return _prepared(project).report


def train(project: Project) -> Report:
    """The training rows to a Bundle; the validation rows choose what is kept."""
    step = _prepared(project)
    return step.report if _refused(step) else _trained(project).report


def evaluate(project: Project) -> Report:
    """The Bundle on rows that nothing was chosen on, against the contract and the baselines."""
    step = _prepared(project)
    return step.report if _refused(step) else _evaluated(project).report


def compress(project: Project) -> Report:
    """The Bundle made smaller and faster by measurement, confirmed once on the test rows."""
    for step in (_prepared, _evaluated):
        done = step(project)
        if _refused(done):
            return done.report
    return _compressed(project).report


LIFE: Mapping[str, Callable[[Project], Report]] = {
    "prepare": prepare, "train": train, "evaluate": evaluate, "compress": compress,
}  # fmt: skip


def run(project: Project, told: Callable[[Report], None] = lambda report: None) -> Report:
    """From prepare to compress; stops at the first refusal. `told` hears of each report as it comes."""
    began = time.perf_counter()
    report = Report(verb="run", verdict=Verdict.DONE)
    for verb in LIFE.values():
        report = verb(project)
        told(report)
        if report.verdict is Verdict.REFUSED:
            break
    return replace(report, verb="run", seconds=time.perf_counter() - began)


def deployable(project: Project) -> Path:
    """The folder of the Bundle to serve: the newest compressed one that its contract accepted."""
    newest = project.store.latest("compress")
    if newest is None:
        message = tr("{folder} has no compressed Bundle yet.").format(folder=project.folder)
        raise InputError(message, code="serve.nothing", hint=f"luodi run {project.folder}")
    if read_report(newest.path / REPORT).verdict is Verdict.REFUSED:
        message = tr("The newest Bundle of {folder} was refused by its contract.").format(folder=project.folder)
        raise InputError(message, code="serve.refused", hint=f"luodi report {project.folder}")
    return newest.path / "bundle"


# ---- the steps behind the verbs -------------------------------------------------------------------------


def _prepared(project: Project) -> Step:
    from luodi.stages.prepare import prepare as stage
    from luodi.stages.prepare import source_identity, write_dropped

    def work(folder: Path) -> Report:
        made = stage(project.task, project.brief, project.settings["prepare"], project.folder)
        save_dataset(folder, made.dataset, project.task)
        write_dropped(folder / "dropped.csv", made.dropped)
        sheet = made.dataset.datasheet
        return Report(
            verb="prepare", verdict=Verdict.REFUSED if made.refusals else Verdict.DONE,
            numbers=_counts(sheet), findings=(*made.refusals, *_told(sheet), *sheet.notes),
            details={"datasheet": sheet, "dropped_examples": made.dropped[:SHOWN_ERRORS]},
        )  # fmt: skip

    inputs = {"sources": source_identity(project.brief, project.folder)}
    used = ("task", "data", "input", "target", "group", "seed")
    return _step(project, "prepare", inputs, used, work)


def _trained(project: Project) -> Step:
    prepared = _prepared(project)

    def work(folder: Path) -> Report:
        from luodi.stages.train.train import train as stage

        rows, held_back = (load_split(prepared.folder, name, project.task) for name in ("train", "validation"))
        made = stage(project.task, rows, held_back, project.brief, project.settings["train"], folder)
        return Report(
            verb="train", verdict=Verdict.DONE, numbers=made.numbers, findings=made.findings, bundle="bundle",
            details=made.details,
        )  # fmt: skip

    used = ("task", "goal", "model", "budget", "seed", "accept")
    return _step(project, "train", {"dataset": prepared.result.key}, used, work)


def _evaluated(project: Project) -> Step:
    prepared, trained = _prepared(project), _trained(project)

    def work(folder: Path) -> Report:
        from luodi.stages.evaluate.evaluate import evaluate as stage

        bundle = open_bundle(trained.folder / "bundle")
        openings = project.store.count_test_opening(prepared.result.key, "evaluate")
        dataset = load_dataset(prepared.folder, bundle.task)
        settings, seed = project.settings["evaluate"], project.brief.seed
        made = stage(bundle, dataset, project.contract, settings, folder, openings, seed=seed)
        return Report(
            verb="evaluate", verdict=made.verdict, numbers=made.numbers, findings=made.findings,
            contract=made.contract, bundle=f"../{trained.folder.name}/bundle", details=made.details,
        )  # fmt: skip

    inputs = {"dataset": prepared.result.key, "bundle": trained.result.key}
    return _step(project, "evaluate", inputs, ("accept", "seed"), work)


def _compressed(project: Project) -> Step:
    prepared, trained, evaluated = _prepared(project), _trained(project), _evaluated(project)

    def work(folder: Path) -> Report:
        from luodi.stages.compress.compress import TestSet
        from luodi.stages.compress.compress import compress as stage
        from luodi.stages.evaluate.baselines import load_baselines

        parent = open_bundle(trained.folder / "bundle")
        rows, held_back = (load_split(prepared.folder, name, parent.task) for name in ("train", "validation"))

        def open_test() -> TestSet[Any, Any]:
            project.store.count_test_opening(prepared.result.key, "compress")
            examples = load_split(prepared.folder, "test", parent.task)
            return TestSet(examples=examples, baselines=load_baselines(parent.task, evaluated.folder, "test"))

        seen = (*rows, *held_back)
        settings = project.settings["compress"]
        made = stage(parent, held_back, seen, open_test, project.contract, settings, folder)
        judgements = project.contract.judge("compress", made.numbers)
        words = tuple(explain_judgement(j) for j in judgements)
        return Report(
            verb="compress", verdict=verdict_of(judgements), numbers=made.numbers, findings=(*words, *made.findings),
            contract=tuple(j.as_row() for j in judgements), bundle="bundle", details=made.details,
        )  # fmt: skip

    inputs = {"dataset": prepared.result.key, "bundle": trained.result.key, "scores": evaluated.result.key}
    return _step(project, "compress", inputs, ("accept", "seed"), work)


def _step(
    project: Project, verb: str, inputs: Mapping[str, str], used: tuple[str, ...], work: Callable[[Path], Report]
) -> Step:
    """The published result of a verb, made now where there is none, and the page brought up to date."""
    key = project.key(verb, inputs, used)

    def fill(folder: Path) -> None:
        began = time.perf_counter()
        report = work(folder)
        keep_report(folder / REPORT, replace(report, seconds=time.perf_counter() - began))

    made = project.store.find(verb, key)
    result = made or project.store.make(verb, key, inputs, fill)
    report = read_report(result.path / REPORT)
    bundle = str((result.path / report.bundle).resolve()) if report.bundle else ""
    page = project.folder / "runs" / "report.html"
    report = replace(report, bundle=bundle, report=str(page), next=_next(project, report))
    if made is None:
        _write_page(project, page)
    return Step(result=result, report=report)


def _write_page(project: Project, page: Path) -> None:
    """One page of the newest result of each verb."""
    from luodi.report.page import write_page

    found = {verb: project.store.latest(verb) for verb in LIFE}
    newest = {verb: result for verb, result in found.items() if result}
    reports = {verb: read_report(result.path / REPORT) for verb, result in newest.items()}
    title = project.brief.goal or project.folder.resolve().name
    write_page(page, title, reports, language(), _about(newest))


def _about(newest: Mapping[str, Result]) -> About:
    """Where the results came from, for the foot of the page."""
    from luodi.report.page import About

    identities = {verb: result.key for verb, result in newest.items()}
    made = [result.path / "bundle" for result in newest.values() if (result.path / "bundle").is_dir()]
    if not made:
        return About(identities=identities)
    manifest = read_manifest(made[-1])
    return About(
        model=str(manifest.network.get("base", "")), recipe=manifest.recipe, versions=manifest.versions,
        identities={**identities, "bundle": manifest.seal},
    )  # fmt: skip


def show(project: Project) -> Path:
    """The page, written anew in the language spoken now."""
    page = project.folder / "runs" / "report.html"
    _write_page(project, page)
    return page


def _next(project: Project, report: Report) -> str:
    """The command that a user would give now."""
    if report.verdict is Verdict.REFUSED:
        return f"luodi report {project.folder}"
    after = {"prepare": "train", "train": "evaluate", "evaluate": "compress", "compress": "serve"}
    return f"luodi {after[report.verb]} {project.folder}"


def _refused(step: Step) -> bool:
    return step.report.verdict is Verdict.REFUSED


def _counts(sheet: Datasheet) -> dict[str, Measure]:
    dropped = {f"dropped.{reason}": Measure.exact(count) for reason, count in sheet.dropped.items()}
    rows = {"rows_read": Measure.exact(sheet.rows_read), "rows_kept": Measure.exact(sheet.rows_kept)}
    leak = Measure.exact(sheet.leak_share, n=sheet.splits.get("test", 0))
    return {**rows, **dropped, "leak_share": leak}


def _told(sheet: Datasheet) -> tuple[str, ...]:
    kept = tr("{kept} of {read} rows are kept: {train} to train, {validation} to choose, {test} to test.")
    return (
        kept.format(kept=sheet.rows_kept, read=sheet.rows_read, **sheet.splits),
        tr("Share of test rows with a copy in training: {share:.1%}.").format(share=sheet.leak_share),
    )


def bundle_at(folder: Path) -> Bundle[Any, Any]:
    """A Bundle's own folder, or a project's deployable one."""
    from luodi.core.project import open_project

    if (folder / "bundle.json").is_file():
        read_manifest(folder)
        return open_bundle(folder)
    return open_bundle(deployable(open_project(folder)))
