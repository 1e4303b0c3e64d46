"""What steps work with: the trained Bundle, inputs, one tracing for all exporters, the correction of int8."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.machine import Cpu
from luodi.core.task import Task
from luodi.core.types import Batch, Example, Item
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.plan import Shape

if TYPE_CHECKING:
    from torch.export import ExportedProgram

ONNX, OPENVINO = "luodi.backends.onnx", "luodi.backends.openvino"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """What steps work with."""

    trained: Bundle[Any, Any]
    training: Sequence[Example[Any, Any]]
    """What students learn from, parts are judged on and int8 is calibrated with."""
    validation: Sequence[Example[Any, Any]] = ()
    """What candidates are scored on: the vocabulary must serve it, and nothing else is made from it."""
    settings: CompressSettings
    cpu: Cpu
    folder: Path
    threads: int
    shape: Shape = Shape()
    """Of the student; empty: none is tried."""
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
    for_others: bool = False
    """A file for another program: made only where it is asked for, and run here as the trained network is."""


def drawn(workshop: Workshop, count: int) -> list[Example[Any, Any]]:
    """Of training, the same ones each time."""
    places = np.random.default_rng(0).permutation(len(workshop.training))[:count]
    return [workshop.training[i] for i in places]


def items_of(source: Bundle[Any, Any], workshop: Workshop, count: int) -> list[Item]:
    """Encoded inputs, the same ones each time, with all that the network can be given."""
    items = source.task.encode([row.input for row in drawn(workshop, count)], source.processor)
    return [source.task.widest(item, workshop.trained.engine) for item in items]


def traced_graph(source: Bundle[Any, Any], workshop: Workshop) -> tuple[ExportedProgram, list[str]]:
    from luodi.models.tracing import output_names, trace

    if source.identity not in workshop.traced:
        items = items_of(source, workshop, 3)
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


def correct(source: Bundle[Any, Any], engine: str, workshop: Workshop, draft: Path) -> None:
    """int8 moves all answers a little to one side; what they moved on average on training inputs is put back (bias
    correction: Nagel et al. 2019, arXiv:1906.04721, here of the last layer alone). On a frozen encoder with a linear
    head it took the mean gap of the two logits from 0.64 to 0.20; their spread stays."""
    backend = importlib.import_module(engine)
    made = backend.open_engine(draft / "weights", source.task, source.manifest.network, workshop.threads)
    gaps: dict[str, list[Any]] = {}
    for batch in calibration(source, workshop):
        found = made.run(batch)
        for name, expected in source.engine.run(batch).items():
            if expected.ndim == 2 or len(expected) == 1:  # several rows of positions: padding would count too
                gap = expected - found[name]
                gaps.setdefault(name, []).append(gap.reshape(-1, gap.shape[-1]).mean(0))
    del made  # Windows does not replace a file that is open
    backend.shift_outputs(draft / "weights", {name: np.mean(rows, axis=0) for name, rows in gaps.items()})


def calibration(source: Bundle[Any, Any], workshop: Workshop) -> list[Batch]:
    """One input each: padding would be measured along."""
    return [source.task.collate([item]) for item in items_of(source, workshop, workshop.settings.calibration)]
