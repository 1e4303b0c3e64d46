"""`compress`: every candidate is timed on this machine and scored on the same validation examples; of those that keep
the contract the fastest wins, and is confirmed once on the test set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

import msgspec

from luodi.core.bundle import TORCH, Bundle, open_bundle, seal_bundle
from luodi.core.config import did_you_mean
from luodi.core.contract import Contract
from luodi.core.machine import num_threads, read_cpu
from luodi.core.measure import Measure, Metric
from luodi.core.progress import say
from luodi.core.report import Report, Verdict, keep_report, read_report
from luodi.core.scoring import against, deciding_metric, score
from luodi.core.store import need_disk
from luodi.core.types import Example, Prediction, X, Y
from luodi.errors import ConfigError
from luodi.messages import tr
from luodi.stages.compress.candidates import Made, make_all
from luodi.stages.compress.choice import Row, choose, mark
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.findings import tell_choice, tell_left_out, tell_students, tell_unmet
from luodi.stages.compress.plan import Shape
from luodi.stages.compress.recipes import STEPS
from luodi.stages.compress.search import search
from luodi.stages.compress.students import depth_of
from luodi.stages.compress.table import make_bench
from luodi.stages.compress.workshop import Workshop

BUNDLE, CANDIDATES, DONE = "bundle", "candidates", "compressed.json"


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
    parent: Bundle[X, Y], training: Sequence[Example[X, Y]], validation: Sequence[Example[X, Y]],
    open_test: Callable[[], TestSet[X, Y]], contract: Contract, settings: CompressSettings, folder: Path,
) -> Compressed:  # fmt: skip
    """Candidates are made from `training` and scored on `validation`.

    `folder` may hold what a killed run left. `open_test` is called once, after the choice.
    """
    if (folder / DONE).is_file():
        return _read(folder / DONE)
    _check_names(settings)
    # Candidates of a few sizes lie side by side until one is chosen; none is larger than the parent.
    need_disk(folder, 4 * parent.size_bytes)
    workshop = _workshop(parent, training, validation, settings, folder / CANDIDATES)
    metric = deciding_metric(parent.task, [limit.name for limit in contract.quality])
    made = make_all(workshop)
    found = search(made, make_bench(workshop, validation, metric), contract)
    chosen = choose(found.rows, contract, metric.name)
    rows, bundle = mark(found.rows, chosen), found.made.bundles[chosen]
    numbers = confirm(bundle, open_test(), metric, rows[chosen])
    findings = (
        *tell_choice(rows, chosen, numbers[metric.name], metric), *tell_left_out(rows, found.made),
        *tell_unmet(rows, contract), *tell_students(found.students, depth_of(parent)),
    )  # fmt: skip
    details = _details(rows, found.made, workshop, metric)
    _publish(bundle, numbers, folder)
    result = Compressed(chosen=chosen, numbers=numbers, findings=findings, details=details)
    _keep(folder / DONE, result)
    shutil.rmtree(folder / CANDIDATES, ignore_errors=True)
    return result


def confirm(bundle: Bundle[X, Y], test: TestSet[X, Y], metric: Metric, row: Row) -> dict[str, Measure]:
    """The numbers that the contract is held against."""
    predictions = bundle.examine(test.examples, bundle.task.metrics, tr("scoring {name}").format(name=tr("test set")))
    numbers = score(bundle.task, test.examples, predictions, metric)
    for name, (gap, _) in against(test.examples, predictions, test.baselines, metric).items():
        numbers[f"beats_baseline.{name}"] = gap
    return {**numbers, **row.numbers}


def _workshop(
    parent: Bundle[Any, Any], training: Sequence[Example[Any, Any]], validation: Sequence[Example[Any, Any]],
    settings: CompressSettings, folder: Path,
) -> Workshop:  # fmt: skip
    threads, cpu = num_threads(settings.threads), read_cpu()
    bf16 = tr("yes") if cpu.has_bf16 else tr("no")
    say(tr("{threads} threads, {name}, bf16: {bf16}").format(threads=threads, name=cpu.name or "?", bf16=bf16))
    folder.mkdir(parents=True, exist_ok=True)
    trained = _with_threads(parent, threads)
    return Workshop(
        trained=trained, training=training, validation=validation, settings=settings, cpu=cpu, folder=folder,
        threads=threads,
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
