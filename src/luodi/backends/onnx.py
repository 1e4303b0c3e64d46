"""ONNX: networks written as graphs, made int8, and run by ONNX Runtime without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.backends import four_bits, need
from luodi.backends.quiet import quiet
from luodi.core.batching import with_past
from luodi.core.task import Task
from luodi.core.types import Array, Batch

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from torch.export import ExportedProgram

MODEL = "model.onnx"
MICROSOFT = "com.microsoft"
"""Operators that ONNX Runtime adds to the standard."""
OPSET = 20  # the first with Gelu as one operator; ONNX Runtime reads it since 1.17
_MANY_ROWS = 256  # tables with fewer rows are not worth a second lookup for their scales
_WIDE_ROW = 32  # in narrower rows the scale is a large part of the size, and the columns may be of different kinds


@dataclass(frozen=True, slots=True)
class OnnxEngine:
    """`run` may be called from several threads: sessions are safe for that."""

    session: InferenceSession
    inputs: Mapping[str, tuple[int | None, ...]]
    """Names and shapes; None where a size is free."""
    outputs: tuple[str, ...]

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Takes what the graph reads and leaves the rest, labels for one."""
        answers = self.session.run(None, with_past(batch, self.inputs))
        return dict(zip(self.outputs, answers, strict=True))


def open_engine(folder: Path, task: Task[Any, Any], network: Mapping[str, Any], threads: int | None) -> OnnxEngine:
    runtime = need("onnxruntime")
    runtime.disable_telemetry_events()  # only builds for Windows have any
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # Idle threads that go on spinning would take the second core from the tokenizer and the HTTP server.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = runtime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
    inputs = {i.name: tuple(n if isinstance(n, int) else None for n in i.shape) for i in session.get_inputs()}
    return OnnxEngine(session, inputs, tuple(o.name for o in session.get_outputs()))


def export(program: ExportedProgram, outputs: Sequence[str], folder: Path) -> None:
    """Writes model.onnx in fp32."""
    torch, onnx = need("torch"), need("onnx")
    with quiet():
        made = torch.onnx.export(
            program, output_names=list(outputs), dynamo=True, opset_version=OPSET, external_data=False, verbose=False
        )
    model = made.model_proto
    _tidy(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / MODEL)


def quantize_dynamic(source: Path, folder: Path, *, reduce_range: bool) -> None:
    """int8 weights by channel, int8 activations scaled anew for each batch; the head stays in float.

    By channel, since one scale for a whole matrix loses much more (cosine 0.961 against 0.993 on a small encoder).
    The scales depend on a whole batch, so an answer depends a little on its neighbours in the batch.
    `reduce_range`: 7 bits for weights, for processors whose int8 products overflow 16 bits (AVX2 without VNNI).
    """
    onnx, tools = need("onnx"), need("onnxruntime.quantization")
    model = onnx.load(source / MODEL)
    _quantize_tables(model)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        tools.quantize_dynamic(
            model,
            folder / MODEL,
            # Products only: what torch writes as Gemm is the head, a thousandth of the size and all of the answer.
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=tools.QuantType.QInt8,
        )


def shift_outputs(folder: Path, shifts: Mapping[str, Array]) -> None:
    """Adds to each named output a constant along its last axis."""
    onnx = need("onnx")
    model = onnx.load(folder / MODEL)
    for name, shift in shifts.items():
        maker = next(node for node in model.graph.node if name in node.output)
        maker.output[list(maker.output).index(name)] = f"{name}.unshifted"
        model.graph.initializer.append(onnx.numpy_helper.from_array(shift.astype(np.float32), f"{name}.shift"))
        model.graph.node.append(onnx.helper.make_node("Add", [f"{name}.unshifted", f"{name}.shift"], [name]))
    onnx.save(model, folder / MODEL)


