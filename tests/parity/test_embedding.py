"""Sentence vectors: the same by every engine, whatever stands beside a text, read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import miss
from luodi.errors import LuodiError
from luodi.models import embedding
from luodi.models.packaged import fetch
from luodi.stages.understand import vectors
from luodi.stages.understand.graph import centred

pytestmark = pytest.mark.slow  # a graph is made of the encoder first; needs are tested with words alone, too

TEXTS = [
    "我的快递什么时候到", "物流太慢了，等了一周", "the app crashes on start", "应用一打开就闪退",
    "how do I export a pdf?", "怎么导出PDF文件", "refund please", "我要退款", "a" * 900, "好",
]  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> embedding.Encoder:
    try:
        fetch("e5-small")
    except LuodiError as error:
        miss("weights", str(error))
    return embedding.open_encoder("e5-small", 1)


def test_vectors_are_those_of_torch_and_mean_something(
    encoder: embedding.Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = encoder.encode(TEXTS, lambda done: None)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1.0, abs=1e-5)
    monkeypatch.setattr(embedding, "_are_there", lambda *packages: "openvino" not in packages)
    plain = embedding.open_encoder("e5-small", 1)
    assert plain.name == "e5-small, torch fp32"
    assert (made * plain.encode(TEXTS, lambda done: None)).sum(1).min() > 0.998
    points = centred(made[:8])  # without what all sentences have in common
    alike = points @ points.T - 2 * np.eye(8)
    assert [int(alike[i].argmax()) for i in (2, 4)] == [3, 5]  # the same in Chinese


def test_neighbours_in_a_batch_change_nothing(encoder: embedding.Encoder) -> None:
    together = encoder.encode(TEXTS, lambda done: None)
    alone = np.concatenate([encoder.encode([text], lambda done: None) for text in TEXTS])
    assert (together * alone).sum(1).min() > 0.9995


def test_each_text_is_read_once(encoder: embedding.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "vectors.npz"
    first = vectors.encode_texts(TEXTS, "e5-small", cache)
    monkeypatch.setattr(vectors, "open_encoder", lambda *_: pytest.fail("all of them were read before"))
    assert (vectors.encode_texts([*reversed(TEXTS), TEXTS[0]], "e5-small", cache)[:-1][::-1] == first).all()
    cache.write_bytes(b"torn")
    monkeypatch.setattr(vectors, "open_encoder", lambda *_: encoder)
    assert vectors.encode_texts(TEXTS[:2], "e5-small", cache) == pytest.approx(first[:2], abs=2e-3)
