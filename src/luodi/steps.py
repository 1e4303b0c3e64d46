"""The steps behind the verbs of `lifecycle.py`: which rows and results each needs, its key, its report, the page.

What was made once from the same data, settings and code is not made again, and what was interrupted goes on where it
stopped. One command looks at its sources once, and from the first result that it has to make it is alone at work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luodi.core.bundle import open_bundle, read_manifest
from luodi.core.contract import explain_judgement, verdict_of
from luodi.core.datasets import load_dataset, load_split, save_dataset
from luodi.core.project import METRIC, Project
from luodi.core.report import Report, Verdict, keep_report, read_report
from luodi.core.stopping import stop_if_asked
from luodi.core.store import KEY_LENGTH, MANIFEST, Result, Store, hash_json
from luodi.core.task import Task
from luodi.core.types import Example, X, Y
from luodi.errors import DataError, InputError
from luodi.messages import language, tr

if TYPE_CHECKING:
    from luodi.stages.prepare.config import PrepareSettings
    from luodi.stages.train.config import TrainSettings
    from luodi.stages.train.train import GoesOn

REPORT = "report.json"
SHOWN_ERRORS = 50
TRAINED_BY = ("task", "goal", "model", "budget", "seed", METRIC)
"""What of the page makes another Bundle."""
SHOWN = ("prepare", "train", "evaluate", "explain", "compress", "search")
"""Verbs whose newest results make the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A verb's published folder and the report in it."""

    result: Result
    report: Report

    @property
    def folder(self) -> Path:
        return self.result.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One command on one project, with the steps that it has asked for."""

    command: str
    project: Project
    alone: ExitStack
    """Holds the store, from the first step that has to be made to the end of the command."""
    steps: dict[str, Step] = field(default_factory=dict)


def live(
    command: str, project: Project, steps: Sequence[Callable[[Life], Step]],
    told: Callable[[Report], None] = lambda report: None,
) -> Report:  # fmt: skip
    """The report of the last step, or of the first that refuses."""
    report = Report(verb=command, verdict=Verdict.DONE)
    with ExitStack() as alone:
        life = Life(command=command, project=project, alone=alone)
        for step in steps:
            report = once(life, step).report
            told(report)
            if report.verdict is Verdict.REFUSED:
                break
    return report


def prepared_step(life: Life) -> Step:
    from luodi.stages.prepare import count_rows, source_identity, tell_rows, write_dropped
    from luodi.stages.prepare import prepare as stage

    project = life.project

    def work(folder: Path) -> Report:
        made = stage(project.task, project.brief, project.settings["prepare"], project.folder)
        save_dataset(folder, made.dataset, project.task)
        write_dropped(folder / "dropped.csv", made.dropped)
        sheet = made.dataset.datasheet
        return Report(
            verb="prepare", verdict=Verdict.REFUSED if made.refusals else Verdict.DONE,
            numbers=count_rows(sheet), findings=(*made.refusals, *tell_rows(sheet), *sheet.notes),
            details={"datasheet": sheet, "dropped_examples": made.dropped[:SHOWN_ERRORS]},
        )  # fmt: skip

    inputs = {"sources": source_identity(project.brief, project.folder)}
    used = ("task", "data", "input", "target", "group", "seed")
    return _step(life, "prepare", inputs, used, work)


def trained_step(life: Life, goes_on: GoesOn | None = None) -> Step:
    project, prepared = life.project, once(life, prepared_step)

    def work(folder: Path) -> Report:
        from luodi.stages.train.train import train as stage

        rows, held_back = (load_split(prepared.folder, name, project.task) for name in ("train", "validation"))
        made = stage(project.task, rows, held_back, project.brief, project.settings["train"], folder, goes_on)
        return Report(
            verb="train", verdict=Verdict.DONE, numbers=made.numbers, findings=made.findings, bundle="bundle",
            details=made.details,
        )  # fmt: skip

    return _step(life, "train", learned_from(project, prepared), TRAINED_BY, work)


def learned_from(project: Project, prepared: Step) -> dict[str, str]:
    """The rows, and the Bundle that the network begins as where `model:` names one: another one under the same name
    makes another model."""
    from luodi.models.source import bundle_of

    begun = bundle_of(project.brief.model)
    return {"dataset": prepared.result.key, **({"model": read_manifest(begun).seal} if begun else {})}


def searched_step(life: Life, count: int) -> Step:
    """Trials are trainings with other settings laid over the page; what is hopeless leaves nothing."""
    from luodi.stages.train.found import explain
    from luodi.stages.train.search import plan_search
    from luodi.stages.train.search import search as stage
    from luodi.stages.train.train import Abandoned

    project, prepared = life.project, once(life, prepared_step)
    inputs = learned_from(project, prepared)

    def fit(settings: TrainSettings, goes_on: GoesOn | None) -> tuple[str, Report]:
        laid = replace(project, settings={**project.settings, "train": settings})
        try:
            step = trained_step(replace(life, project=laid, steps=dict(life.steps)), goes_on)
        except (Abandoned, DataError):
            project.store.drop("train", laid.key("train", inputs, TRAINED_BY))
            raise
        return step.result.key, step.report

    def work(folder: Path) -> Report:
        rows, held_back = (load_split(prepared.folder, name, project.task) for name in ("train", "validation"))
        made = plan_search(project, rows, held_back, count, project.key("train", inputs, TRAINED_BY))
        found = explain(made, stage(made, fit, folder), fit)
        return Report(
            verb="search", verdict=Verdict.DONE, numbers=found.numbers, findings=found.findings,
            bundle=f"../train-{found.best}/bundle", details=found.details,
        )  # fmt: skip

    return _step(life, "search", search_inputs(project, inputs, count), TRAINED_BY, work)


def search_inputs(project: Project, inputs: Mapping[str, str], count: int) -> dict[str, str]:
    """Those of the training that the page asks for, what it leaves open, and how often to try."""
    page, said = project.key("train", inputs, TRAINED_BY), sorted(project.said.get("train", ()))
    return {**inputs, "search": hash_json([page, said, count])[:KEY_LENGTH]}


def evaluated_step(life: Life) -> Step:
    project, prepared, trained = life.project, once(life, prepared_step), once(life, trained_step)

    def work(folder: Path) -> Report:
        from luodi.stages.evaluate.evaluate import evaluate as stage

        bundle = open_bundle(trained.folder / "bundle")
        openings = project.store.count_test_opening(prepared.result.key, "evaluate", folder.stem)
        dataset = load_dataset(prepared.folder, bundle.task)
        settings, seed = project.settings["evaluate"], project.brief.seed
        made = stage(bundle, dataset, project.contract, settings, folder, openings, seed=seed)
        return Report(
            verb="evaluate", verdict=made.verdict, numbers=made.numbers, findings=made.findings,
            contract=made.contract, bundle=f"../{trained.folder.name}/bundle", details=made.details,
        )  # fmt: skip

    inputs = {"dataset": prepared.result.key, "bundle": trained.result.key}
    return _step(life, "evaluate", inputs, ("accept", "seed"), work)


def compared_step(life: Life, theirs: Path) -> Step:
    """Rows that the other Bundle has learned from are left out, where it is known what these were."""
    from luodi.report.single import write_comparison
    from luodi.stages.evaluate.compare import COMPARISON, compare, require_same_question, rows_not_seen

    project = life.project
    made = newest_made(project)
    require_same_question(read_manifest(made.path / "bundle"), read_manifest(theirs))
    prepared = made_from(project.store, made, "prepare")
    names = label_of(made.path / "bundle"), label_of(theirs)

    def work(folder: Path) -> Report:
        ours, others = open_bundle(made.path / "bundle"), open_bundle(theirs)
        test = load_split(prepared.path, "test", ours.task)
        known = rows_seen_by(theirs, ours.task)
        is_seen = None if known is None else met_before(ours.task, test, known, project.settings["prepare"])
        kept, told = rows_not_seen(test, is_seen, names[1])
        openings = project.store.count_test_opening(prepared.key, "compare", folder.stem)
        found = compare(ours, others, kept, [limit.name for limit in project.contract.quality], folder, names)
        report = Report(
            verb="evaluate", verdict=Verdict.DONE, numbers=found.numbers, findings=(*found.findings, *told),
            details={**found.details, "openings": openings},
        )  # fmt: skip
        write_comparison(folder / COMPARISON, report, language())
        return report

    # What is said of the other one depends on where it lies too.
    other = hash_json([read_manifest(theirs).seal, names[1]])[:KEY_LENGTH]
    inputs = {"dataset": prepared.key, "bundle": made.key, "other": other}
    step = _step(life, "compare", inputs, ("accept",), work)
    return replace(step, report=replace(step.report, report=str(step.folder / COMPARISON), next=""))


def newest_made(project: Project) -> Result:
    """The newest trained result, or what became of it by compression. Raises InputError where there is none."""
    trained, smaller = (project.store.latest(verb) for verb in ("train", "compress"))
    if trained is None:
        message = tr("{folder} has no trained Bundle yet.").format(folder=project.folder)
        raise InputError(message, code="project.untrained", hint=f"luodi train {project.folder}")
    return smaller if smaller is not None and trained.key in smaller.parents else trained


def made_from(store: Store, result: Result, verb: str) -> Result:
    """The result of another verb that this one was made from. Raises InputError where it has been removed."""
    found = next((r for r in store.results() if r.verb == verb and r.key in result.parents), None)
    if found is None:
        message = tr("What {name} was made from is gone: its result of {verb} has been removed.")
        raise InputError(
            message.format(name=result.name, verb=verb), code="project.removed", hint=tr("Run the project anew.")
        )
    return found


def rows_seen_by(bundle: Path, task: Task[Any, Any]) -> Sequence[Example[Any, Any]] | None:
    """What a Bundle in a project's runs/ learned from and was chosen by; None where that is not known: it lies
    elsewhere, its rows have been removed, or it began as another Bundle, which had rows of its own."""
    store = Store(bundle.resolve().parent.parent)
    own = next((r for r in store.results() if r.path.resolve() == bundle.resolve().parent), None)
    if own is None:
        return None
    try:
        trained = own if own.verb == "train" else made_from(store, own, "train")
        prepared = made_from(store, trained, "prepare")
    except InputError:
        return None
    if set(trained.parents) - {prepared.key}:
        return None
    return [row for name in ("train", "validation") for row in load_split(prepared.path, name, task)]


def met_before(
    task: Task[X, Y], test: Sequence[Example[X, Y]], known: Sequence[Example[X, Y]], settings: PrepareSettings
) -> list[bool]:
    """Of each test row, whether it or a near copy stands among the known ones."""
    from luodi.stages.prepare.near_duplicates import group_places

    rows = [*test, *known]
    prints = [task.input.fingerprint(row.input) for row in rows]
    threshold = settings.near_duplicates
    pieces = [task.input.pieces(row.input) for row in rows] if threshold < 1 else None
    groups = group_places([""] * len(rows), prints, pieces, threshold)
    seen = set(groups[len(test) :])
    return [group in seen for group in groups[: len(test)]]


def label_of(bundle: Path) -> str:
    """A name that tells Bundles of several projects apart."""
    folder = bundle.resolve().parent
    return f"{folder.parents[1].name}/{folder.name}" if folder.parent.name == "runs" else bundle.resolve().name


def explained_step(life: Life) -> Step:
    """Of validation rows, since the test rows are opened sparingly. Where the Bundle has been compressed already, it is
    held against what became of it."""
    from luodi.stages.explain.rows import explain_rows

    project, prepared, trained = life.project, once(life, prepared_step), once(life, trained_step)
    newest = project.store.latest("compress")
    smaller = newest if newest is not None and trained.result.key in newest.parents else None

    def work(folder: Path) -> Report:
        bundle = open_bundle(trained.folder / "bundle")
        other = open_bundle(smaller.path / "bundle") if smaller else None
        rows = load_split(prepared.folder, "validation", bundle.task)
        made = explain_rows(bundle, rows, project.settings["explain"], other)
        return Report(
            verb="explain", verdict=Verdict.DONE, numbers=made.numbers, findings=made.findings, details=made.details,
            bundle=f"../{trained.folder.name}/bundle",
        )  # fmt: skip

    compared = {"compressed": smaller.key} if smaller else {}
    inputs = {"dataset": prepared.result.key, "bundle": trained.result.key, **compared}
    return _step(life, "explain", inputs, (), work)


def compressed_step(life: Life) -> Step:
    project = life.project
    prepared, trained, evaluated = (once(life, step) for step in (prepared_step, trained_step, evaluated_step))

    def work(folder: Path) -> Report:
        from luodi.stages.compress.compress import TestSet
        from luodi.stages.compress.compress import compress as stage
        from luodi.stages.evaluate.baselines import load_baselines

        parent = open_bundle(trained.folder / "bundle")
        rows, held_back = (load_split(prepared.folder, name, parent.task) for name in ("train", "validation"))

        def open_test() -> TestSet[Any, Any]:
            project.store.count_test_opening(prepared.result.key, "compress", folder.stem)
            examples = load_split(prepared.folder, "test", parent.task)
            return TestSet(examples=examples, baselines=load_baselines(parent.task, evaluated.folder, "test"))

        settings = project.settings["compress"]
        contract = project.contract.aimed(settings.target)
        made = stage(parent, rows, held_back, open_test, contract, settings, folder)
        judgements = contract.judge("compress", made.numbers)
        words = tuple(explain_judgement(j) for j in judgements)
        return Report(
            verb="compress", verdict=verdict_of(judgements), numbers=made.numbers, findings=(*words, *made.findings),
            contract=tuple(j.as_row() for j in judgements), bundle="bundle", details=made.details,
        )  # fmt: skip

    inputs = {"dataset": prepared.result.key, "bundle": trained.result.key, "scores": evaluated.result.key}
    return _step(life, "compress", inputs, ("accept", "seed"), work)


def once(life: Life, step: Callable[[Life], Step]) -> Step:
    """Each step of a command is asked for once: its sources are not hashed again."""
    name = step.__name__
    if name not in life.steps:
        life.steps[name] = step(life)
    return life.steps[name]


def _step(
    life: Life, verb: str, inputs: Mapping[str, str], used: tuple[str, ...], work: Callable[[Path], Report]
) -> Step:
    """The published result of a verb, made now where there is none, and the page brought up to date."""
    stop_if_asked()
    project, store = life.project, life.project.store
    key = project.key(verb, inputs, used)

    def fill(folder: Path) -> None:
        began = time.perf_counter()
        report = work(folder)
        keep_report(folder / REPORT, replace(report, seconds=time.perf_counter() - began))

    result = store.find(verb, key)
    if result is None:
        life.alone.enter_context(store.held(life.command))
        result = store.make(verb, key, inputs, fill, project.recipe(verb, used))
    report = read_report(result.path / REPORT)
    bundle = str((result.path / report.bundle).resolve()) if report.bundle else ""
    page = project.folder / "runs" / "report.html"
    report = replace(report, bundle=bundle, report=str(page), next=_next(project, report))
    if _is_older(page, result.path / MANIFEST):
        write_newest(project, page)
    return Step(result=result, report=report)


def _is_older(page: Path, manifest: Path) -> bool:
    """Whether the page knows nothing of a result yet: it is new, or the one who made it was killed."""
    return not page.is_file() or page.stat().st_mtime_ns <= manifest.stat().st_mtime_ns


def write_newest(project: Project, page: Path) -> None:
    """One page of the newest result of each verb."""
    from luodi.report.page import about_results, write_page

    found = {verb: project.store.latest(verb) for verb in SHOWN}
    newest = {verb: result for verb, result in found.items() if result}
    if "search" in newest and newest["search"].published < newest["train"].published:
        del newest["search"]  # the model has been trained anew since
    reports = {verb: read_report(result.path / REPORT) for verb, result in newest.items()}
    title = project.brief.goal or project.folder.resolve().name
    write_page(page, title, reports, language(), about_results(newest))


def _next(project: Project, report: Report) -> str:
    """The command that a user would give now."""
    if report.verdict is Verdict.REFUSED:
        return f"luodi report {project.folder}"
    after = {
        "prepare": "train", "train": "evaluate", "search": "evaluate", "evaluate": "compress", "explain": "compress",
        "compress": "serve",
    }  # fmt: skip
    return " ".join(("luodi", after[report.verb], str(project.folder), *report.details.get("overrides", ())))
