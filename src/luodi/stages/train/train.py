"""The stage: set up, plan, run the loop, keep best and last, seal the Bundle."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from luodi.core.batching import item_size
from luodi.core.bundle import NUM_GOLDEN, TORCH, Manifest, golden_pairs, seal_bundle
from luodi.core.config import Brief
from luodi.core.measure import Measure, with_interval
from luodi.core.progress import progress, say, silent
from luodi.core.stopping import Stopped, finishing, stop_asked
from luodi.core.store import size_of, write_atomically
from luodi.core.task import Base, Task
from luodi.core.types import Example, X, Y
from luodi.messages import tr
from luodi.models.engine import TorchEngine, save_network
from luodi.models.frozen import forget_activations
from luodi.models.source import described
from luodi.stages.train.averaging import MovingAverage, begin_average, keep_recent, try_mean
from luodi.stages.train.calibration import Calibrated, calibrate
from luodi.stages.train.checkpoints import (
    BEST,
    LAST,
    CurvePoint,
    Records,
    ScorePoint,
    load_checkpoint,
    read_records,
    save_checkpoint,
    save_weights,
)  # fmt: skip
from luodi.stages.train.config import TrainSettings, check, deciding
from luodi.stages.train.cost import Cost, cost_numbers, expected_cost, paid_cost, tell_cost
from luodi.stages.train.loop import (
    Step,
    training_steps,
)  # fmt: skip
from luodi.stages.train.optimizers import make_optimizer
from luodi.stages.train.plan import PLAN, Plan, planned_batches
from luodi.stages.train.planning import keep_to_budget, make_plan
from luodi.stages.train.setup import ACTIVATIONS, Setup, encoded, set_up
from luodi.stages.train.team import ALONE, Team
from luodi.stages.train.together import is_told_to_stop, learn_together, members_of
from luodi.stages.train.tracking import Tracking, make_trackers, tracked

CURVES = "curves.json"
CURVE_EVERY = 20  # steps between two points of the loss curve
SAVE_EVERY_S = 60.0  # a kill costs a minute of work at the most


GoesOn = Callable[[Plan, Records], bool]
"""Asked after each validation score but the last, whether the run is worth going on with."""


class Abandoned(Exception):
    """A run that was not worth going on with; what it wrote so far is for whoever asked to remove."""

    def __init__(self, plan: Plan, records: Records) -> None:
        super().__init__()
        self.plan, self.records = plan, records


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What `train` is given, for those who do it."""

    task: Task[Any, Any]
    rows: Sequence[Example[Any, Any]]
    held_back: Sequence[Example[Any, Any]]
    brief: Brief
    settings: TrainSettings
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    setup: Setup
    base: Base
    plan: Plan
    cost: Cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    bundle: Path
    numbers: dict[str, Measure]
    findings: tuple[str, ...]
    details: dict[str, Any]


def train(
    task: Task[X, Y], rows: Sequence[Example[X, Y]], held_back: Sequence[Example[X, Y]], brief: Brief,
    settings: TrainSettings, folder: Path, goes_on: GoesOn | None = None,
) -> Trained:  # fmt: skip
    """Fits the network to `rows`; `held_back`, the validation rows, choose what is kept. Raises Abandoned where
    `goes_on` says so, which is not asked where several processes learn."""
    check(settings, task)
    job = Job(task=task, rows=rows, held_back=held_back, brief=brief, settings=settings, folder=folder)
    members = members_of(settings)
    make_trackers(settings.trackers)  # raises before the first step
    if members.count > 1 and not read_records(folder / LAST).stopped:
        learn_together(_learn_as_member, job, folder, members)
        if not read_records(folder / LAST).stopped:  # a member was asked to stop, and all have
            raise Stopped(signal.SIGTERM)
    with silent() if members.count > 1 else nullcontext():  # it has all been said
        planned, records, tracking = _learn(ALONE, job, goes_on)
    setup, base, plan, cost = planned.setup, planned.base, planned.plan, planned.cost
    taken = size_of(folder)
    scored = [point.step for point in records.scores]
    try_mean(folder, setup.model, scored, lambda: _signed(setup, _measured(setup)), records.best_value or 0.0)
    made, model, final = _completed(setup)
    learned = made.task
    manifest = Manifest(
        name=brief.title, task=brief.task or task.name, schema=learned.schema,
        engine=TORCH, processor=type(setup.processor).__module__,
        network=described(base),
        recipe={"brief": msgspec.to_builtins(brief), "train": deciding(settings)}, made_by=("train",),
        versions={"torch": str(torch.__version__)},
    )  # fmt: skip
    _seal(setup, learned, model, manifest, folder / "bundle")
    trained = _told(setup, plan, records, final, folder / "bundle")
    trained = replace(trained, findings=(*trained.findings, *made.told))
    paid = replace(paid_cost(setup, plan, records.seconds), disk_bytes=max(taken, size_of(folder)))
    say(tr("The run took {cost}.").format(cost=tell_cost(paid)))
    numbers = {**trained.numbers, **cost_numbers(paid)}
    tracking.end(numbers)
    return replace(
        trained, numbers=numbers,
        details={**trained.details, "cost": {"expected": msgspec.to_builtins(cost), "paid": msgspec.to_builtins(paid)}},
    )  # fmt: skip


