"""Every candidate that can be made on this machine: made once, sealed, proved where it must be the same network."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luodi.core.bundle import (
    FILE,
    TORCH,
    Bundle,
    Parity,
    answers_on_wire,
    compare,
    golden_pairs,
    open_bundle,
    require_parity,
    seal_bundle,
)
from luodi.core.disk import is_full
from luodi.core.progress import say
from luodi.errors import LuodiError
from luodi.messages import tr
from luodi.stages.compress.gate import EXPORT_TOLERANCE, check_shapes
from luodi.stages.compress.recipes import STEPS, STUDENTS
from luodi.stages.compress.workshop import Step, Workshop, items_of

EXACT = 1e-3
INT8 = 0.03
"""int8 kernels round and saturate differently on other processors; probabilities were seen to move by about 0.01."""
NUMBER = "#"
"""Before the number of a student, in the names of what comes of all but the first."""
_log = logging.getLogger("luodi.compress")


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What came of the steps."""

    bundles: Mapping[str, Bundle[Any, Any]]
    """The trained one first."""
    parities: Mapping[str, Parity]
    """Golden answers of the trained model against those of each."""
    failed: Mapping[str, str]
    """Made, but not the same model, or not to be made at all; why."""
    not_tried: Mapping[str, str]


def make_all(workshop: Workshop) -> Made:
    """Every step that can be taken on this machine. One that fails takes those built on it along, and no others."""
    trained = {"trained": workshop.trained}
    made = _take(STEPS, workshop, trained)
    parities = {"trained": _parity(workshop.trained, workshop.trained), **made.parities}
    return replace(made, bundles={**trained, **made.bundles}, parities=parities)


def add_student(made: Made, workshop: Workshop, number: int) -> Made:
    """What was made, and beside it what comes of the student of the workshop's shape, the so-manieth that is tried
    (from 1)."""
    others = {name: bundle for name, bundle in made.bundles.items() if step_of(name) not in STUDENTS}
    new = _take([step for step in STEPS if step.name in STUDENTS], workshop, others, number)
    bundles, failed = {**made.bundles, **new.bundles}, {**made.failed, **new.failed}
    known, not_tried = {step_of(name) for name in (*bundles, *failed)}, {**made.not_tried, **new.not_tried}
    return Made(
        bundles=bundles, failed=failed, parities={**made.parities, **new.parities},
        not_tried={name: why for name, why in not_tried.items() if name not in known},
    )  # fmt: skip


def step_of(name: str) -> str:
    """What made a candidate of this name."""
    return name.partition(NUMBER)[0]


def _called(name: str, number: int) -> str:
    return name if number == 1 else f"{name}{NUMBER}{number}"


def _take(
    steps: Sequence[Step], workshop: Workshop, given: Mapping[str, Bundle[Any, Any]], number: int = 1
) -> Made:  # fmt: skip
    """What is made of what is `given`, called after the number of the student."""
    there = dict(given)
    bundles: dict[str, Bundle[Any, Any]] = {}
    failed: dict[str, str] = {}
    not_tried: dict[str, str] = {}
    for step in steps:
        name = _called(step.name, number)
        if reason := _why_not(step, workshop, there, not_tried):
            if reason not in not_tried.values():
                say(tr("{name}: not tried. {reason}").format(name=name, reason=reason))
            not_tried[step.name] = reason
            continue
        source = there[next(source for source in step.sources if source in there)]
        try:
            bundles[name] = there[step.name] = _made(step, source, workshop, name)
        except Exception as error:  # an exporter that cannot do a network must not cost the other candidates
            failed[name] = _why_failed(step, error)
            say(tr("{name}: refused. {reason}").format(name=name, reason=failed[name]))
    parities = {name: _parity(bundle, workshop.trained) for name, bundle in bundles.items()}
    return Made(bundles=bundles, parities=parities, failed=failed, not_tried=not_tried)


