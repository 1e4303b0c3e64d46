"""What is tried: each step makes a Bundle out of a Bundle. Steps build on one another:

    trained -> vocabulary -> onnx -> onnx-int8
                         |-> openvino -> openvino-bf16, openvino-w8, openvino-int8
                         `-> distilled -> distilled-onnx, distilled-openvino and their int8
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.core.bundle import (
    FILE,
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
from luodi.core.machine import Cpu
from luodi.core.progress import say
from luodi.core.task import Task
from luodi.core.types import Batch, Example, Item
from luodi.errors import LuodiError
from luodi.messages import tr
from luodi.stages.compress import vocabulary
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.gate import check_shapes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TORCH, ONNX, OPENVINO = "luodi.models.engine", "luodi.backends.onnx", "luodi.backends.openvino"
EXACT = 1e-3
INT8 = 0.03
"""int8 kernels round and saturate differently on other processors; probabilities were seen to move by about 0.01."""
_log = logging.getLogger("luodi.compress")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """What steps work with."""

    trained: Bundle[Any, Any]
    seen: Sequence[Example[Any, Any]]
    """Of train and validation. Never of test."""
    settings: CompressSettings
    cpu: Cpu
    folder: Path
    threads: int
    layers: int = 0
    """Of the distilled student; 0: none is tried."""
    traced: dict[str, tuple[ExportedProgram, list[str]]] = field(default_factory=dict)
    """Graph and output names by identity of the Bundle: ONNX and OpenVINO start from one tracing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    name: str
    sources: tuple[str, ...]
    """What it is made from: the first that exists; "trained" always does."""
    engine: str
    packages: tuple[str, ...]
    write: Callable[[Bundle[Any, Any], Workshop, Path], Mapping[str, Any]]
    """Fills weights/ (and processor/, where it changes) and tells what `network` has to say."""
    lossless: bool = False
    """Answers must equal those of what it is made from."""
    obstacle: Callable[[Workshop], str] = lambda _: ""
    """Why there is nothing to try here. Empty: there is."""


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
    bundles = {"trained": workshop.trained}
    failed: dict[str, str] = {}
    not_tried: dict[str, str] = {}
    for step in STEPS:
        reason = _why_not(step, workshop, bundles)
        if reason:
            not_tried[step.name] = reason
            say(tr("{name}: not tried. {reason}").format(name=step.name, reason=reason))
            continue
        source = bundles[next(name for name in step.sources if name in bundles)]
        try:
            bundles[step.name] = _made(step, source, workshop)
        except Exception as error:  # an exporter that cannot do a network must not cost the other candidates
            failed[step.name] = _why_failed(step, error)
        if step.name in failed:
            say(tr("{name}: refused. {reason}").format(name=step.name, reason=failed[step.name]))
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


def _why_not(step: Step, workshop: Workshop, bundles: Mapping[str, Any]) -> str:
    wanted = workshop.settings.candidates
    if wanted and step.name not in wanted and not _is_source_of(step.name, wanted):
        return tr("Your settings leave it out.")
    for package in step.packages:
        if importlib.util.find_spec(package) is None:
            return tr("The package {package} is not installed.").format(package=package)
    if not any(name in bundles for name in step.sources):
        return tr("It is made from {source}, which there is not.").format(source=step.sources[0])
    return step.obstacle(workshop)


def _is_source_of(name: str, wanted: Sequence[str]) -> bool:
    return any(name in step.sources or _is_source_of(name, step.sources) for step in STEPS if step.name in wanted)


def _made(step: Step, source: Bundle[Any, Any], workshop: Workshop) -> Bundle[Any, Any]:
    """From its folder where a run before this one finished it; else made aside and renamed."""
    folder = workshop.folder / step.name
    if not (folder / FILE).is_file():
        say(tr("{name}: being made ...").format(name=step.name))
        draft = folder.with_name(f"{step.name}.work")
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
        if source.manifest.engine != made.manifest.engine:
            check_shapes(source.engine, made.engine, made.task, _items(source, workshop, 8))
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


def _items(source: Bundle[Any, Any], workshop: Workshop, count: int) -> list[Item]:
    """Encoded inputs, the same ones each time, with all that the network can be given."""
    places = np.random.default_rng(0).permutation(len(workshop.seen))[:count]
    items = source.task.encode([workshop.seen[i].input for i in places], source.processor)
    return [source.task.widest(item, workshop.trained.engine) for item in items]


