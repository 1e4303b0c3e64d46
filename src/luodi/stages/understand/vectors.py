"""Messages to vectors: what an encoder makes of them beside the words that stand there; or the words alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from luodi.backends.sklearn import word_vectors
from luodi.core.machine import num_threads
from luodi.core.progress import progress, say
from luodi.core.store import write_atomically
from luodi.core.types import Array, Floats
from luodi.errors import LuodiError
from luodi.messages import tr
from luodi.models.embedding import can_encode, encoder_identity, encoder_name, open_encoder
from luodi.stages.understand.graph import centred
from luodi.stages.understand.words import Word

ENCODER, LEXICAL = "e5-small", "lexical"
_SHARE = 0.3
"""How much the words weigh beside the encoder. Chosen on the intents of CLINC150, see benchmarks/README.md."""
_WIDTH = 256
_KEY = 16
"""Bytes of a text's fingerprint in the cache."""
_CHUNK, _SAVES = 2048, 10
"""Texts between two times that the cache is written, or a tenth of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    points: Array
    """n x d, each of length 1, without what all have in common."""
    told: str
    """What read the texts."""


def read_texts(texts: Sequence[str], words: Sequence[Sequence[Word]], engine: str, cache: Path) -> Vectors:
    """`words`: of each text. Raises ResourceError where `engine` names an encoder that cannot be had; "auto" then reads
    words alone, and says so."""
    spoken = centred(word_vectors([[word.text for word in row] for row in words], _WIDTH))
    alone = tr("The texts were read word by word, without an encoder: what is said in other words is not put together.")
    if engine == LEXICAL or (engine == "auto" and not can_encode()):
        return Vectors(points=spoken, told=alone)
    encoder = ENCODER if engine == "auto" else engine
    try:
        meaning = centred(encode_texts(texts, encoder, cache))
    except LuodiError as error:
        if engine != "auto":
            raise
        say(str(error))
        return Vectors(points=spoken, told=alone)
    told = tr("The texts were read by {name}, with their words beside it.").format(name=encoder_name(encoder))
    both = np.hstack([meaning * (1 - _SHARE**2) ** 0.5, spoken * _SHARE]).astype(np.float32)
    return Vectors(points=both, told=told)


def encode_texts(texts: Sequence[str], name: str, cache: Path) -> Floats:
    """n x d. Each text is read once: `cache` holds what was read, by its fingerprint, also by a run that stopped."""
    known = _read_cache(cache)
    made_by = encoder_identity(name)
    keys = [_fingerprint(f"{made_by}\0{text}") for text in texts]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    missing = sorted((i for key, i in first.items() if key not in known), key=lambda i: (len(texts[i]), i))
    if missing:
        encoder = open_encoder(name, num_threads(None))
        size = max(_CHUNK, len(missing) // _SAVES + 1)
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            told = partial(_tell, start, len(missing))
            # Kept in half precision, so that a text is the same vector whether it was read now or before.
            made = encoder.encode([texts[i] for i in part], told).astype(np.float16)
            known |= {keys[i]: row for i, row in zip(part, made, strict=True)}
            _write_cache(cache, known)
    return np.stack([known[key] for key in keys]).astype(np.float32)


def _tell(before: int, total: int, done: int) -> None:
    progress(tr("reading texts"), before + done, total)


def _fingerprint(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_KEY).digest()


def _read_cache(path: Path) -> dict[bytes, Array]:
    """A cache that cannot be read is none: what was in it is read anew."""
    try:
        told = np.load(path, allow_pickle=False)
        keys, rows = told["keys"], told["rows"]
    except (OSError, ValueError, KeyError):
        return {}
    return {bytes(key): row for key, row in zip(keys, rows, strict=True)}


def _write_cache(path: Path, known: dict[bytes, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    keys = np.frombuffer(b"".join(known), np.uint8).reshape(-1, _KEY)
    np.savez(buffer, keys=keys, rows=np.stack(list(known.values())))
    write_atomically(path, buffer.getvalue())
