"""Tables that were of 4 bits before are so again, in both engines, and others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx as library
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from luodi.backends import four_bits, nncf, onnx, openvino
from luodi.core.batching import pad
from luodi.core.task import load_task
from luodi.core.types import Array, Batch
from luodi.models.engine import TorchEngine
from luodi.models.tracing import trace

ROWS, WIDTH = 400, 64
TASK = load_task("text_classification")


def multiplied_out(seed: int = 0) -> Array:
    """Blocks of 4 bits with scales in float16, as weights come in packages: rounded to float16 once more."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-8, 8, (ROWS, WIDTH // 32, 32))
    steps[5] = 0
    steps[6] = np.minimum(np.abs(steps[6]), 3)
    steps[7, 0] = 0
    steps[7, 0, 3] = -8
    scales = rng.uniform(1e-4, 0.1, (ROWS, WIDTH // 32, 1)).astype(np.float16)
    scales *= rng.choice([-1, 1], scales.shape).astype(np.float16)  # the largest weight is -8 of them, on either side
    return (steps * scales.astype(np.float32)).astype(np.float16).astype(np.float32).reshape(ROWS, WIDTH)


class Mean(nn.Module):
    """Of the rows of a table, and a linear layer."""

    def __init__(self, table: Array) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding.from_pretrained(torch.from_numpy(table))
        self.head = nn.Linear(WIDTH, 48)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        rows = self.table(input_ids) * attention_mask[..., None]
        return {"logits": self.head(rows.sum(1))}


def batch(count: int, length: int) -> Batch:
    ids = np.random.default_rng(length).integers(0, ROWS, (count, length))
    return {"input_ids": ids, "attention_mask": pad([np.ones(length - i % 2, np.int64) for i in range(count)])}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TorchEngine]:
    folder = tmp_path_factory.mktemp("four")
    engine = TorchEngine(Mean(multiplied_out()).eval())
    program = trace(engine, batch(2, 5), batch(3, 6))
    onnx.export(program, ["logits"], folder / "onnx")
    openvino.convert(program, ["logits"], folder / "openvino")
    return folder, engine


def test_what_was_of_four_bits_is_found_again() -> None:
    table = multiplied_out()
    told = four_bits.packed(table)
    assert told is not None
    steps, scales = told
    assert (steps.min(), steps.max()) == (-8, 7)
    again = (steps * scales[..., None].astype(np.float32)).reshape(ROWS, WIDTH)
    assert np.abs(again - table).max() <= four_bits.NEAR * np.abs(table).max()


def test_what_has_learned_since_is_not() -> None:
    table = multiplied_out()
    assert four_bits.packed(np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)) is None
    assert four_bits.packed(table[:, :40]) is None
    table[17, 3] += 0.01 * np.abs(table[17]).max()
    assert four_bits.packed(table) is None


def test_onnx_holds_it(exported: tuple[Path, TorchEngine], tmp_path: Path) -> None:
    folder, engine = exported
    onnx.quantize_dynamic(folder / "onnx", tmp_path / "made", reduce_range=True)
    made = onnx.open_engine(tmp_path / "made", TASK, {}, 1)
    for shape in ((1, 1), (3, 17)):
        wanted = engine.run(batch(*shape))["logits"]
        # The linear layer is int8.
        assert made.run(batch(*shape))["logits"] == pytest.approx(wanted, abs=0.03 * float(np.abs(wanted).max()))
    kept = library.load(tmp_path / "made" / "model.onnx").graph.initializer
    assert not any(list(w.dims) == [ROWS, WIDTH] for w in kept)
    pairs, scales = (
        next(numpy_helper.to_array(w) for w in kept if w.name.endswith(end)) for end in (".int4", ".weight.scale")
    )
    steps = np.stack([pairs & 15, pairs >> 4], -1).reshape(ROWS, -1, 32).astype(np.float32) - 8
    again = (steps * scales[..., None].astype(np.float32)).reshape(ROWS, WIDTH)
    assert again == pytest.approx(multiplied_out(), abs=1e-3)


def test_a_table_alone_loses_nothing(exported: tuple[Path, TorchEngine], tmp_path: Path) -> None:
    """Read from the file again, since what is packed must not lean on memory that is gone."""
    folder, engine = exported
    model = openvino.read(folder / "openvino")
    tables = openvino.packable(model)
    assert len(tables) == 1
    openvino.save(openvino.pack(model, tables), tmp_path / "made")
    del model, tables
    made = openvino.open_engine(tmp_path / "made", TASK, {}, 1)
    for shape in ((1, 1), (3, 17), (8, 8)):
        wanted = engine.run(batch(*shape))["logits"]
        assert made.run(batch(*shape))["logits"] == pytest.approx(wanted, abs=1e-3 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("way", ["weights", "all"])
def test_openvino_holds_it(
    exported: tuple[Path, TorchEngine], tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the same int8 with its table in int8 too."""
    source = exported[0] / "openvino"

    def make(folder: Path) -> openvino.OpenVinoEngine:
        if way == "weights":
            nncf.compress_weights(source, folder)
        else:
            nncf.quantize(source, folder, [batch(3, n) for n in range(1, 20)])
        return openvino.open_engine(folder, TASK, {}, 1)

    packed = make(tmp_path / "packed")
    monkeypatch.setattr(openvino, "packable", lambda model: {})
    plain = make(tmp_path / "plain")
    for shape in ((1, 1), (3, 17)):
        wanted = plain.run(batch(*shape))["logits"]
        assert packed.run(batch(*shape))["logits"] == pytest.approx(wanted, abs=0.03 * float(np.abs(wanted).max()))
    constants = [op for op in openvino.read(tmp_path / "packed").get_ops() if op.get_type_name() == "Constant"]
    assert [op.get_output_element_type(0).get_type_name() for op in constants].count("i4") == 1
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("packed", "plain")]
    assert sizes[0] < sizes[1] - 0.4 * ROWS * WIDTH
