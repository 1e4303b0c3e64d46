"""`compress`: every candidate is timed on this machine and scored on the same validation examples; of those that keep
the contract the fastest wins, and is confirmed once on the test set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

import msgspec
import numpy as np

from luodi.core.batching import item_size
from luodi.core.bundle import Bundle, open_bundle, seal_bundle
from luodi.core.config import did_you_mean
from luodi.core.contract import Contract
from luodi.core.machine import num_threads, read_cpu
from luodi.core.measure import Measure, Metric
from luodi.core.progress import say
from luodi.core.report import Report, Verdict, keep_report, read_report
from luodi.core.scoring import against, deciding_metric, score
from luodi.core.store import need_disk, write_atomically
from luodi.core.types import Example, Prediction, X, Y
from luodi.errors import ConfigError
from luodi.messages import tr
from luodi.stages.compress.candidates import Made, add_student, make_all, step_of
from luodi.stages.compress.choice import Row, any_within, choose, mark
from luodi.stages.compress.config import LOWER, NARROWER, CompressSettings
from luodi.stages.compress.gate import Judged, judge, too_slow
from luodi.stages.compress.measure import Timing, spread_by_length, time_all
from luodi.stages.compress.memory import peak_memory_mb
from luodi.stages.compress.plan import Means, Shape, Student, next_shape, say_unmet, shape_for
from luodi.stages.compress.recipes import FOR_OTHERS, LOSSLESS, STEPS, STUDENTS
from luodi.stages.compress.students import depth_of, may_narrow
from luodi.stages.compress.workshop import TORCH, Workshop

MEMORY_ASKED = 8
"""Inputs at the least, spread over their lengths."""
BUNDLE, CANDIDATES, DONE = "bundle", "candidates", "compressed.json"
SHAPES = "students.json"
"""Among the candidates: the shapes of the students that were planned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestSet(Generic[X, Y]):
    """What the winner is confirmed on."""

    __test__ = False  # not a test, whatever pytest makes of the name

    examples: Sequence[Example[X, Y]]
    baselines: Mapping[str, Sequence[Prediction[Y]]]
    """Name to what a simple model answered to the same examples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """What `compress` leaves; the Bundle lies in `folder / "bundle"`."""

    chosen: str
    """Name of the candidate; "trained" where none may stand for the trained model."""
    numbers: Mapping[str, Measure]
    """On the test set, and p50_ms, p95_ms, size_mb, speedup."""
    findings: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    """For the report's page; JSON types."""


def compress(
    parent: Bundle[X, Y], validation: Sequence[Example[X, Y]], corpus: Iterable[Example[X, Y]],
    open_test: Callable[[], TestSet[X, Y]], contract: Contract, settings: CompressSettings, folder: Path,
) -> Compressed:  # fmt: skip
    """`corpus`: examples of train and of validation, which the vocabulary must serve and int8 is calibrated on.

    `folder` may hold what a killed run left. `open_test` is called once, after the choice.
    """
    if (folder / DONE).is_file():
        return _read(folder / DONE)
    _check_names(settings)
    # Candidates of a few sizes lie side by side until one is chosen; none is larger than the parent.
    need_disk(folder, 4 * parent.size_bytes)
    workshop = _workshop(parent, list(corpus), settings, folder / CANDIDATES)
    made = make_all(workshop)
    metric = deciding_metric(parent.task, [limit.name for limit in contract.quality])
    drawn = _drawn(validation, settings.scored)
    reference = _answers(workshop.trained, drawn, metric, "trained")
    rows = measure(made, workshop, drawn, reference, metric, {})
    students: list[Student] = []
    while shape := _next_shape(rows, students, workshop, contract):
        need_disk(folder, 3 * parent.size_bytes)  # in torch and for two engines, each smaller than the parent
        made, before = add_student(made, replace(workshop, shape=shape), len(students) + 1), rows
        rows = measure(made, workshop, drawn, reference, metric, before)
        own = {name: row for name, row in rows.items() if name not in before}
        students.append(Student(shape=shape, rows=own))
    chosen = choose(rows, contract, metric.name)
    rows = mark(rows, chosen)
    bundle = made.bundles[chosen]
    numbers = confirm(bundle, open_test(), metric, rows[chosen])
    findings = (
        *tell(rows, made, chosen, numbers[metric.name], metric), *say_unmet(rows, contract),
        *tell_students(students, depth_of(parent)),
    )  # fmt: skip
    details = _details(rows, made, workshop, metric)
    _publish(bundle, numbers, folder)
    result = Compressed(chosen=chosen, numbers=numbers, findings=findings, details=details)
    _keep(folder / DONE, result)
    shutil.rmtree(folder / CANDIDATES, ignore_errors=True)
    return result