def _tidy(model: ModelProto) -> None:
    """Drops shapes that were noted while tracing (the quantizer trips on them), guards that nothing needs, and what
    torch notes of where a node comes from: paths of the machine that exported, a megabyte of them for 12 layers.

    torch wraps the softmax of attention in "0 where it is not a number", for rows with no position to attend to.
    Every input has at least one, and the guards cost up to a sixth of the time.
    """
    graph = model.graph
    del graph.value_info[:]
    makers = {name: node for node in graph.node for name in node.output}
    renamed: dict[str, str] = {}
    for node in graph.node:
        guard = makers.get(node.input[0]) if node.op_type == "Where" else None
        if guard is not None and guard.op_type == "IsNaN" and guard.input[0] == node.input[2]:
            renamed[node.output[0]] = node.input[2]
    kept = [node for node in graph.node if not (node.op_type == "Where" and node.output[0] in renamed)]
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        del node.metadata_props[:]
        node.ClearField("doc_string")
    keep_used(graph, kept)


def keep_used(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    """Only nodes that lead to an output, and only their weights."""
    used = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if used.intersection(node.output):
            kept.insert(0, node)
            used.update(node.input)
    del graph.node[:]
    graph.node.extend(kept)
    weights = [w for w in graph.initializer if w.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _quantize_tables(model: ModelProto) -> None:
    """Embedding tables to 4 bits where they have been so before; else to int8 with a scale for each row: a quarter of
    the size at almost no loss.

    The runtime's own quantizer takes one scale for the whole table, which a few long rows then spoil for all.
    """
    onnx = need("onnx")
    graph = model.graph
    weights = {w.name: w for w in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is not None and is_table(table):
            rows = onnx.numpy_helper.to_array(table)
            told = four_bits.packed(rows)
            nodes.extend(_int4_lookup(model, node, *told) if told else _int8_lookup(graph, node, rows))
        else:
            nodes.append(node)
    keep_used(graph, nodes)


def is_table(weight: TensorProto) -> bool:
    """Large enough for scales of its own, and in fp32."""
    is_float, shape = weight.data_type == need("onnx").TensorProto.FLOAT, weight.dims
    return is_float and len(shape) == 2 and shape[0] >= _MANY_ROWS and shape[1] >= _WIDE_ROW


def _int4_lookup(model: ModelProto, gather: NodeProto, steps: Array, scales: Array) -> list[NodeProto]:
    """One operator that gathers and multiplies out."""
    onnx = need("onnx")
    (name, ids), out = gather.input, gather.output[0]
    raised = (steps + 8).astype(np.uint8).reshape(len(steps), -1)
    existing = {w.name for w in model.graph.initializer}
    for suffix, array in (("int4", four_bits.in_bytes(raised)), ("scale", scales)):
        if f"{name}.{suffix}" not in existing:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}.{suffix}"))
    if all(told.domain != MICROSOFT for told in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    lookup = onnx.helper.make_node(
        "GatherBlockQuantized", [f"{name}.int4", ids, f"{name}.scale"], [f"{out}.half"], domain=MICROSOFT,
        bits=4, block_size=four_bits.BLOCK, gather_axis=0, quantize_axis=1,
    )  # fmt: skip
    return [lookup, onnx.helper.make_node("Cast", [f"{out}.half"], [out], to=onnx.TensorProto.FLOAT)]


def _int8_lookup(graph: GraphProto, gather: NodeProto, table: Array) -> list[NodeProto]:
    """Gather rows and scales, multiply. `table`: rows x width."""
    onnx = need("onnx")
    name, ids, out = gather.input[0], gather.input[1], gather.output[0]
    scales = np.maximum(np.abs(table).max(1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
    rows = np.rint(table / scales).astype(np.int8)
    existing = {w.name for w in graph.initializer}
    for suffix, array in (("int8", rows), ("scale", scales)):
        if f"{name}.{suffix}" not in existing:
            graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}.{suffix}"))
    node = onnx.helper.make_node
    return [
        node("Gather", [f"{name}.int8", ids], [f"{out}.int8"]),
        node("Cast", [f"{out}.int8"], [f"{out}.float"], to=onnx.TensorProto.FLOAT),
        node("Gather", [f"{name}.scale", ids], [f"{out}.scale"]),
        node("Mul", [f"{out}.float", f"{out}.scale"], [out]),
    ]
