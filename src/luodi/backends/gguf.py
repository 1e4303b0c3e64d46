"""GGUF files of the llama architecture (llama.cpp's format): read, multiplied out and named as `transformers` names
them; written, with the tokenizer in the same file.

By the `gguf` package, which knows the block formats; not by transformers' own reader, which needs `accelerate` as well
and takes the tokenizer's settings for those of another model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luodi.backends import need
from luodi.backends.transformers import full_config, is_plain_llama
from luodi.core.types import Array
from luodi.errors import ParityError
from luodi.messages import tr

_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OUTSIDE = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
}  # fmt: skip
_HEADS = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
BLOCK = 32
"""Neighbours in a row that share one scale."""
KINDS = {"f16": ("F16", 2.0**-11), "int8": ("Q8_0", 1 / 220), "int4": ("Q4_0", 1 / 7.9)}
"""Of matrices: llama.cpp's name, and how far a weight may be from what it was, in shares of the largest of its
block. 4 bits hold -8 to 7 times a scale, so that what lies opposite the largest may lose a whole step."""
_CUTS = {"": "gpt-2", "Digits": "smollm"}
"""What stands before the cutting into bytes, to the name under which llama.cpp does the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufFile:
    """What a file says, in the words of a Hugging Face configuration."""

    config: dict[str, Any]
    weights: dict[str, Array]
    """float32."""
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
    values = np.array(need("gguf").dequantize(tensor.data, tensor.tensor_type), np.float32)  # no view of the file
    stem = tensor.name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight", values
    _, layer, part = stem.split(".")
    if heads := config.get(_HEADS.get(_LAYER[part], "")):
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        values = pairs.swapaxes(1, 2).reshape(values.shape)
    return f"model.layers.{layer}.{_LAYER[part]}.weight", values


# --- written ----------------------------------------------------------------------------------------------------------


def why_not(config: Mapping[str, Any], tokenizer: Path) -> str:
    """Why such a network, or its tokenizer, has no place in a GGUF file of the llama architecture. Empty: it has."""
    if config.get("model_type") != "llama":
        return tr("Only networks of the llama architecture become GGUF files; this one is {kind}.").format(
            kind=config.get("model_type")
        )
    if not is_plain_llama(config):
        return tr("Its layers differ from the llama architecture's usual ones.")
    if _cut_of(json.loads(tokenizer.read_text(encoding="utf-8"))) is None:
        return tr("llama.cpp has no tokenizer that cuts as this one does.")
    return ""


def write_gguf(
    path: Path, config: Mapping[str, Any], weights: Mapping[str, Array], tokenizer: Path, end: int, template: str,
    kind: str = "f16",
) -> None:  # fmt: skip
    """`weights` by their names in `transformers`, fp32; `end`: the token that ends an answer and, where there is no
    template, begins a text. Matrices are written as KINDS says, the rest in fp32."""
    library = need("gguf")
    full = full_config(config)
    writer = library.GGUFWriter(path, "llama")
    writer.add_context_length(full["max_position_embeddings"])
    writer.add_embedding_length(full["hidden_size"])
    writer.add_block_count(full["num_hidden_layers"])
    writer.add_feed_forward_length(full["intermediate_size"])
    writer.add_head_count(full["num_attention_heads"])
    writer.add_head_count_kv(full["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(full["rms_norm_eps"])
    writer.add_rope_freq_base(full["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(full["head_dim"])
    writer.add_vocab_size(full["vocab_size"])
    _add_tokenizer(writer, json.loads(tokenizer.read_text(encoding="utf-8")), full["vocab_size"])
    writer.add_bos_token_id(end if full["bos_token_id"] is None or not template else full["bos_token_id"])
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(not template)
    if template:
        writer.add_chat_template(template)
    name, _ = KINDS[kind]
    writer.add_file_type(library.LlamaFileType[f"MOSTLY_{name}"])
    for stem, values in _in_their_order(weights, full):
        blocks = library.GGMLQuantizationType[name if values.ndim > 1 else "F32"]
        writer.add_tensor(f"{stem}.weight", library.quantize(values, blocks), raw_dtype=blocks)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def prove(path: Path, weights: Mapping[str, Array], kind: str) -> None:
    """Reads the file as anybody would. Raises ParityError where a weight is not there, or is further off than its kind
    of block makes it."""
    found = read_gguf(path).weights
    _, share = KINDS[kind]
    wanted = {name: w for name, w in weights.items() if name != "lm_head.weight" or name in found}
    off = sorted(found.keys() ^ wanted.keys()) or [n for n, w in wanted.items() if not _is_near(found[n], w, share)]
    if off:
        message = tr("Written and read again, the weight {name} is another one.").format(name=off[0])
        raise ParityError(message, code="compress.gguf")


def _is_near(found: Array, wanted: Array, share: float) -> bool:
    if found.shape != wanted.shape:
        return False
    if wanted.ndim == 1:
        return bool(np.array_equal(found, wanted))
    apart = np.abs(found - wanted).reshape(-1, BLOCK).max(1)
    # The scale itself is a float16: of very small ones little is left.
    return bool((apart <= share * np.abs(wanted).reshape(-1, BLOCK).max(1) + 1e-6).all())


def _in_their_order(weights: Mapping[str, Array], config: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Names and rows as llama.cpp has them: the opposite of `_weight`."""
    outside = {theirs: ours for ours, theirs in _OUTSIDE.items()}
    inside = {theirs: ours for ours, theirs in _LAYER.items()}
    for name, values in weights.items():
        stem = name.removesuffix(".weight")
        if stem in outside:
            if stem != "lm_head" or not config["tie_word_embeddings"]:
                yield outside[stem], values
            continue
        layer, part = stem.removeprefix("model.layers.").split(".", 1)
        rows = values
        if part in _HEADS:
            heads = config[_HEADS[part]]
            halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            rows = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
        yield f"blk.{layer}.{inside[part]}", rows


def _add_tokenizer(writer: Any, told: Mapping[str, Any], size: int) -> None:
    """Rows of the table that no piece belongs to are named, since llama.cpp counts them."""
    kinds = need("gguf").TokenType
    pieces = {i: (piece, kinds.NORMAL) for piece, i in told["model"]["vocab"].items()}
    for token in told["added_tokens"]:
        pieces[token["id"]] = (token["content"], kinds.CONTROL if token["special"] else kinds.USER_DEFINED)
    listed = [pieces.get(i, (f"[UNUSED{i}]", kinds.UNUSED)) for i in range(size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cut_of(told))
    writer.add_token_list([piece for piece, _ in listed])
    writer.add_token_types([kind for _, kind in listed])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in told["model"]["merges"]])


def _cut_of(told: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the cutting before the merges; None where it has none, or the tokenizer is no such one."""
    before = told.get("pre_tokenizer") or {}
    parts: Sequence[Mapping[str, Any]] = before.get("pretokenizers", [before])
    *first, last = parts
    is_bytes = last.get("type") == "ByteLevel" and not last.get("add_prefix_space") and last.get("use_regex", True)
    if told["model"]["type"] != "BPE" or not is_bytes or told.get("normalizer") or len(first) > 1:
        return None
    if first and not first[0].get("individual_digits"):
        return None
    return _CUTS.get(first[0]["type"] if first else "")