def measure(
    made: Made, workshop: Workshop, validation: Sequence[Example[X, Y]], reference: Sequence[Prediction[Y]],
    metric: Metric, before: Mapping[str, Row],
) -> dict[str, Row]:  # fmt: skip
    """Scores, sizes and times of all that were made; `reference`: what the trained one answers. Times are taken of all
    of them anew, in turns; how good those are that were measured `before`, and their memory, is known."""
    task = workshop.trained.task
    inputs = [e.input for e in validation]
    judged = {name: row.judged for name, row in before.items()}
    for name, bundle in made.bundles.items():
        if name not in judged:
            # Proved when it was made, on golden answers and nine shapes: nothing to score anew.
            same = name == "trained" or name in LOSSLESS
            answers = reference if same else _answers(bundle, validation, metric, name)
            judged[name] = judge(task, validation, answers, reference, metric, _gate(name, workshop))
    sizes = [item_size(item) for item in task.encode(inputs, workshop.trained.processor)]
    timed = spread_by_length(inputs, sizes, workshop.settings.timed)
    own = {name: bundle for name, bundle in made.bundles.items() if name not in FOR_OTHERS}
    times = time_all(own, "trained", timed, workshop.settings.rounds)
    times |= {name: times["trained"] for name in made.bundles if name in FOR_OTHERS}
    rows = {name: _row(name, bundle, judged[name], times[name]) for name, bundle in made.bundles.items()}
    known = {name: row.memory_mb for name, row in before.items()}
    return {n: _with_costs(row, made.bundles[n], timed, workshop, known.get(n)) for n, row in rows.items()}


