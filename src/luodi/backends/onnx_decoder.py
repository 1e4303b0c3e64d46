"""ONNX: a decoder of the llama architecture (Touvron et al. 2023, arXiv:2302.13971) written in few operators.

A step of one token through a small network costs as much in the calls of its operators as in its products. Traced, a
layer is some seventy operators; written by hand it is eighteen. It reads and gives what `models.causal` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from luodi.backends import need
from luodi.backends.onnx import MICROSOFT, MODEL
from luodi.backends.transformers import full_config, is_plain_llama
from luodi.core.types import Array

OPSET = 23
"""The first with attention and rotation as single operators."""
_NEVER = np.float32(-1e9)
"""Added to what may not be attended to. Finite: a row of padding may attend to nothing, and must stay a number."""


def can_write(config: Mapping[str, Any]) -> bool:
    """Whether `write_decoder` knows such networks."""
    return config.get("model_type") == "llama" and is_plain_llama(config)


def write_decoder(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    """model.onnx in fp32; `weights` by their names in `transformers`."""
    onnx = need("onnx")
    made = _Decoder(full_config(config), weights)
    made.write()
    kinds, width = onnx.TensorProto, made.width
    inputs = [
        onnx.helper.make_tensor_value_info("input_ids", kinds.INT64, ["batch", "length"]),
        onnx.helper.make_tensor_value_info("attention_mask", kinds.INT64, ["batch", "length"]),
        onnx.helper.make_tensor_value_info("past", kinds.FLOAT, ["batch", "before", width]),
        onnx.helper.make_tensor_value_info("past_mask", kinds.INT64, ["batch", "before"]),
    ]
    outputs = [
        onnx.helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", "length", made.config["vocab_size"]]),
        onnx.helper.make_tensor_value_info("present", kinds.FLOAT, ["batch", "length", width]),
    ]
    graph = onnx.helper.make_graph(made.nodes, "decoder", inputs, outputs, list(made.constants.values()))
    sets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(MICROSOFT, 1)]
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.helper.make_model(graph, opset_imports=sets, ir_version=10), folder / MODEL)


@dataclass(slots=True)
class _Decoder:
    """The graph as it grows."""

    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Numbers of one position's keys in one layer; its values are as many."""
        return int(self.config["num_key_value_heads"] * self.config["head_dim"])

    @property
    def width(self) -> int:
        return int(2 * self.kept * self.config["num_hidden_layers"])

    def write(self) -> None:
        layers = self.config["num_hidden_layers"]
        mask, turns = self._mask(), self._turns()
        sizes = self._constant("sizes", np.full(2 * layers, self.kept, np.int64))
        before = self._add("Split", ["past", sizes], {"axis": 2}, many=2 * layers)
        table = self._weight("model.embed_tokens.weight")
        (stream,) = self._add("Gather", [table, "input_ids"])
        (read,) = self._microsoft("SimplifiedLayerNormalization", [stream, self._norm("layers.0.input_layernorm")])
        told: list[str] = []
        for layer in range(layers):
            name, after = f"layers.{layer}", f"layers.{layer + 1}.input_layernorm" if layer + 1 < layers else "norm"
            heads, keys, values = self._attended(name, read, turns, (*before[2 * layer : 2 * layer + 2], mask))
            told += [keys, values]
            read, stream = self._joined(heads, stream, f"{name}.post_attention_layernorm")
            read, stream = self._joined(self._fed_forward(name, read), stream, after)
        self._add("Concat", told, {"axis": 2}, ["present"])
        tied = self.config["tie_word_embeddings"]
        (head,) = self._add("Transpose", [table], {"perm": [1, 0]}) if tied else [self._turned(["lm_head"])]
        self._add("MatMul", [read, head], {}, ["logits"])

    def _attended(
        self, name: str, read: str, turns: Sequence[str], known: Sequence[str]
    ) -> tuple[str, str, str]:
        """What the heads say, and this layer's keys and values of the positions that were read. `known`: keys and
        values from before, and the mask."""
        heads, kept, keys, values, mask = self.config["num_attention_heads"], self.config["num_key_value_heads"], *known
        names = [f"model.{name}.self_attn.{part}_proj" for part in "qkv"]
        (joint,) = self._add("MatMul", [read, self._turned(names)])
        sizes = np.array([heads * self.config["head_dim"], self.kept, self.kept], np.int64)
        query, key, value = self._add("Split", [joint, self._constant("parts", sizes)], {"axis": 2}, many=3)
        (query,) = self._add("RotaryEmbedding", [query, *turns], {"num_heads": heads})
        (key,) = self._add("RotaryEmbedding", [key, *turns], {"num_heads": kept})
        (all_keys,) = self._add("Concat", [keys, key], {"axis": 1})
        (all_values,) = self._add("Concat", [values, value], {"axis": 1})
        (found,) = self._add(
            "Attention", [query, all_keys, all_values, mask], {"q_num_heads": heads, "kv_num_heads": kept}
        )
        (told,) = self._add("MatMul", [found, self._turned([f"model.{name}.self_attn.o_proj"])])
        return told, key, value

    def _fed_forward(self, name: str, read: str) -> str:
        (joint,) = self._add("MatMul", [read, self._turned([f"model.{name}.mlp.{p}_proj" for p in ("gate", "up")])])
        sizes = self._constant("halves", np.full(2, self.config["intermediate_size"], np.int64))
        gate, up = self._add("Split", [joint, sizes], {"axis": 2}, many=2)
        (gate,) = self._microsoft("QuickGelu", [gate], {"alpha": 1.0})  # x times its sigmoid: SiLU
        (wide,) = self._add("Mul", [gate, up])
        return self._add("MatMul", [wide, self._turned([f"model.{name}.mlp.down_proj"])])[0]

    def _joined(self, told: str, stream: str, norm: str) -> tuple[str, str]:
        """The sum of both, normed and as it is."""
        name = f"sum.{len(self.nodes)}"
        normed, _, _, joined = outputs = [f"{name}.normed", "", "", name]
        self._microsoft("SkipSimplifiedLayerNormalization", [told, stream, self._norm(norm)], outputs=outputs)
        return normed, joined

    def _mask(self) -> str:
        """B x 1 x T x (P + T): 0 where a real position that is not later may be attended to."""
        (mask,) = self._add("Concat", ["past_mask", "attention_mask"], {"axis": 1}, ["mask"])
        (size,) = self._add("Shape", ["past_mask"], {"start": 1, "end": 2}, ["before.size"])
        (whole,) = self._add("Shape", [mask], {"start": 1, "end": 2})
        zero, one = (self._constant(f"number.{i}", np.array(i, np.int64)) for i in (0, 1))
        (last,) = self._add("Squeeze", [whole])
        (first,) = self._add("Squeeze", [size])
        (columns,) = self._add("Range", [zero, last, one])
        (rows,) = self._add("Range", [first, last, one])
        (rows,) = self._add("Unsqueeze", [rows, self._constant("axis.1", np.array([1], np.int64))])
        (earlier,) = self._add("LessOrEqual", [columns, rows])
        (real,) = self._add("Cast", [mask], {"to": need("onnx").TensorProto.BOOL})
        (real,) = self._add("Unsqueeze", [real, self._constant("axes.12", np.array([1, 2], np.int64))])
        (both,) = self._add("And", [earlier, real])
        yes, no = self._constant("may", np.float32(0)), self._constant("never", _NEVER)
        return self._add("Where", [both, yes, no])[0]

    def _turns(self) -> list[str]:
        """Cosines and sines of the positions, counted by the masks."""
        config = self.config
        kinds, half = need("onnx").TensorProto, np.arange(0, config["head_dim"], 2) / config["head_dim"]
        rates = (1.0 / config["rope_parameters"]["rope_theta"] ** half).astype(np.float32)
        one = self._constant("number.1", np.array(1, np.int64))
        (counted,) = self._add("CumSum", ["mask", one])
        (counted,) = self._add("Sub", [counted, one])
        (counted,) = self._add("Max", [counted, self._constant("number.0", np.array(0, np.int64))])
        (whole,) = self._add("Shape", ["mask"], {"start": 1, "end": 2})
        axis = self._constant("axis.1", np.array([1], np.int64))
        (places,) = self._add("Slice", [counted, "before.size", whole, axis])
        (places,) = self._add("Cast", [places], {"to": kinds.FLOAT})
        (places,) = self._add("Unsqueeze", [places, self._constant("axis.2", np.array([2], np.int64))])
        (angles,) = self._add("Mul", [places, self._constant("rates", rates)])
        return [self._add(kind, [angles])[0] for kind in ("Cos", "Sin")]

    def _turned(self, names: Sequence[str]) -> str:
        """One matrix of several, read x told: one product is cheaper than three."""
        joint = np.concatenate([self.weights[f"{name}.weight"] for name in names])
        return self._constant("+".join(names), np.ascontiguousarray(joint.T, np.float32))

    def _norm(self, name: str) -> str:
        return self._weight(f"model.{name}.weight")

    def _weight(self, name: str) -> str:
        return self._constant(name, np.ascontiguousarray(self.weights[name], np.float32))

    def _constant(self, name: str, array: Any) -> str:
        if name not in self.constants:
            self.constants[name] = need("onnx").numpy_helper.from_array(np.asarray(array), name)
        return name

    def _microsoft(
        self, kind: str, inputs: Sequence[str], told: Mapping[str, Any] = {}, *, outputs: Sequence[str] = ()
    ) -> list[str]:  # fmt: skip
        """Operators that ONNX Runtime adds to the standard. The first norm stands in the standard's own domain."""
        epsilon = {} if kind == "QuickGelu" else {"epsilon": self.config["rms_norm_eps"]}
        domain = "" if kind == "SimplifiedLayerNormalization" else MICROSOFT
        return self._add(kind, inputs, {**told, **epsilon, "domain": domain}, outputs)

    def _add(
        self, kind: str, inputs: Sequence[str], told: Mapping[str, Any] = {}, outputs: Sequence[str] = (), many: int = 1
    ) -> list[str]:  # fmt: skip
        """Names of its outputs."""
        names = list(outputs) or [f"{kind}.{len(self.nodes)}.{i}" for i in range(many)]
        self.nodes.append(need("onnx").helper.make_node(kind, list(inputs), names, **told))
        return names
