"""What is tried: each step makes a Bundle out of a Bundle. Steps build on one another:

    trained -> vocabulary -> onnx -> onnx-int8, onnx-w8, onnx-w4
                         |-> openvino -> openvino-bf16, openvino-w8, openvino-int8
                         |-> torchao-int8
                         `-> distilled (fewer layers), pruned (narrower ones), low-rank (of each, or of all that was
                             trained, where it is asked for) -> their -onnx, -openvino and int8
            -> gguf, gguf-int8, gguf-int4 (where they are asked for)
"""

from __future__ import annotations

import copy
import importlib
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from luodi.core.bundle import TORCH, Bundle
from luodi.core.progress import say
from luodi.core.task import GenerativeTask, Writer
from luodi.core.types import Array
from luodi.messages import tr
from luodi.stages.compress import vocabulary
from luodi.stages.compress.config import FAMILIES, LOWER, NARROWER
from luodi.stages.compress.students import (
    no_low_rank,
    no_lower,
    no_narrower,
    no_network,
    write_low_rank,
    write_student,
)
from luodi.stages.compress.workshop import ONNX, OPENVINO, Step, Workshop, calibration, correct, traced_graph


def _nothing_to_trim(workshop: Workshop) -> str:
    if no_network(workshop):
        return no_network(workshop)
    pieces = vocabulary.pieces_of(workshop.trained.path / "processor")
    if pieces is None:
        return tr("There is nothing to trim: no vocabulary of a kind that can be cut.")
    if len(pieces) <= workshop.settings.vocabulary:
        return tr("There is nothing to trim: {count} pieces.").format(count=len(pieces))
    return ""