def estimate(
    task: Task[X, Y], rows: Sequence[Example[X, Y]], held_back: Sequence[Example[X, Y]], brief: Brief,
    settings: TrainSettings, folder: Path,
) -> Cost:  # fmt: skip
    """What `train` would cost. Its plan, and what frozen layers give, stay in the folder for it."""
    check(settings, task)
    job = Job(task=task, rows=rows, held_back=held_back, brief=brief, settings=settings, folder=folder)
    members = members_of(settings)
    if members.count > 1 and not (folder / PLAN).is_file():
        learn_together(_plan, job, folder, members)
    return _plan(ALONE, job).cost


def _plan(team: Team, job: Job) -> Planned:
    setup, base = set_up(job.task, job.rows, job.held_back, job.brief, job.settings, job.folder, team)
    plan = make_plan(setup, job.brief, base)
    return Planned(setup=setup, base=base, plan=plan, cost=expected_cost(setup, plan))


def _learn(team: Team, job: Job, goes_on: GoesOn | None = None) -> tuple[Planned, Records, Tracking]:
    """All up to the last step, alone or as one of a team. Whoever calls ends the tracking."""
    planned = _plan(team, job)
    say(tr("The run will take {cost}.").format(cost=tell_cost(planned.cost)))
    trackers = make_trackers(job.settings.trackers if team.leads else ())
    with tracked(trackers, planned.setup, planned.plan, job.brief) as tracking:
        plan, records = _run(planned.setup, planned.plan, tracking, goes_on)
        return replace(planned, plan=plan), records, tracking


def _learn_as_member(team: Team, job: Job) -> None:
    """What the run came to is told by the process that started the team: here it is broken off, and goes on there."""
    _, _, tracking = _learn(team, job)
    tracking.end({})


def _completed(setup: Setup) -> tuple[Calibrated, torch.nn.Module, Measure]:
    """The whole network with what its task puts beside it, calibrated, and its score on the validation rows."""
    rows, held_back = setup.train.examples, setup.validation.examples
    if setup.adapters:
        setup.adapters.merge()
    items, engine = setup.validation.items, TorchEngine(setup.model, setup.device)
    answers = setup.task.examine(items, engine, [setup.metric])
    learned, model = setup.task, setup.model
    if setup.settings.wide:
        learned, model = setup.task.complete(model, rows, held_back, answers)
    if model is not setup.model:  # what was put beside it reads more; the rest is seen as it was while it learned
        more = encoded(learned, held_back, setup.processor)
        items = [{**new, **seen} for new, seen in zip(more, items, strict=True)]
        answers = learned.examine(items, TorchEngine(model.to(setup.device), setup.device), [setup.metric])
    if setup.split:
        setup.model.encoder = setup.split.whole
        forget_activations(setup.folder / ACTIVATIONS)
    if setup.narrowed:
        setup.narrowed.restore()
    made = calibrate(learned, held_back, answers, setup.metric)
    final = with_interval(setup.metric, setup.metric.sums([e.target for e in held_back], made.answers))
    return made, model.to("cpu"), final