def _with_costs(
    row: Row, bundle: Bundle[Any, Any], inputs: Sequence[Any], workshop: Workshop, memory: float | None
) -> Row:  # fmt: skip
    """With the memory that it takes, in MB where it is known, and the money where a price is told."""
    if row.refused:
        return row
    price = workshop.settings.price_per_hour
    hours = 1e6 / row.times.throughput_per_s.value / 3600
    if memory is None:
        say(tr("{name}: how much memory does it take?").format(name=row.name))
        memory = peak_memory_mb(bundle, inputs[:: max(len(inputs) // MEMORY_ASKED, 1)], workshop.threads)
    return replace(row, memory_mb=memory, cost_per_million=price * hours if price else None)


def _next_shape(
    rows: Mapping[str, Row], students: Sequence[Student], workshop: Workshop, contract: Contract
) -> Shape:  # fmt: skip
    """Of a student that should keep the contract; empty where the page says what to try, or nothing more is needed.
    Planned once, and kept: a run that was killed finds what has learned already."""
    settings, path = workshop.settings, workshop.folder / SHAPES
    kept = msgspec.json.decode(path.read_bytes(), type=list[Shape]) if path.is_file() else []
    if len(students) < len(kept):
        return kept[len(students)]
    is_said = any(told is not None for told in (settings.distill, settings.prune, settings.low_rank))
    wished = STUDENTS & set(settings.candidates or STUDENTS)
    if is_said or not wished:
        return Shape()
    means = Means(
        depth=depth_of(workshop.trained), narrow=may_narrow(workshop.trained),
        lower=any(name.startswith(LOWER) for name in wished), whole=any(name.startswith(NARROWER) for name in wished),
    )  # fmt: skip
    shape = Shape()
    if not students:
        shape = shape_for(rows, contract, means)
    elif not any_within(rows, contract):
        shape = next_shape(students, contract, means)
    if shape:
        write_atomically(path, msgspec.json.encode([*kept, shape]))
    return shape


def _drawn(examples: Sequence[Example[X, Y]], most: int) -> Sequence[Example[X, Y]]:
    """In their own order, and the same ones at every run."""
    if len(examples) <= most:
        return examples
    places = np.random.default_rng(0).choice(len(examples), most, replace=False)
    return [examples[i] for i in sorted(places)]


def confirm(
    bundle: Bundle[X, Y], test: TestSet[X, Y], metric: Metric, row: Row
) -> dict[str, Measure]:
    """The numbers that the contract is held against."""
    predictions = bundle.examine(test.examples, bundle.task.metrics, tr("scoring {name}").format(name=tr("test set")))
    numbers = score(bundle.task, test.examples, predictions, metric)
    for name, (gap, _) in against(test.examples, predictions, test.baselines, metric).items():
        numbers[f"beats_baseline.{name}"] = gap
    return {**numbers, **row.numbers}


def tell(
    rows: Mapping[str, Row], made: Made, chosen: str, confirmed: Measure, metric: Metric
) -> tuple[str, ...]:
    """The findings: what was chosen and what it costs and saves, what was refused, what was not tried."""
    row, trained = rows[chosen], rows["trained"]
    if chosen == "trained":
        first = tr("No candidate may stand for the trained model, so it stays as it is.")
    else:
        first = tr(
            "{name} was chosen: {speedup:.1f} times the speed of the trained model ({p50:.1f} ms, not {slow:.1f} ms), "
            "{size:.1f} MB, not {large:.1f} MB; {metric} {difference:+.4f} [{low:+.4f}, {high:+.4f}] on validation."
        ).format(
            name=chosen, speedup=row.times.speedup.value, p50=row.times.p50_ms.value, slow=trained.times.p50_ms.value,
            size=row.size_mb, large=trained.size_mb, metric=metric.name, difference=row.judged.difference.value + 0.0,
            low=row.judged.difference.low + 0.0, high=row.judged.difference.high + 0.0,  # -0.0 + 0.0 is 0.0
        )  # fmt: skip
    second = tr("Confirmed once on the test set: {metric} {value:.4f} [{low:.4f}, {high:.4f}], n = {n}.").format(
        metric=metric.name, value=confirmed.value, low=confirmed.low, high=confirmed.high, n=confirmed.n
    )
    refused = {name: r.refused for name, r in rows.items() if r.refused} | dict(made.failed)
    told = [tr("{name} was refused: {reason}").format(name=n, reason=r) for n, r in refused.items()]
    told += [tr("{name} was not tried: {reason}").format(name=n, reason=r) for n, r in made.not_tried.items()]
    return (first, second, *told)


def tell_students(students: Sequence[Student], depth: int) -> list[str]:
    """Of which size those were that the limits led to."""
    sentence = tr("Student {number}: {layers} of {depth} layers, {width:.0%} as wide.")
    return [
        sentence.format(number=i, layers=student.shape.layers or depth, depth=depth, width=student.shape.width)
        for i, student in enumerate(students, 1) if student.rows
    ]  # fmt: skip


def _workshop(
    parent: Bundle[Any, Any], seen: Sequence[Example[Any, Any]], settings: CompressSettings, folder: Path
) -> Workshop:
    threads, cpu = num_threads(settings.threads), read_cpu()
    bf16 = tr("yes") if cpu.has_bf16 else tr("no")
    say(tr("{threads} threads, {name}, bf16: {bf16}").format(threads=threads, name=cpu.name or "?", bf16=bf16))
    folder.mkdir(parents=True, exist_ok=True)
    trained = _with_threads(parent, threads)
    return Workshop(
        trained=trained, seen=seen, settings=settings, cpu=cpu, folder=folder, threads=threads,
        shape=Shape(layers=settings.distill or 0, width=settings.prune or 1.0, rank=settings.low_rank or 1.0),
    )  # fmt: skip


def _with_threads(parent: Bundle[Any, Any], threads: int) -> Bundle[Any, Any]:
    """The reference must have as many as the candidates. torch counts for the whole process, so that a large network
    need not lie in memory twice; other engines are told on opening."""
    if parent.manifest.engine != TORCH:
        return open_bundle(parent.path, threads=threads, replay=False)
    from luodi.models.tracing import use_threads

    use_threads(threads)
    return parent


def _check_names(settings: CompressSettings) -> None:
    known = [step.name for step in STEPS]
    for name in settings.candidates:
        if name not in known:
            message = tr("compress.candidates has no candidate called {name}.").format(name=name)
            raise ConfigError(message, code="config.candidate", hint=did_you_mean(name, known))


def _answers(
    bundle: Bundle[X, Y], examples: Sequence[Example[X, Y]], metric: Metric, name: str
) -> list[Prediction[Y]]:
    return bundle.examine(examples, [metric], tr("scoring {name}").format(name=name))


def _gate(name: str, workshop: Workshop) -> CompressSettings:
    return replace(workshop.settings, min_agreement=0.0) if step_of(name) in STUDENTS else workshop.settings


def _row(name: str, bundle: Bundle[Any, Any], judged: Judged, times: Timing) -> Row:
    # In torch and in floats the same network takes the same time, whatever the clock says of it on a busy machine.
    refused = judged.refused or ("" if bundle.manifest.can_learn else too_slow(times.speedup))
    return Row(
        name=name, made_by=bundle.manifest.made_by, size_mb=bundle.size_bytes / 1e6, judged=judged, times=times,
        refused=refused,
    )  # fmt: skip


def _publish(bundle: Bundle[Any, Any], numbers: Mapping[str, Measure], folder: Path) -> None:
    """A copy in `folder / "bundle"`, sealed with its numbers, and opened once more: it must answer as it was tested."""
    final = folder / BUNDLE
    shutil.rmtree(final, ignore_errors=True)
    shutil.copytree(bundle.path, final)
    seal_bundle(final, replace(bundle.manifest, numbers=numbers), bundle.golden)
    open_bundle(final)


def _keep(path: Path, result: Compressed) -> None:
    """In the form of a report, which keeps sentences so that they can be read in another language."""
    told = {"chosen": result.chosen, **result.details}
    report = Report(
        verb="compress", verdict=Verdict.DONE, numbers=result.numbers, findings=result.findings, details=told
    )
    keep_report(path, report)


def _read(path: Path) -> Compressed:
    report = read_report(path)
    details = dict(report.details)
    chosen = str(details.pop("chosen"))
    return Compressed(chosen=chosen, numbers=report.numbers, findings=report.findings, details=details)


def _details(rows: Mapping[str, Row], made: Made, workshop: Workshop, metric: Metric) -> dict[str, Any]:
    chosen = next((name for name, row in rows.items() if row.chosen), "trained")
    cpu = workshop.cpu
    return {
        "metric": metric.name,
        "reference": rows["trained"].as_json(),
        "candidates": [row.as_json() for name, row in rows.items() if name != "trained"],
        "failed": [{"name": n, "refused": reason} for n, reason in made.failed.items()],
        "not_tried": [{"name": n, "reason": reason} for n, reason in made.not_tried.items()],
        "machine": {"processor": cpu.name, "threads": workshop.threads, "bf16": cpu.has_bf16, "vnni": cpu.has_vnni},
        "parity": msgspec.to_builtins(made.parities[chosen]),
        "threads": workshop.threads,
    }
