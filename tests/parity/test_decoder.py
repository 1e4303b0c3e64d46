"""A decoder written as a graph of few operators, and its weights in blocks, against torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx as library
import pytest
from onnx import numpy_helper

from luodi.backends import onnx
from luodi.backends.onnx_blocks import BLOCKS, quantize_blocks
from luodi.backends.onnx_decoder import can_write, write_decoder
from luodi.core.batching import PAST
from luodi.core.task import GenerativeTask
from luodi.core.types import Batch
from luodi.models.engine import TorchEngine
from luodi.stages.compress.gate import check_shapes
from poet import SIZES, make_writer

Writer = tuple[GenerativeTask[Any, str], TorchEngine, dict[str, Any]]
BITS = pytest.mark.parametrize("bits", BLOCKS)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def writer(request: pytest.FixtureRequest) -> Writer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "llama", {**SIZES["llama"], "tie_word_embeddings": request.param})  # type: ignore[arg-type]
        return make_writer("llama")


@pytest.fixture(scope="module")
def written(writer: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fp32, 8 and 4 bits, in folders of these names."""
    _, engine, config = writer
    folder = tmp_path_factory.mktemp("decoder")
    assert can_write(config)
    weights = {n.removeprefix("decoder."): t.numpy() for n, t in engine.model.state_dict().items()}
    write_decoder(folder / "fp32", config, weights)
    for bits in BLOCKS:
        quantize_blocks(folder / "fp32", folder / str(bits), bits=bits)
    return folder


def opened(folder: Path, writer: Writer) -> onnx.OnnxEngine:
    return onnx.open_engine(folder, writer[0], {}, 1)


def test_parity_at_nine_shapes_with_a_cache(writer: Writer, written: Path) -> None:
    task, engine, _ = writer
    made = opened(written / "fp32", writer)
    items = [task.widest(item, engine) for item in task.encode(["春风又绿", "the quick", "第7首"], task.writer)]
    assert PAST[0] in items[0]
    assert check_shapes(engine, made, task, items) < 1e-4


@pytest.mark.parametrize("name", ["logits", "present"])
def test_padding_may_stand_anywhere(writer: Writer, written: Path, name: str) -> None:
    """Rows of several lengths, gaps in what came before and before what is read: as in a batch of unequal answers."""
    _, engine, _ = writer
    made = opened(written / "fp32", writer)
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 60, (3, 5))
    first: Batch = {"input_ids": ids, "attention_mask": np.array([[1] * 5, [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])}
    told = engine.run(first)
    found = made.run(first)
    real = first["attention_mask"].astype(bool)
    assert found[name][real] == pytest.approx(told[name][real], abs=1e-4)
    mask = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])
    second: Batch = {
        "input_ids": rng.integers(3, 60, (3, 3)), "attention_mask": mask, "past": told["present"],
        "past_mask": first["attention_mask"],
    }  # fmt: skip
    wanted, found = engine.run(second), made.run(second)
    assert found[name][mask.astype(bool)] == pytest.approx(wanted[name][mask.astype(bool)], abs=1e-4)


def test_it_writes_what_torch_writes(writer: Writer, written: Path) -> None:
    task, engine, _ = writer
    items = task.encode(["春", "明月何时照我还，千里", "the quick brown"], task.writer)
    made = opened(written / "fp32", writer)
    assert [a.value for a in task.predict(items, made)] == [a.value for a in task.predict(items, engine)]


def test_few_operators(writer: Writer, written: Path) -> None:
    nodes = library.load(written / "fp32" / "model.onnx").graph.node
    assert len(nodes) < 40 + 20 * SIZES["llama"]["num_hidden_layers"]


def test_fewer_bits_are_smaller_and_further_off(writer: Writer, written: Path) -> None:
    task, engine, _ = writer
    batch = task.collate(task.encode(["春风又绿江南岸"], task.writer))
    wanted = engine.run(batch)["logits"]
    scale = float(np.abs(wanted).max())
    gaps = [float(np.abs(opened(written / f, writer).run(batch)["logits"] - wanted).max()) for f in ("fp32", "8", "4")]
    assert gaps[0] < 1e-4
    assert gaps[0] < gaps[1] < 0.1 * scale
    assert gaps[1] < gaps[2]
    sizes = [(written / f / "model.onnx").stat().st_size for f in ("fp32", "8", "4")]
    assert sizes[0] > sizes[1] > sizes[2]


@BITS
def test_blocks_are_the_weights_to_half_a_step(writer: Writer, written: Path, bits: int) -> None:
    """Multiplied out by the format's own words, not by the code that wrote them."""
    before, after = (library.load(written / f / "model.onnx").graph for f in ("fp32", str(bits)))
    plain = {w.name: numpy_helper.to_array(w) for w in before.initializer}
    made = {w.name: numpy_helper.to_array(w) for w in after.initializer}
    products = [node for node in after.node if node.op_type == "MatMulNBits"]
    assert len(products) == 4 * 2 + 1
    own = [node for node in products if {a.name: a.i for a in node.attribute}["bits"] == bits]
    assert len(own) >= 8
    for node in own:
        name = node.input[1].removesuffix(".blocks")
        wanted = plain[name] if name == "model.embed_tokens.weight" else plain[name].T
        blocks, scales = made[node.input[1]].astype(np.float32), made[node.input[2]][..., None]
        zeros = np.float32(128)
        if bits == 4:
            raw = made[node.input[1]]
            blocks = np.stack([raw & 15, raw >> 4], -1).reshape(*raw.shape[:2], -1).astype(np.float32)
            pairs = made[node.input[3]].reshape(len(raw), -1)
            zeros = np.stack([pairs & 15, pairs >> 4], -1).reshape(len(raw), -1)[:, : raw.shape[1], None]
        found = ((blocks - zeros) * scales).reshape(len(wanted), -1)[:, : wanted.shape[1]]
        off = np.abs(found - wanted).max() / float(scales.max())
        assert off <= (0.5001 if bits == 8 else 1.0001)  # the place of 0 is rounded as well


def test_what_it_does_not_know_is_traced() -> None:
    config = {**SIZES["llama"], "vocab_size": 100}
    assert can_write(config)
    assert not can_write({**config, "attention_bias": True})
    assert not can_write({**SIZES["gpt"], "vocab_size": 100})
