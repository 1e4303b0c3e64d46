"""GGUF files of the llama architecture (llama.cpp's format), multiplied out and named as `transformers` names them.

By the `gguf` package, which knows the block formats; not by transformers' own reader, which needs `accelerate` as well
and takes the tokenizer's settings for those of another model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luodi.backends import need
from luodi.core.types import Array

_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OUTSIDE = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufFile:
    """What a file says, in the words of a Hugging Face configuration."""

    config: dict[str, Any]
    weights: dict[str, Array]
    """float16: blocks of 4 bits with a float16 scale hold no more."""
    pieces: list[str]
    """By token id."""
    merges: list[tuple[str, str]]
    marks: list[str]
    """Pieces that stand for no text."""
    template: str


def read_gguf(path: Path) -> GgufFile:
    """Raises ValueError where it is none, is cut short, or holds another architecture."""
    reader = need("gguf").GGUFReader(path)
    told = {name: field.contents() for name, field in reader.fields.items()}
    if told.get("general.architecture") != "llama":
        raise ValueError(f"architecture {told.get('general.architecture')!r}")
    pieces, kinds = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    config = _config(told, len(pieces))
    weights = dict(_weight(tensor, config) for tensor in reader.tensors)
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    merges = [(a, b) for a, b in (merge.split(" ") for merge in told["tokenizer.ggml.merges"])]
    normal = int(need("gguf").TokenType.NORMAL)
    marks = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind != normal]
    template = told.get("tokenizer.chat_template", "")
    return GgufFile(config=config, weights=weights, pieces=pieces, merges=merges, marks=marks, template=template)


def _config(told: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    heads = int(told["llama.attention.head_count"])
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "vocab_size": vocabulary,
        "hidden_size": int(told["llama.embedding_length"]), "num_hidden_layers": int(told["llama.block_count"]),
        "intermediate_size": int(told["llama.feed_forward_length"]), "num_attention_heads": heads,
        "num_key_value_heads": int(told.get("llama.attention.head_count_kv", heads)),
        "rms_norm_eps": float(told["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(told.get("llama.rope.freq_base", 10_000.0)),
        "max_position_embeddings": int(told["llama.context_length"]),
        "bos_token_id": int(told["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(told["tokenizer.ggml.eos_token_id"]),
    }  # fmt: skip


def _weight(tensor: Any, config: dict[str, Any]) -> tuple[str, Array]:
    """Name and values. llama.cpp turns pairs of neighbours where transformers turns the two halves of a head: the rows
    of queries and keys stand in another order."""
    values = need("gguf").dequantize(tensor.data, tensor.tensor_type)
    stem = tensor.name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight", values.astype(np.float16)
    _, layer, part = stem.split(".")
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(part)
    if heads:
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        values = pairs.swapaxes(1, 2).reshape(values.shape)
    return f"model.layers.{layer}.{_LAYER[part]}.weight", values.astype(np.float16)