def _write_vocabulary(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    texts = list(source.task.corpus((*workshop.training, *workshop.validation)))
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
    from luodi.backends import onnx, onnx_decoder

    network = source.manifest.network
    if isinstance(source.task, GenerativeTask) and onnx_decoder.can_write(network["config"]):
        onnx_decoder.write_decoder(draft / "weights", network["config"], _weights_of(source))
    else:
        onnx.export(*traced_graph(source, workshop), draft / "weights")
    return network


def _write_onnx_int8(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import onnx

    onnx.quantize_dynamic(source.path / "weights", draft / "weights", reduce_range=not workshop.cpu.has_vnni)
    correct(source, ONNX, workshop, draft)
    return source.manifest.network


def _writes_nothing(workshop: Workshop) -> str:
    if isinstance(workshop.trained.task, GenerativeTask):
        return ""
    return tr("Weights in blocks pay where one token at a time is read, by networks that write.")


def _write_blocks(bits: int, source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends.onnx_blocks import quantize_blocks

    quantize_blocks(source.path / "weights", draft / "weights", bits=bits)
    return source.manifest.network


def _write_openvino(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import openvino

    openvino.convert(*traced_graph(source, workshop), draft / "weights")
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
    correct(source, OPENVINO, workshop, draft)
    return source.manifest.network


def _write_openvino_int8(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import nncf

    nncf.quantize(source.path / "weights", draft / "weights", calibration(source, workshop))
    correct(source, OPENVINO, workshop, draft)
    return source.manifest.network


def _write_torchao(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import torchao
    from luodi.models.engine import save_state

    engine: Any = source.engine
    save_state(torchao.pack(copy.deepcopy(engine.model)), draft / "weights")
    return {**source.manifest.network, "torchao": "int8"}


def _no_gguf(workshop: Workshop) -> str:
    from luodi.backends import gguf

    network = workshop.trained.manifest.network
    if no_network(workshop):
        return no_network(workshop)
    return gguf.why_not(network["config"], workshop.trained.path / "processor" / vocabulary.FILE)


def _write_gguf(kind: str, source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    from luodi.backends import gguf
    from luodi.models.engine import BLOCKS

    processor, network, weights = source.path / "processor", source.manifest.network, _weights_of(source)
    (draft / "weights").mkdir()
    path, writer = draft / "weights" / BLOCKS, cast(Writer, source.processor)
    tokenizer = processor / vocabulary.FILE
    gguf.write_gguf(path, network["config"], weights, tokenizer, writer.ends[0], source.task.schema.template, kind)
    gguf.prove(path, weights, kind)
    return network


def _weights_of(source: Bundle[Any, Any]) -> dict[str, Array]:
    """Of a decoder, by their names in `transformers`."""
    engine: Any = source.engine
    return {n.removeprefix("decoder."): t.float().numpy() for n, t in engine.model.state_dict().items()}


Write = Callable[[Bundle[Any, Any], Workshop, Path], Mapping[str, Any]]
Obstacle = Callable[[Workshop], str]
Steps = tuple[Step, ...]
_FROM_TORCH = ("vocabulary", "trained")


def _student(name: str, obstacle: Obstacle, write: Write = write_student, made_from: tuple[str, ...] = ()) -> Steps:
    """A smaller network, and what follows from it."""
    return (
        Step(name=name, sources=(*made_from, *_FROM_TORCH), engine=TORCH, packages=("safetensors",), write=write,
             obstacle=obstacle),
        Step(name=f"{name}-onnx", sources=(name,), engine=ONNX, packages=("onnx", "onnxscript", "onnxruntime"),
             write=_write_onnx, lossless=True),
        Step(name=f"{name}-onnx-int8", sources=(f"{name}-onnx",), engine=ONNX, packages=("onnx", "onnxruntime"),
             write=_write_onnx_int8),
        Step(name=f"{name}-openvino", sources=(name,), engine=OPENVINO, packages=("openvino",), write=_write_openvino,
             lossless=True),
        Step(name=f"{name}-openvino-int8", sources=(f"{name}-openvino",), engine=OPENVINO,
             packages=("openvino", "nncf"), write=_write_openvino_int8),
    )  # fmt: skip


STEPS = (
    Step(
        name="vocabulary", sources=("trained",), engine=TORCH, packages=("safetensors",),
        write=_write_vocabulary, lossless=True, obstacle=_nothing_to_trim,
    ),
    Step(
        name="onnx", sources=_FROM_TORCH, engine=ONNX, packages=("onnx", "onnxscript", "onnxruntime"),
        write=_write_onnx, lossless=True, obstacle=no_network,
    ),
    Step(
        name="onnx-int8", sources=("onnx",), engine=ONNX, packages=("onnx", "onnxruntime"), write=_write_onnx_int8,
    ),
    *(
        Step(
            name=f"onnx-w{bits}", sources=("onnx",), engine=ONNX, packages=("onnx", "onnxruntime"),
            write=partial(_write_blocks, bits), obstacle=_writes_nothing,
        )
        for bits in (8, 4)
    ),
    Step(
        name="openvino", sources=_FROM_TORCH, engine=OPENVINO, packages=("openvino",),
        write=_write_openvino, lossless=True, obstacle=no_network,
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
        name="torchao-int8", sources=_FROM_TORCH, engine=TORCH, packages=("torchao", "safetensors"),
        write=_write_torchao, obstacle=no_network,
    ),
    *_student(LOWER, no_lower),
    *_student(NARROWER, no_narrower),
    *_student("low-rank", no_low_rank, write_low_rank, (LOWER, NARROWER)),
    *(
        Step(
            name=name, sources=("trained",), engine=TORCH, packages=("gguf",), write=partial(_write_gguf, kind),
            obstacle=_no_gguf, for_others=True,
        )
        for name, kind in (("gguf", "f16"), ("gguf-int8", "int8"), ("gguf-int4", "int4"))
    ),
)  # fmt: skip
STUDENTS = frozenset(step.name for step in STEPS if step.name.startswith(FAMILIES))
"""Other networks than the trained one: their answers are judged by their score, not by how many are the same."""
FOR_OTHERS = frozenset(step.name for step in STEPS if step.for_others)
LOSSLESS = frozenset(step.name for step in STEPS if step.lossless) - STUDENTS
