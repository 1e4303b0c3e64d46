"""ONNX: weights in blocks of 8 or 4 bits, for networks that write. A step of one token multiplies one row by every
weight, so that what counts is how fast they come out of memory; ONNX Runtime multiplies such blocks as they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luodi.backends import need
from luodi.backends.four_bits import in_bytes
from luodi.backends.onnx import MICROSOFT, MODEL, is_table, keep_used
from luodi.core.types import Array

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

BLOCKS = {8: 64, 4: 32}
"""Bits to how many neighbours share a scale."""
MIDDLE = 128
"""What stands for 0 in a block of 8 bits."""
_INT8_ROWS = 4
"""The runtime's accuracy level at which a row is made int8 too, so many neighbours to a scale, before it is multiplied:
else the weights would be multiplied out first, at several times the cost of fp32."""


def quantize_blocks(source: Path, folder: Path, *, bits: int) -> None:
    """Matrices that are multiplied by in `bits`; tables of tokens in 8, and with them a head that is the same table."""
    onnx = need("onnx")
    model = onnx.load(source / MODEL)
    _Blocks(model, bits).replace()
    model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / MODEL)


@dataclass(slots=True)
class _Blocks:
    """One graph while its products and lookups are replaced."""

    model: ModelProto
    bits: int
    written: set[str] = field(default_factory=set)
    """Weights whose blocks stand in the graph."""

    def replace(self) -> None:
        onnx = need("onnx")
        graph = self.model.graph
        weights = {w.name: w for w in graph.initializer}
        # A linear layer whose weight is used elsewhere too: a head that is tied to the table of tokens.
        turned = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Transpose" and n.input[0] in weights}
        nodes: list[NodeProto] = []
        for node in graph.node:
            by = node.input[1] if node.op_type == "MatMul" else ""
            if by in turned:
                nodes.append(self._product(node, turned[by], onnx.numpy_helper.to_array(weights[turned[by]]), 8))
            elif by in weights and len(weights[by].dims) == 2:
                nodes.append(self._product(node, by, onnx.numpy_helper.to_array(weights[by]).T, self.bits))
            elif node.op_type == "Gather" and (w := weights.get(node.input[0])) is not None and is_table(w):
                nodes += self._lookup(node, onnx.numpy_helper.to_array(w))
            else:
                nodes.append(node)
        keep_used(graph, nodes)

    def _product(self, node: NodeProto, name: str, weight: Array, bits: int) -> NodeProto:
        """`weight`: what is told x what is read."""
        made: NodeProto = need("onnx").helper.make_node(
            "MatMulNBits", [node.input[0], *self._written(name, weight, bits)], list(node.output), domain=MICROSOFT,
            N=weight.shape[0], K=weight.shape[1], bits=bits, block_size=BLOCKS[bits], accuracy_level=_INT8_ROWS,
        )  # fmt: skip
        return made

    def _lookup(self, gather: NodeProto, table: Array) -> list[NodeProto]:
        """Rows and their scales, multiplied out; what filled the last block up is cut off."""
        node, kind = need("onnx").helper.make_node, need("onnx").TensorProto.FLOAT
        (name, ids), out = gather.input, gather.output[0]
        rows, scales = self._written(name, table, 8)
        middle = self._constant("middle", np.array(MIDDLE, np.float32))
        flat, first, last, width = (
            self._constant(f"lookup.{told}", np.array(told, np.int64))
            for told in ([0, 0, -1], [0], [-1], [table.shape[1]])
        )
        return [
            node("Gather", [rows, ids], [f"{out}.blocks"]),
            node("Cast", [f"{out}.blocks"], [f"{out}.float"], to=kind),
            node("Sub", [f"{out}.float", middle], [f"{out}.around"]),
            node("Gather", [scales, ids], [f"{out}.scales"]),
            node("Unsqueeze", [f"{out}.scales", last], [f"{out}.wide"]),
            node("Mul", [f"{out}.around", f"{out}.wide"], [f"{out}.apart"]),
            node("Reshape", [f"{out}.apart", flat], [f"{out}.whole"]),
            node("Slice", [f"{out}.whole", first, width, last], [out]),
        ]

    def _written(self, name: str, weight: Array, bits: int) -> list[str]:
        parts = (f"{name}.blocks", f"{name}.scales", *([f"{name}.zeros"] if bits == 4 else []))
        if name not in self.written:
            self.written.add(name)
            for part, array in zip(parts, (_int8 if bits == 8 else _int4)(weight), strict=True):
                self._constant(part, array)
        return list(parts)

    def _constant(self, name: str, array: Array) -> str:
        graph: GraphProto = self.model.graph
        if all(w.name != name for w in graph.initializer):
            graph.initializer.append(need("onnx").numpy_helper.from_array(array, name))
        return name


def _int8(weight: Array) -> Sequence[Array]:
    """Rows x blocks x 64, and rows x blocks."""
    apart = _in_blocks(weight, BLOCKS[8])
    scales = np.maximum(np.abs(apart).max(-1), 1e-12).astype(np.float32) / np.float32(MIDDLE - 1)
    return (np.rint(apart / scales[..., None]) + MIDDLE).astype(np.uint8), scales


def _int4(weight: Array) -> Sequence[Array]:
    """Two weights to a byte; what stands for 0 is one of the 16 values of each block."""
    apart = _in_blocks(weight, BLOCKS[4])
    low, high = np.minimum(apart.min(-1), 0), np.maximum(apart.max(-1), 0)
    scales = np.maximum(high - low, 1e-12).astype(np.float32) / np.float32(15)
    zeros = np.rint(-low / scales)
    places = np.clip(np.rint(apart / scales[..., None]) + zeros[..., None], 0, 15).astype(np.uint8)
    pairs = np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2))).astype(np.uint8)
    return in_bytes(places), scales, in_bytes(pairs)


def _in_blocks(weight: Array, size: int) -> Array:
    """Rows filled up with 0 to whole blocks."""
    rows, width = weight.shape
    return np.pad(weight, ((0, 0), (0, -width % size))).reshape(rows, -1, size)
