"""Networks that write, in blocks of 8 and 4 bits: made for them alone, and judged like any candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.machine import read_cpu
from luodi.stages.compress.candidates import make_all
from luodi.stages.compress.config import CompressSettings, asked
from luodi.stages.compress.workshop import Workshop
from poet import examples, write_llama

BLOCKS = ["onnx-w8", "onnx-w4"]


def workshop(bundle: Bundle[Any, Any], folder: Path, training: Any) -> Workshop:
    settings = CompressSettings(threads=1, candidates=BLOCKS, calibration=4)
    folder.mkdir()
    return Workshop(trained=bundle, training=training, settings=settings, cpu=read_cpu(), folder=folder, threads=1)


def test_a_network_that_writes_becomes_blocks(tmp_path: Path) -> None:
    write_llama(tmp_path / "bundle")
    place = workshop(open_bundle(tmp_path / "bundle"), tmp_path / "c", examples())
    made = make_all(place)
    assert made.failed == {}
    assert set(made.bundles) == {"trained", "onnx", *BLOCKS}
    assert place.traced == {}  # written, not traced
    assert made.parities["onnx"].holds
    ids = np.array([[5, 9, 40, 100, 7]])
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    wanted = place.trained.engine.run(batch)["logits"]
    gaps = [float(np.abs(made.bundles[n].engine.run(batch)["logits"] - wanted).max()) for n in ("onnx", *BLOCKS)]
    assert gaps[0] < gaps[1] < gaps[2]
    sizes = [made.bundles[name].size_bytes for name in ("onnx", *BLOCKS)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_one_that_answers_in_one_pass_does_not(tmp_path: Path, tiny_bundle: Path, tiny_dataset: Any) -> None:
    made = make_all(workshop(open_bundle(tiny_bundle), tmp_path / "c", tiny_dataset.train))
    assert set(BLOCKS) <= set(made.not_tried)
    assert "networks that write" in made.not_tried["onnx-w8"]


def test_they_belong_to_their_format() -> None:
    (told,) = asked("onnx", "")
    assert all(name in told for name in BLOCKS)