def _run(setup: Setup, plan: Plan, tracking: Tracking, goes_on: GoesOn | None) -> tuple[Plan, Records]:
    """From the first step, or from the last checkpoint, to the end, by a plan that keeps to the budget."""
    optimizer = make_optimizer(setup.model, plan)
    torch.manual_seed(plan.seed)
    records, average = Records(), begin_average(setup.model, plan.ema)
    if (setup.folder / LAST).is_file():
        records = load_checkpoint(setup.folder / LAST, setup.model, optimizer, average.mean)
        say(tr("Going on from step {step} of {steps}.").format(step=records.step, steps=plan.steps))
    else:
        sentence = tr("{steps} steps ({epochs:.1f} epochs) in {precision} on {device}, {threads} threads.")
        say(sentence.format(steps=plan.steps, epochs=plan.epochs, precision=plan.precision, device=plan.device,
                            threads=plan.threads))  # fmt: skip
    saved = time.monotonic()
    tracking.follow(records)
    with finishing():  # a signal waits for the end of the step, and what has been done is saved
        for plan, records in _recorded(setup, plan, optimizer, records, average):  # noqa: B020 - each replaces those before
            tracking.follow(records)
            wished = stop_asked() or is_told_to_stop(setup.folder)
            is_asked, is_due = setup.team.any(wished, time.monotonic() - saved > SAVE_EVERY_S)
            is_scored = bool(records.scores) and records.scores[-1].step == records.step
            # Before it is saved: a run that is killed here is scored, and asked about, once more.
            if is_scored and not records.stopped and goes_on and not goes_on(plan, records):
                raise Abandoned(plan, records)
            if is_asked or is_due or is_scored or records.stopped:
                save_checkpoint(setup.folder / LAST, setup.model, optimizer, records, average.mean, setup.team)
                if setup.team.leads:
                    _write_curves(setup, records)
                saved = time.monotonic()
            if is_asked:
                break
    return plan, records


def _recorded(
    setup: Setup, plan: Plan, optimizer: torch.optim.Optimizer, records: Records, average: MovingAverage
) -> Iterator[tuple[Plan, Records]]:
    """The records after each step, with validation scores where they are due, and the plan, which may change on the
    way. None of a run that was killed between its last step and the sealing."""
    sizes = [item_size(i) for i in setup.train.items]
    while not records.stopped:
        batches = planned_batches(plan, sizes, records.step)
        for step in training_steps(setup.network, setup.task, optimizer, setup.train, plan, batches, setup.team):
            average.update(step.number)
            records = _after(records, step, plan)
            progress(tr("training"), step.number, plan.steps, _note(records, step, setup.metric.name))
            if step.number % plan.evaluate_every == 0 or step.number == plan.steps:
                with average.in_place():
                    records = _scored(setup, records)
            if step.number == plan.steps:
                records = replace(records, stopped="planned")
            elif _is_stale(plan, records):
                records = replace(records, stopped="stale")
            yield plan, records
            kept, plan = plan, keep_to_budget(setup, plan, records)
            if records.stopped or plan is not kept:
                break


def _after(records: Records, step: Step, plan: Plan) -> Records:
    records = replace(
        records, step=step.number, seconds=records.seconds + step.seconds, open_loss=records.open_loss + step.loss,
        open_steps=records.open_steps + 1, open_tokens=records.open_tokens + step.tokens,
        open_seconds=records.open_seconds + step.seconds,
    )  # fmt: skip
    if step.number % CURVE_EVERY and step.number != plan.steps:
        return records
    point = CurvePoint(
        step=step.number, epoch=step.number / plan.steps_per_epoch, seconds=records.seconds,
        loss=records.open_loss / records.open_steps, lr=step.rate,
        tokens_per_s=records.open_tokens / max(records.open_seconds, 1e-9),
    )  # fmt: skip
    return replace(
        records, curve=(*records.curve, point), open_loss=0.0, open_steps=0, open_tokens=0, open_seconds=0.0
    )