def _trace(source: Bundle[Any, Any], workshop: Workshop) -> tuple[ExportedProgram, list[str]]:
    from luodi.models.tracing import output_names, trace

    if source.identity not in workshop.traced:
        items = _items(source, workshop, 3)
        batch, other = (source.task.collate(_varied(source.task, items * turns, turns)) for turns in (2, 3))
        graph = trace(source.engine, batch, other)  # type: ignore[arg-type]
        workshop.traced[source.identity] = (graph, output_names(source.engine, batch))  # type: ignore[arg-type]
    return workshop.traced[source.identity]


def _varied(task: Task[Any, Any], items: Sequence[Item], shift: int) -> list[Item]:
    """Of several lengths, other ones for each input: sizes that are equal by chance look like a rule."""
    names = sorted(items[0])
    return [
        {name: task.stretched(item, shift + 1 + i % 3 + 4 * names.index(name))[name] for name in names}
        for i, item in enumerate(items)
    ]


def _correct(source: Bundle[Any, Any], engine: str, workshop: Workshop, draft: Path) -> None:
    """int8 moves all answers a little to one side; what they moved on average on training inputs is put back (bias
    correction: Nagel et al. 2019, arXiv:1906.04721, here of the last layer alone). On a frozen encoder with a linear
    head it took the mean gap of the two logits from 0.64 to 0.20; their spread stays."""
    backend = importlib.import_module(engine)
    made = backend.open_engine(draft / "weights", source.task, source.manifest.network, workshop.threads)
    gaps: dict[str, list[Any]] = {}
    for batch in _calibration(source, workshop):
        found = made.run(batch)
        for name, expected in source.engine.run(batch).items():
            if expected.ndim == 2 or len(expected) == 1:  # several rows of positions: padding would count too
                gap = expected - found[name]
                gaps.setdefault(name, []).append(gap.reshape(-1, gap.shape[-1]).mean(0))
    del made  # Windows does not replace a file that is open
    backend.shift_outputs(draft / "weights", {name: np.mean(rows, axis=0) for name, rows in gaps.items()})


def _calibration(source: Bundle[Any, Any], workshop: Workshop) -> list[Batch]:
    """One input each: padding would be measured along."""
    return [source.task.collate([item]) for item in _items(source, workshop, workshop.settings.calibration)]


# --- the steps --------------------------------------------------------------------------------------------------------


def _no_network(workshop: Workshop) -> str:
    if workshop.trained.manifest.engine == TORCH:
        return ""
    return tr("It is made from a network as it was trained; this Bundle is an exported one.")


def _nothing_to_trim(workshop: Workshop) -> str:
    if _no_network(workshop):
        return _no_network(workshop)
    pieces = vocabulary.pieces_of(workshop.trained.path / "processor")
    if pieces is None:
        return tr("There is nothing to trim: no vocabulary of a kind that can be cut.")
    if len(pieces) <= workshop.settings.vocabulary:
        return tr("There is nothing to trim: {count} pieces.").format(count=len(pieces))
    return ""


