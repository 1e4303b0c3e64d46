"""Sentence vectors: of a packaged encoder, on the quickest engine that is installed; of another one, in torch."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.core.batching import batches_by_length, pad
from luodi.core.store import KEY_LENGTH, hash_file, hash_json
from luodi.core.types import Batch, Floats
from luodi.models.packaged import PACKAGED, cache_dir

if TYPE_CHECKING:
    from luodi.models.engine import TorchEngine

LONGEST = 128
"""Tokens; what is said later in a message is left out of its vector."""
PREFIX = "query: "
"""Of inputs that are compared with each other (model card of multilingual-e5-small); other families have none."""
_FORMAT = 1
_BUDGET, _MOST = 4096, 64


Told = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    name: str
    """As a report tells it: model and engine."""
    encode: Callable[[Sequence[str], Told], Floats]
    """Texts to n x d, each row of length 1; hears of how many are done."""


def can_encode() -> bool:
    """Whether what it needs is installed; the weights may still have to be fetched."""
    return _are_there("torch", "transformers", "tokenizers")


def encoder_name(name: str) -> str:
    """Model and engine, as they are told."""
    return f"{name}, {'OpenVINO int8' if _is_int8(name) else 'torch fp32'}"


def encoder_identity(name: str) -> str:
    """Vectors of two engines are not quite the same; nor are those of a folder that has changed, which is read here."""
    weights = sorted(Path(name).rglob("*.safetensors")) if Path(name).is_dir() else []
    content = hash_json([hash_file(path) for path in weights])[:KEY_LENGTH] if weights else ""
    return f"{encoder_name(name)} {content}".rstrip()


def _is_int8(name: str) -> bool:
    return name in PACKAGED and _are_there("openvino", "nncf")


def _are_there(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


def open_encoder(name: str, threads: int) -> Encoder:
    """`name`: a packaged model, a folder, a Bundle, a hub id. Packaged ones with OpenVINO and NNCF: int8 weights, made
    once and kept in the cache; else torch in fp32. Raises ResourceError where the weights cannot be had."""
    from luodi.models.source import resolve

    base = resolve(name, name)
    processor: Any = base.processor(())
    if _is_int8(name):
        from luodi.backends import openvino

        engine: Any = openvino.open_engine(_int8_folder(name, base), None, {}, threads)  # type: ignore[arg-type]
    else:
        engine = _torch_engine(base)
    prefix = PREFIX if "e5" in name.lower() else ""

    def encode(texts: Sequence[str], told: Told) -> Floats:
        ids = [_cut(item["input_ids"]) for item in processor.encode([prefix + text for text in texts])]
        return _run(engine.run, ids, told)

    return Encoder(name=encoder_name(name), encode=encode)


def _cut(ids: Any) -> Any:
    """The first tokens, and the mark of the end."""
    return ids if len(ids) <= LONGEST else np.append(ids[: LONGEST - 1], ids[-1])


def _run(run: Callable[[Batch], Any], ids: Sequence[Any], told: Told) -> Floats:
    found: Floats = np.empty((0, 0), dtype=np.float32)
    done = 0
    for places in batches_by_length([len(row) for row in ids], budget=_BUDGET, most=_MOST):
        made = run(_batch([ids[place] for place in places]))["vectors"]
        if not found.size:
            found = np.empty((len(ids), made.shape[1]), dtype=np.float32)
        found[places] = made / np.linalg.norm(made, axis=1, keepdims=True)
        done += len(places)
        told(done)
    return found


def _batch(rows: Sequence[Any]) -> Batch:
    return {
        "input_ids": pad(rows).astype(np.int64),
        "attention_mask": pad([np.ones(len(row), dtype=np.int64) for row in rows]),
    }


def _torch_engine(base: Any) -> TorchEngine:
    from luodi.models.engine import TorchEngine
    from luodi.models.pooled import Pooled

    return TorchEngine(Pooled(base.encoder()).eval())


def _int8_folder(name: str, base: Any) -> Path:
    """Weights alone, so that it needs no data and is the same for everybody."""
    folder = cache_dir() / "encoders" / f"{name}-{PACKAGED[name].member.version}-int8-{_FORMAT}"
    if folder.is_dir():
        return folder
    from luodi.backends import nncf, openvino
    from luodi.models.tracing import trace

    folder.parent.mkdir(parents=True, exist_ok=True)
    batches = [_batch([np.arange(3, 3 + size)] * count) for size, count in ((6, 2), (9, 3))]
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as aside:
        openvino.convert(trace(_torch_engine(base), *batches), ["vectors"], Path(aside) / "fp32")
        nncf.compress_weights(Path(aside) / "fp32", Path(aside) / "int8")
        if not folder.is_dir():  # another process may have been quicker
            shutil.move(Path(aside) / "int8", folder)
    return folder