def _why_failed(step: Step, error: Exception) -> str:
    """Raises it again where the disk is full: that says nothing of the candidate, and the result must not depend on
    it."""
    if is_full(error):
        raise error
    if isinstance(error, LuodiError):
        return error.message
    _log.debug("%s failed", step.name, exc_info=error)
    reason = str(error).strip().partition("\n")[0][:200]
    return tr("It could not be made: {kind}: {reason}").format(kind=type(error).__name__, reason=reason)


def _why_not(step: Step, workshop: Workshop, bundles: Mapping[str, Any], not_tried: Mapping[str, str]) -> str:
    wanted = workshop.settings.candidates
    if wanted and step.name not in wanted and not _is_source_of(step.name, wanted):
        return tr("Your settings leave it out.")
    if step.for_others and step.name not in wanted:
        return tr("It is made only where it is asked for.")
    for package in step.packages:
        if importlib.util.find_spec(package) is None:
            return tr("The package {package} is not installed.").format(package=package)
    if not any(name in bundles for name in step.sources):
        why = tr("It is made from {source}, which there is not.").format(source=step.sources[0])
        return not_tried.get(step.sources[0], why)
    return step.obstacle(workshop)


def _is_source_of(name: str, wanted: Sequence[str]) -> bool:
    return any(name in step.sources or _is_source_of(name, step.sources) for step in STEPS if step.name in wanted)


def _made(step: Step, source: Bundle[Any, Any], workshop: Workshop, name: str) -> Bundle[Any, Any]:
    """From its folder where a run before this one finished it; else made aside and renamed."""
    folder = workshop.folder / (f"{step.name}-{workshop.shape}" if step.name in STUDENTS else step.name)
    if not (folder / FILE).is_file():
        say(tr("{name}: being made ...").format(name=name))
        draft = folder.with_name(f"{folder.name}.work")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        network = step.write(source, workshop, draft)
        if not (draft / "processor").exists():
            shutil.copytree(source.path / "processor", draft / "processor")
        _seal(step, source, workshop, draft, network)
        os.replace(draft, folder)
    made = open_bundle(folder, threads=workshop.threads)
    if step.lossless:
        require_parity(_parity(made, source), step.name)
    if made.manifest.engine != TORCH and (source.manifest.engine != made.manifest.engine or not step.lossless):
        tolerance = EXPORT_TOLERANCE if step.lossless else math.inf
        check_shapes(source.engine, made.engine, made.task, items_of(source, workshop, 8), tolerance)
    return made


def _seal(
    step: Step, source: Bundle[Any, Any], workshop: Workshop, draft: Path, network: Mapping[str, Any]
) -> None:
    """With golden answers of its own to the same inputs."""
    told = source.manifest
    manifest = replace(
        told,
        engine=step.engine,
        network=network,
        parents=(*told.parents, source.identity),
        made_by=(*told.made_by, step.name),
        tolerance=EXACT if step.lossless or step.engine == TORCH else INT8,
        versions={**told.versions, **{package: version(package) for package in step.packages}},
        numbers={},
        files={},
        seal="",
    )
    opener = importlib.import_module(told.processor).open_processor
    engine = importlib.import_module(step.engine).open_engine(draft / "weights", source.task, network, workshop.threads)
    inputs = [source.task.input.decode(pair.input) for pair in source.golden]
    processor = opener(draft / "processor")
    task = source.task.with_processor(processor)
    made = replace(source, path=draft, manifest=manifest, task=task, processor=processor, engine=engine)
    seal_bundle(draft, manifest, golden_pairs(source.task, inputs, made.predict(inputs)))


def _parity(made: Bundle[Any, Any], trained: Bundle[Any, Any]) -> Parity:
    """Against the answers that were tested after training."""
    inputs = [trained.task.input.decode(pair.input) for pair in trained.golden]
    answers = answers_on_wire(trained.task, made.predict(inputs))
    return compare(trained.golden, answers, made.manifest.tolerance, trained.manifest.schema.spread)