def _write_vocabulary(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    texts = list(source.task.corpus(workshop.seen))
    processor = source.path / "processor"
    trim = vocabulary.choose(processor, source.processor, texts, workshop.settings.vocabulary)
    shutil.copytree(processor, draft / "processor")
    vocabulary.trim_processor(processor, draft / "processor", trim)
    opener = importlib.import_module(source.manifest.processor).open_processor
    count = vocabulary.prove(source.processor, opener(draft / "processor"), texts, trim)
    rows = int(source.manifest.network["config"]["vocab_size"])
    name = "model.safetensors"
    vocabulary.trim_weights(source.path / "weights" / name, draft / "weights" / name, trim, rows)
    line = tr("vocabulary: {kept} of {size} pieces kept; {count} texts are cut as before.")
    say(line.format(kept=len(trim.kept), size=trim.size, count=count))
    return vocabulary.trim_network(source.manifest.network, trim)


def _write_onnx(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import onnx

    onnx.export(*_trace(source, workshop), draft / "weights")
    return source.manifest.network


def _write_onnx_int8(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import onnx

    onnx.quantize_dynamic(source.path / "weights", draft / "weights", reduce_range=not workshop.cpu.has_vnni)
    _correct(source, ONNX, workshop, draft)
    return source.manifest.network


def _write_openvino(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import openvino

    openvino.convert(*_trace(source, workshop), draft / "weights")
    return source.manifest.network


def _no_bf16(workshop: Workshop) -> str:
    return "" if workshop.cpu.has_bf16 else tr("This processor does not compute in bf16.")


def _write_bf16(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    """The same network with another word to the engine; fp16 on disk holds more digits than bf16 computes with."""
    from luodi.backends import openvino

    openvino.save(openvino.read(source.path / "weights"), draft / "weights", half=True)
    return {**source.manifest.network, "precision": "bf16"}


def _write_w8(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import nncf

    nncf.compress_weights(source.path / "weights", draft / "weights")
    _correct(source, OPENVINO, workshop, draft)
    return source.manifest.network


def _write_openvino_int8(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import nncf

    nncf.quantize(source.path / "weights", draft / "weights", _calibration(source, workshop))
    _correct(source, OPENVINO, workshop, draft)
    return source.manifest.network


def _no_student(workshop: Workshop) -> str:
    if workshop.trained.manifest.engine != TORCH:
        return _no_network(workshop)
    if not workshop.layers:
        return tr("Fewer layers were not asked for, and the other candidates keep the contract.")
    if workshop.layers >= depth_of(workshop.trained):
        return tr("The network has no more than {count} layers that could be left out.").format(
            count=depth_of(workshop.trained)
        )
    return ""


def depth_of(bundle: Bundle[Any, Any]) -> int:
    """Layers of a network that a student can be made of; 0 where none can."""
    if bundle.manifest.engine != TORCH or _LAYERS not in bundle.manifest.network.get("config", {}):
        return 0
    from luodi.models.distil import layers_of

    engine: Any = bundle.engine
    return layers_of(engine.model)


def _write_distilled(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.models.distil import student_of, teach
    from luodi.models.engine import save_network

    engine: Any = source.engine
    student = student_of(engine.model, workshop.layers)
    seconds = 60 * workshop.settings.distill_minutes
    items = source.task.encode([e.input for e in workshop.seen], source.processor)
    times = teach(engine.model, student, source.task, items, seconds)
    line = tr("distilled: {layers} of {all} layers, each row seen {times:.1f} times in {minutes:.1f} minutes.")
    say(line.format(layers=workshop.layers, all=depth_of(source), times=times, minutes=seconds / 60))
    save_network(student, draft / "weights")
    config = {**source.manifest.network["config"], _LAYERS: workshop.layers}
    return {**source.manifest.network, "config": config}


_LAYERS = "num_hidden_layers"
_FROM_TORCH = ("vocabulary", "trained")
STEPS = (
    Step(
        name="vocabulary", sources=("trained",), engine=TORCH, packages=("safetensors",),
        write=_write_vocabulary, lossless=True, obstacle=_nothing_to_trim,
    ),
    Step(
        name="onnx", sources=_FROM_TORCH, engine=ONNX, packages=("onnx", "onnxscript", "onnxruntime"),
        write=_write_onnx, lossless=True, obstacle=_no_network,
    ),
    Step(
        name="onnx-int8", sources=("onnx",), engine=ONNX, packages=("onnx", "onnxruntime"), write=_write_onnx_int8,
    ),
    Step(
        name="openvino", sources=_FROM_TORCH, engine=OPENVINO, packages=("openvino",),
        write=_write_openvino, lossless=True, obstacle=_no_network,
    ),
    Step(
        name="openvino-bf16", sources=("openvino",), engine=OPENVINO, packages=("openvino",),
        write=_write_bf16, obstacle=_no_bf16,
    ),
    Step(
        name="openvino-w8", sources=("openvino",), engine=OPENVINO, packages=("openvino", "nncf"), write=_write_w8,
    ),
    Step(
        name="openvino-int8", sources=("openvino",), engine=OPENVINO, packages=("openvino", "nncf"),
        write=_write_openvino_int8,
    ),
    Step(
        name="distilled", sources=_FROM_TORCH, engine=TORCH, packages=("safetensors",), write=_write_distilled,
        obstacle=_no_student,
    ),
    Step(
        name="distilled-onnx", sources=("distilled",), engine=ONNX, packages=("onnx", "onnxscript", "onnxruntime"),
        write=_write_onnx, lossless=True,
    ),
    Step(
        name="distilled-onnx-int8", sources=("distilled-onnx",), engine=ONNX, packages=("onnx", "onnxruntime"),
        write=_write_onnx_int8,
    ),
    Step(
        name="distilled-openvino", sources=("distilled",), engine=OPENVINO, packages=("openvino",),
        write=_write_openvino, lossless=True,
    ),
    Step(
        name="distilled-openvino-int8", sources=("distilled-openvino",), engine=OPENVINO, packages=("openvino", "nncf"),
        write=_write_openvino_int8,
    ),
)  # fmt: skip
STUDENTS = frozenset(step.name for step in STEPS if step.name.startswith("distilled"))
"""Other networks than the trained one: their answers are judged by their score, not by how many are the same."""
LOSSLESS = frozenset(step.name for step in STEPS if step.lossless) - STUDENTS
