"""OpenVINO: networks as intermediate representation (IR), run without torch. Telemetry is off before it is imported."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.backends import four_bits, need
from luodi.backends.quiet import quiet
from luodi.core.batching import PAST, with_past
from luodi.core.task import Task
from luodi.core.types import Array, Batch

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest, Model  # type: ignore[import-untyped]
    from torch.export import ExportedProgram

MODEL = "model.xml"
MASK = "attention_mask"
LENGTH_STEP = 8
"""Lengths are rounded up to a multiple of this. The library makes kernels for every new shape, which costs several
times the run itself; 8 leaves few shapes and costs three or four positions that the mask hides."""

SMALLEST_BAG = 64
_MANY_ROWS = 256  # smaller tables are not worth another form

ACTIVATION_GROUP = 64
"""Where only the weights are int8, activations are made int8 on the way, so many sharing one scale. The library's own
32 was 15 % slower on a 12-layer encoder and as exact; 384 was 7 % faster and half as exact."""


@dataclass(frozen=True, slots=True)
class OpenVinoEngine:
    """`run` may be called from several threads: each has its own request, since one request serves one at a time."""

    model: CompiledModel
    inputs: Mapping[str, tuple[int | None, ...]]
    """Names and shapes; None where a size is free."""
    outputs: tuple[str, ...]
    by_position: frozenset[str] = frozenset()
    """Outputs whose second axis is as long as the input: what was filled up is cut off again."""
    requests: threading.local = field(default_factory=threading.local)

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Takes what the graph reads and leaves the rest, labels for one."""
        request: InferRequest | None = getattr(self.requests, "own", None)
        if request is None:
            request = self.requests.own = self.model.create_infer_request()
        request.infer(filled_up(with_past(batch, self.inputs)), share_inputs=True)
        found = {name: request.get_output_tensor(i).data for i, name in enumerate(self.outputs)}
        length = batch[MASK].shape[1] if MASK in batch else None
        return {name: (a[:, :length] if name in self.by_position else a).copy() for name, a in found.items()}


def load() -> ModuleType:
    """The library without its telemetry: openvino and nncf use it only where `openvino_telemetry` can be imported, and
    then, unasked, note a client id in the home folder and call home. None in sys.modules makes that import fail."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return need("openvino")


def open_engine(folder: Path, task: Task[Any, Any], network: Mapping[str, Any], threads: int | None) -> OpenVinoEngine:
    """`network["precision"]` may ask for bf16; anything else is computed in f32 (or in int8, where the weights are).

    Without the hint, processors with bf16 would compute in it unasked, and answer otherwise than was tested.
    """
    library = load()
    precision = "bf16" if network.get("precision") == "bf16" else "f32"
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(ACTIVATION_GROUP),
    }  # fmt: skip
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = library.Core().compile_model(folder / MODEL, "CPU", settings)
    inputs = {port.get_any_name(): _sizes(port.get_partial_shape()) for port in model.inputs}
    outputs = [port.get_any_name() for port in model.outputs]
    free = {o for o, port in zip(outputs, model.outputs, strict=True) if _is_free(port.get_partial_shape(), 1)}
    return OpenVinoEngine(model, inputs, tuple(outputs), frozenset(free))


def _sizes(shape: Any) -> tuple[int | None, ...]:
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def _is_free(shape: Any, axis: int) -> bool:
    return bool(shape.rank.is_static and len(shape) > axis and shape[axis].is_dynamic)


def convert(program: ExportedProgram, outputs: Sequence[str], folder: Path) -> None:
    """Writes the IR in fp32. From torch's graph, not ONNX, so that attention stays one operator with its own kernel."""
    library = load()
    with quiet():
        model = library.convert_model(program)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    for port, name in zip(model.inputs, names, strict=True):
        port.set_names({name})
    for port, name in zip(model.outputs, outputs, strict=True):
        port.set_names({name})
    save(model, folder)


def read(folder: Path) -> Model:
    return load().Core().read_model(folder / MODEL)


def save(model: Model, folder: Path, *, half: bool = False) -> None:
    """`half`: weights in fp16, which the library would choose itself if it were not told."""
    folder.mkdir(parents=True, exist_ok=True)
    load().save_model(model, folder / MODEL, compress_to_fp16=half)


def shift_outputs(folder: Path, shifts: Mapping[str, Array]) -> None:
    """Adds to each named output a constant along its last axis."""
    load()
    operators = need("openvino.opset13")
    model = read(folder)
    for result in model.get_results():
        port = result.input_value(0)
        names = port.get_names()
        for name in names & set(shifts):
            shifted = operators.add(port, operators.constant(shifts[name].astype(np.float32)))
            port.set_names(set())
            shifted.output(0).set_names(names)
            result.input(0).replace_source_output(shifted.output(0))
    # Aside first: the weights that are read are a view of the very file.
    save(model, folder / "shifted")
    del model
    for path in list((folder / "shifted").iterdir()):
        os.replace(path, folder / path.name)
    (folder / "shifted").rmdir()


def packable(model: Model) -> dict[str, tuple[Array, Array]]:
    """Lookups in large tables that were of 4 bits before, by name: whole numbers and their scales."""
    found = {}
    for op in model.get_ops():
        table = op.input_value(0).get_node() if op.get_type_name() == "Gather" else None
        if table is None or table.get_type_name() != "Constant" or not _is_large(table.get_output_partial_shape(0)):
            continue
        if told := four_bits.packed(np.asarray(table.data, np.float32)):
            found[op.get_friendly_name()] = told
    return found


def pack(model: Model, tables: Mapping[str, tuple[Array, Array]]) -> Model:
    """The same model with these tables in 4 bits, in the form that the library knows weights to be packed in."""
    library, operators = load(), need("openvino.opset13")
    for op in model.get_ops():
        if op.get_friendly_name() not in tables:
            continue
        steps, scales = tables[op.get_friendly_name()]
        rows, blocks, size = steps.shape
        whole = operators.convert(operators.constant(steps, library.Type.i4), np.float16)
        table = operators.multiply(whole, operators.constant(scales[..., None]))
        flat = operators.reshape(table, operators.constant(np.array([rows, blocks * size])), special_zero=False)
        op.input(0).replace_source_output(operators.convert(flat, np.float32).output(0))
    return model


def _is_large(shape: Any) -> bool:
    return bool(shape.is_static and len(shape) == 2 and shape[0].get_length() >= _MANY_ROWS)


def filled_up(batch: Batch) -> Batch:
    """The same batch in one of few shapes, where it has a mask that hides what is added."""
    if MASK not in batch or PAST[0] in batch:  # a step of one token would be made eight
        return batch
    length = batch[MASK].shape[1]
    return {name: _rounded(array, length) for name, array in batch.items()}


def _rounded(array: Array, length: int) -> Array:
    """B x T filled up with 0, which is what `core.batching.pad` fills with, and what the mask hides.

    What is of another length than the mask (a bag of n-grams) is cheap to fill and would multiply the number of
    shapes: it goes up to the next power of two.
    """
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        return array
    if array.shape[1] == length:
        short = -length % LENGTH_STEP
    else:
        short = (1 << max(array.shape[1] - 1, SMALLEST_BAG - 1).bit_length()) - array.shape[1]
    return np.pad(array, ((0, 0), (0, short))) if short else array