def _scored(setup: Setup, records: Records) -> Records:
    """With a validation score; the weights are kept where it is the best so far."""
    began = time.perf_counter()
    number = _measured(setup)
    value = setup.team.summed([_signed(setup, number)])[0] / setup.team.size  # no two of a team may differ
    seconds = records.seconds + time.perf_counter() - began
    point = ScorePoint(step=records.step, seconds=seconds, value=number.value, low=number.low, high=number.high)
    records = replace(records, seconds=seconds, scores=(*records.scores, point))
    sentence = tr("step {step}: {metric} {value:.4f} on {n} validation rows.")
    say(sentence.format(step=records.step, metric=setup.metric.name, value=number.value, n=number.n))
    if records.best_value is None or value > records.best_value:
        save_weights(setup.folder / BEST, setup.model, setup.team)
        records = replace(records, best_step=records.step, best_value=value)
    if setup.settings.average:
        steps = [point.step for point in records.scores]
        keep_recent(setup.folder, setup.model, steps, setup.settings.average, setup.team)
    return records


def _measured(setup: Setup) -> Measure:
    """The network as it is, on the validation rows."""
    engine = TorchEngine(setup.model, device=next(setup.model.parameters()).device.type)
    answers = setup.task.examine(setup.validation.items, engine, [setup.metric])
    return with_interval(setup.metric, setup.metric.sums([e.target for e in setup.validation.examples], answers))


def _signed(setup: Setup, number: Measure) -> float:
    """So that higher is better."""
    return number.value if setup.metric.higher_is_better else -number.value


def _is_stale(plan: Plan, records: Records) -> bool:
    after_best = sum(point.step > records.best_step for point in records.scores)
    return after_best >= plan.patience


def _note(records: Records, step: Step, metric: str) -> str:
    speed = step.tokens / max(step.seconds, 1e-9)
    score = f", {metric} {records.scores[-1].value:.3f}" if records.scores else ""
    return tr("loss {loss:.3f}, {speed:.0f} tokens/s").format(loss=step.loss, speed=speed) + score


def _seal(
    setup: Setup, learned: Task[Any, Any], model: torch.nn.Module, manifest: Manifest, folder: Path
) -> None:
    """Weights, processor, and goldens spread evenly over the validation rows by size."""
    save_network(model, folder / "weights")
    setup.processor.save(folder / "processor")
    items = setup.validation.items
    by_size = sorted(range(len(items)), key=lambda i: (item_size(items[i]), i))
    count = min(NUM_GOLDEN, len(by_size))
    places = [by_size[round(k * (len(by_size) - 1) / max(count - 1, 1))] for k in range(count)]
    inputs = [setup.validation.examples[i].input for i in places]
    answers = learned.predict(learned.encode(inputs, setup.processor), TorchEngine(model))
    seal_bundle(folder, manifest, golden_pairs(learned, inputs, answers))


def _write_curves(setup: Setup, records: Records) -> dict[str, Any]:
    """What there is so far, for whoever wants to look while the run goes on; gives what was written."""
    told = msgspec.to_builtins(records)
    value = next((p.value for p in records.scores if p.step == records.best_step), None)
    curves = {
        "metric": setup.metric.name, "curve": told["curve"], "scores": told["scores"],
        "best": {"step": records.best_step, "value": value},
    }  # fmt: skip
    write_atomically(setup.folder / CURVES, msgspec.json.format(msgspec.json.encode(curves)))
    return curves


def _told(setup: Setup, plan: Plan, records: Records, final: Measure, bundle: Path) -> Trained:
    best = next(point for point in records.scores if point.step == records.best_step)
    tokens = sum(p.tokens_per_s for p in records.curve) / max(len(records.curve), 1)
    numbers = {
        f"validation_{setup.metric.name}": final,
        "training_seconds": Measure.exact(records.seconds, unit="s"),
        "tokens_per_second": Measure.exact(tokens, unit="1/s"),
        "parameters": Measure.exact(plan.parameters),
    }
    stops = {"planned": tr("All planned steps are done."), "stale": tr("The validation score no longer rises.")}
    details = {
        "plan": msgspec.to_builtins(plan), **_write_curves(setup, records),
        "stopped": stops[records.stopped], "setup_seconds": setup.seconds,
    }  # fmt: skip
    finding = tr("The best validation {metric} is {value:.4f}, at step {step} of {steps}.")
    told_best = finding.format(metric=setup.metric.name, value=best.value, step=best.step, steps=plan.steps)
    findings = (*setup.told, told_best, stops[records.stopped])
    return Trained(bundle=bundle, numbers=numbers, findings=findings, details=details)
