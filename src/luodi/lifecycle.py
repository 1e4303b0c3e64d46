"""The whole life of a model on one page. Read this file first.

    understand -> prepare -> train -> evaluate -> explain -> compress -> serve

`understand` takes feedback, and a need that it finds becomes a Project (`draft.py`). Each verb after it takes a Project
and gives a Report. It asks the verb before it for what it needs; what was made once from the same data, settings and
code is not made again, and what was interrupted goes on where it stopped: how, stands in `steps.py`. Modules of the
stages are imported where they are used, so that the first line of help appears at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.datasets import load_split
from luodi.core.project import Project
from luodi.core.report import Report, Verdict, read_report
from luodi.errors import InputError
from luodi.messages import tr
from luodi.steps import (
    REPORT,
    TRAINED_BY,
    Life,
    Step,
    compared_step,
    compressed_step,
    evaluated_step,
    explained_step,
    learned_from,
    live,
    newest_made,
    once,
    prepared_step,
    search_inputs,
    searched_step,
    trained_step,
    write_newest,
)  # fmt: skip

if TYPE_CHECKING:
    from luodi.stages.train.cost import Cost
    from luodi.stages.understand.config import UnderstandSettings


def understand(
    source: str, out: Path, settings: UnderstandSettings | None = None, since: Path | None = None
) -> Report:  # fmt: skip
    """What people said, in a file or a database, to what they need: grouped, proved stable, ranked, in their own words.
    `out`: the folder for what is found; `since`: that of an earlier run to compare with."""
    from luodi.stages.understand.config import UnderstandSettings
    from luodi.understanding import understood

    return understood(source, settings or UnderstandSettings(), out, since)


def prepare(project: Project) -> Report:
    """Sources to three splits that share no copies; every dropped row with its reason."""
    return live("prepare", project, (prepared_step,))


def train(project: Project) -> Report:
    """The training rows to a Bundle; the validation rows choose what is kept."""
    return live("train", project, (prepared_step, trained_step))


def evaluate(project: Project) -> Report:
    """The Bundle on rows that nothing was chosen on, against the contract and the baselines."""
    return live("evaluate", project, (prepared_step, evaluated_step))


def compare(project: Project, other: Path) -> Report:
    """The newest Bundle of a project and another one, a Bundle or the newest one of a project, on test rows that
    neither has learned from."""
    from luodi.core.project import open_project

    path = as_bundle(other)
    theirs = path if path is not None else newest_made(open_project(other)).path / "bundle"

    def step(life: Life) -> Step:
        return compared_step(life, theirs)

    return live("evaluate", project, (step,))


def explain(project: Project) -> Report:
    """Why the Bundle answers as it does, on validation rows, and whether these reasons can be believed."""
    return live("explain", project, (prepared_step, trained_step, explained_step))


def compress(project: Project) -> Report:
    """The Bundle made smaller and faster by measurement, confirmed once on the test rows."""
    return live("compress", project, (prepared_step, evaluated_step, compressed_step))


def estimate(project: Project, trials: int = 0) -> Report:
    """What `train`, or a search of so many trials, would cost in time, memory, disk, energy and money. What it had to
    make for that, `train` goes on with."""
    with ExitStack() as alone:
        life = Life(command="train", project=project, alone=alone)
        prepared = once(life, prepared_step)
        if prepared.report.verdict is Verdict.REFUSED:
            return prepared.report
        verb, inputs = "train", learned_from(project, prepared)
        page = key = project.key(verb, inputs, TRAINED_BY)
        if trials:
            verb = "search"
            key = project.key(verb, search_inputs(project, inputs, trials), TRAINED_BY)
        if project.store.find(verb, key):
            said = tr("This run is over: its report says what it cost.")
            return Report(verb="train", verdict=Verdict.DONE, findings=(said,), next=f"luodi report {project.folder}")
        found: list[tuple[Cost, str]] = []

        def work(folder: Path) -> None:
            from luodi.stages.train.search import expected_cost, plan_search, say_cost
            from luodi.stages.train.train import estimate as stage

            rows, held_back = (load_split(prepared.folder, name, project.task) for name in ("train", "validation"))
            if trials:
                made = plan_search(project, rows, held_back, trials, page)
                cost = expected_cost(made, folder)
                found.append((cost, say_cost(made, cost)))
            else:
                cost = stage(project.task, rows, held_back, project.brief, project.settings["train"], folder)
                found.append((cost, tr("The run will take {cost}.").format(cost=tell_cost(cost))))

        from luodi.stages.train.cost import cost_numbers, tell_cost

        draft = project.store.begin(verb, key, work)
        if not any(draft.iterdir()):
            draft.rmdir()
    return Report(
        verb="train", verdict=Verdict.DONE, numbers=cost_numbers(found[0][0]), findings=(found[0][1],),
        next=f"luodi train {project.folder}" + (f" --search {trials}" if trials else ""),
    )  # fmt: skip


def search(project: Project, count: int) -> Report:
    """`count` trainings, at least one, with different settings, judged on the validation rows; the best of them, and
    what made it so."""
    from luodi.backends.optuna import require

    require()

    def step(life: Life) -> Step:
        return searched_step(life, count)

    return live("train", project, (prepared_step, step))


LIFE: Mapping[str, Callable[[Project], Report]] = {
    "prepare": prepare, "train": train, "evaluate": evaluate, "explain": explain, "compress": compress,
}  # fmt: skip


def run(project: Project, told: Callable[[Report], None] = lambda report: None) -> Report:
    """From prepare to compress; stops at the first refusal. `told` hears of each report as it comes."""
    began = time.perf_counter()
    report = live("run", project, (prepared_step, trained_step, evaluated_step, compressed_step), told)
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


def show(project: Project) -> Path:
    """The page, written anew in the language spoken now."""
    page = project.folder / "runs" / "report.html"
    write_newest(project, page)
    return page


def bundle_at(folder: Path) -> Bundle[Any, Any]:
    """A Bundle's own folder, a project's deployable one, or that of a packaged model by its name."""
    from luodi.core.project import open_project

    path = as_bundle(folder)
    return open_bundle(path if path is not None else deployable(open_project(folder)))


def as_bundle(folder: Path) -> Path | None:
    """The folder of a Bundle, where `folder` is one or is the name of a packaged model that answers as it is."""
    from luodi.models.ready import is_ready, ready_bundle

    if (folder / "bundle.json").is_file():
        return folder
    return ready_bundle(str(folder)) if not folder.exists() and is_ready(str(folder)) else None
