"""Many trainings with different settings, judged on the validation rows.

A trial is an ordinary training and its result an ordinary result, so that nothing is computed twice. The first has the
page's own settings: the best can be no worse, on the validation rows. A budget on the page is that of each training.
Of the Bundles, the first and the best are kept; a beaten one goes as soon as it is beaten, since twenty of 500 MB would
fill a disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luodi.backends.optuna import Knob, Value, is_hopeless, next_values
from luodi.core.measure import Measure, Metric
from luodi.core.progress import say
from luodi.core.project import Project
from luodi.core.report import Report
from luodi.core.scoring import deciding_metric
from luodi.core.stopping import stop_if_asked
from luodi.core.store import hash_json
from luodi.core.types import Example
from luodi.errors import ConfigError, DataError
from luodi.messages import tr
from luodi.stages.train.checkpoints import Records, ScorePoint
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.cost import Cost, tell_cost
from luodi.stages.train.plan import Plan
from luodi.stages.train.space import dearest, differing, find_knobs, lay_settings
from luodi.stages.train.train import Abandoned, GoesOn
from luodi.stages.train.train import estimate as estimate_one
from luodi.stages.train.trials import (
    Study,
    Trial,
    longest_study,
    say_values,
    write_study,
)  # fmt: skip

Fit = Callable[[TrainSettings, GoesOn | None], tuple[str, Report]]
"""One training, as `luodi train` would do it with these settings: the key of its result, and its report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What is searched, and with what."""

    project: Project
    knobs: tuple[Knob, ...]
    rows: Sequence[Example[Any, Any]]
    held_back: Sequence[Example[Any, Any]]
    count: int
    """Trainings in all, those of an earlier search included."""
    page: str
    """Key of the training that the page alone asks for."""

    @property
    def settings(self) -> TrainSettings:
        settings: TrainSettings = self.project.settings["train"]
        return settings

    @property
    def study(self) -> Study:
        """What has been tried so far, by whatever search of the same page and data, a longer one cut to `count`."""
        identity = hash_json({"page": self.page, "knobs": [k.name for k in self.knobs]})
        longest = longest_study(self.project.store.root, identity)
        return replace(longest, trials=longest.trials[: self.count])

    @property
    def metric(self) -> Metric:
        return deciding_metric(self.project.task, list(self.project.brief.accept))


def plan_search(
    project: Project, rows: Sequence[Example[Any, Any]], held_back: Sequence[Example[Any, Any]], count: int, page: str
) -> Search:
    """Raises ConfigError where everything is said already."""
    settings = project.settings["train"]
    knobs = find_knobs(project.task, project.brief, settings, project.said.get("train", frozenset()))
    if not knobs:
        message = tr("There is nothing to search: every setting that could be tried is said already.")
        raise ConfigError(message, code="search.nothing", hint=tr("Leave some of them out, learning_rate for example."))
    return Search(project=project, knobs=knobs, rows=rows, held_back=held_back, count=count, page=page)


def search(made: Search, fit: Fit, folder: Path) -> Study:
    """Goes on with what has been tried already, and keeps each trial in `folder` as soon as it is over."""
    study = made.study
    if study.trials:
        say(tr("{done} of {count} trials are done already.").format(done=len(study.trials), count=made.count))
    else:
        say(say_cost(made, expected_cost(made, folder)))
    while len(study.trials) < made.count:
        stop_if_asked()
        trial = _try_next(made, study, fit)
        study = replace(study, trials=(*study.trials, trial))
        write_study(folder, study)
        _forget_beaten(made.project, study)
    write_study(folder, study)
    return study


def expected_cost(made: Search, folder: Path) -> Cost:
    """Of all trainings that are left, if each were as dear as the dearest settings and none were pruned. Measured by
    setting that one up; what it writes is removed."""
    aside = folder / "estimate"
    aside.mkdir(exist_ok=True)
    settings = lay_settings(made.settings, made.knobs, dearest(made.knobs))
    try:
        one = estimate_one(made.project.task, made.rows, made.held_back, made.project.brief, settings, aside)
    finally:
        shutil.rmtree(aside)
    n = _left(made)
    return replace(  # of the disk: the first, the best, and the one that is training
        one, seconds=n * one.seconds, watt_hours=n * one.watt_hours, money=n * one.money, disk_bytes=3 * one.disk_bytes
    )


def say_cost(made: Search, cost: Cost) -> str:
    told = tr("{count} trainings with different settings will take {cost} at the most; hopeless ones are cut short.")
    return told.format(count=_left(made), cost=tell_cost(cost))


def _left(made: Search) -> int:
    return made.count - len(made.study.trials)


# ---- one trial ------------------------------------------------------------------------------------------


def _try_next(made: Search, study: Study, fit: Fit) -> Trial:
    number = len(study.trials) + 1
    values: dict[str, Value] = {k.name: k.default for k in made.knobs}
    if study.trials:
        values = next_values(made.knobs, [t.tried for t in study.trials], made.project.brief.seed)
    _say_trial(made, study, values)
    before = next((t for t in study.trials if t.values == values), None)
    if before:  # nothing is computed twice
        return replace(before, number=number)
    return _tried(made, study, Trial(number=number, values=values, state="done"), fit)


def _tried(made: Search, study: Study, trial: Trial, fit: Fit) -> Trial:
    earlier = [t.tried for t in study.trials]

    def goes_on(plan: Plan, records: Records) -> bool:
        bounds = [(point.step / plan.steps, _upper(made.metric, point)) for point in records.scores]
        return not earlier or not is_hopeless(earlier, bounds)

    try:
        key, report = fit(lay_settings(made.settings, made.knobs, trial.values), goes_on)
    except Abandoned as stop:
        last = stop.records.scores[-1]
        measure = Measure(
            value=last.value, low=last.low, high=last.high, n=len(made.held_back), unit=made.metric.unit
        )
        scores = _scores(made.metric, stop.plan.steps, stop.records)
        say(tr("Pruned: at this point of its plan half of the others were better, by more than chance."))
        return replace(trial, state="pruned", measure=measure, scores=scores, seconds=stop.records.seconds)
    except DataError as error:
        if error.code != "train.nan" or not earlier:  # the page's own settings must do
            raise
        say(str(error))
        return replace(trial, state="diverged")
    measure, records = report.numbers[f"validation_{made.metric.name}"], report.details["scores"]
    steps = report.details["plan"]["steps"]
    return replace(
        trial, measure=measure, score=_signed(made.metric, measure.value), key=key, seconds=report.seconds,
        scores=tuple((point["step"] / steps, _signed(made.metric, point["value"])) for point in records),
    )  # fmt: skip


def _scores(metric: Metric, steps: int, records: Records) -> tuple[tuple[float, float], ...]:
    return tuple((point.step / steps, _signed(metric, point.value)) for point in records.scores)


def _signed(metric: Metric, value: float) -> float:
    return value if metric.higher_is_better else -value


def _upper(metric: Metric, point: ScorePoint) -> float:
    """The end of its interval at which it would be best."""
    return point.high if metric.higher_is_better else -point.low


def _say_trial(made: Search, study: Study, values: dict[str, Value]) -> None:
    told = say_values(differing(made.knobs, values)) or tr("the settings as they stand")
    if not study.trials:
        say(tr("Trial {number} of {count}: {settings}.").format(number=1, count=made.count, settings=told))
        return
    sentence = tr("Trial {number} of {count}: {settings}. Best so far: {metric} {value:.4f}, trial {best}.")
    measure = study.best.measure
    assert measure is not None
    say(sentence.format(
        number=len(study.trials) + 1, count=made.count, settings=told, metric=made.metric.name, value=measure.value,
        best=study.best.number,
    ))  # fmt: skip


def _forget_beaten(project: Project, study: Study) -> None:
    """Bundles of trials that are neither the first nor the best, unless anything points to them or they are older than
    the search."""
    results = project.store.results()
    needed = {key for result in results for key in result.parents}
    served = project.store.services()
    kept = {study.trials[0].key, study.best.key, *needed}
    beaten = {t.key for t in study.trials} - kept
    for result in results:
        mine = result.verb == "train" and result.published > study.began
        if mine and result.key in beaten and result.name not in served:
            project.store.drop("train", result.key)
