"""ONNX Runtime and OpenVINO against torch: the same network, at nine shapes and at the edges."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import luodi
from luodi.backends import nncf, onnx, openvino
from luodi.core.bundle import Bundle, open_bundle
from luodi.core.task import Engine, load_task
from luodi.core.types import Array, Batch
from luodi.errors import ParityError
from luodi.models.engine import TorchEngine
from luodi.models.tracing import output_names, trace
from luodi.models.wide import WideAndDeep
from luodi.stages.compress.gate import check_shapes

BUCKETS = 300
SHAPES = [(b, t) for b in (1, 3, 8) for t in (1, 17, 64)]
ENGINES = {"onnx": onnx, "openvino": openvino}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle[str, str]:
    """With character n-grams beside the network, so that there is an input that is not as long as the others."""
    opened = open_bundle(tiny_bundle, threads=1)
    task = load_task("text_classification", replace(opened.task.schema, ngrams=BUCKETS))
    torch.manual_seed(0)
    model = WideAndDeep(opened.engine.model, BUCKETS, 2)  # type: ignore[attr-defined]
    with torch.no_grad():
        # A weight beside a count, as trained: one scale for such a row would spoil the weights.
        model.wide.weight.copy_(torch.rand(BUCKETS, 3) * torch.tensor([0.1, 0.1, 60.0]))
        model.wide.weight[0] = 0
    return replace(opened, task=task, engine=TorchEngine(model.eval()))


@pytest.fixture(scope="module")
def exported(bundle: Bundle[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """weights folders: onnx, onnx-int8, openvino, openvino-w8."""
    folder = tmp_path_factory.mktemp("exported")
    batch = some(bundle, 4, 9)
    program = trace(bundle.engine, batch, some(bundle, 5, 10))  # type: ignore[arg-type]
    names = output_names(bundle.engine, batch)  # type: ignore[arg-type]
    onnx.export(program, names, folder / "onnx")
    onnx.quantize_dynamic(folder / "onnx", folder / "onnx-int8", reduce_range=False)
    openvino.convert(program, names, folder / "openvino")
    nncf.compress_weights(folder / "openvino", folder / "openvino-w8")
    return folder


def some(bundle: Bundle[str, str], count: int, length: int, *, masked: bool = False) -> Batch:
    ids = np.random.default_rng(count * 100 + length).integers(4, 50, (count, length))
    mask = np.ones_like(ids)
    if masked:
        mask[0, max(1, length // 2) :] = 0
    grams = np.random.default_rng(length).integers(1, BUCKETS, (count, 2 * length + 1))
    grams[0, length + 1 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "ngrams": grams}


def opened(exported: Path, name: str, bundle: Bundle[str, str]) -> Engine:
    module = ENGINES[name.partition("-")[0]]
    engine: Engine = module.open_engine(exported / name, bundle.task, {}, 1)  # type: ignore[attr-defined]
    return engine


def worst(a: Engine, b: Engine, batch: Batch) -> float:
    return float(np.abs(a.run(batch)["logits"] - b.run(batch)["logits"]).max())


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("masked", [False, True])
def test_parity_at_nine_shapes(bundle: Bundle[str, str], exported: Path, name: str, masked: bool) -> None:
    engine = opened(exported, name, bundle)
    for shape in SHAPES:
        assert worst(engine, bundle.engine, some(bundle, *shape, masked=masked)) <= 1e-4, shape


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-w8"])
def test_int8_is_near_and_smaller(bundle: Bundle[str, str], exported: Path, name: str) -> None:
    items = bundle.task.encode([p.input for p in bundle.golden], bundle.processor)
    answers = bundle.task.predict(items, opened(exported, name, bundle))
    expected = bundle.task.predict(items, bundle.engine)
    gaps = [abs(a.scores["好评"] - e.scores["好评"]) for a, e in zip(answers, expected, strict=True)]
    assert max(gaps) < 0.03
    assert size(exported / name) < 0.8 * size(exported / name.partition("-")[0])


@pytest.mark.parametrize("name", ["onnx", "onnx-int8", "openvino", "openvino-w8"])
def test_nothing_is_told_of_the_machine_that_exported(exported: Path, name: str) -> None:
    """torch notes on each node from which line of which file it came."""
    places = [str(Path(luodi.__file__).parent), str(Path(torch.__file__).parent), str(Path.home())]
    for file in (exported / name).iterdir():
        found = [place for place in (*places, "stack_trace") if place.encode() in file.read_bytes()]
        assert not found, file.name


def size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir())


@pytest.mark.parametrize("name", ENGINES)
def test_what_the_graph_does_not_read_is_left(bundle: Bundle[str, str], exported: Path, name: str) -> None:
    batch = some(bundle, 2, 5)
    engine = opened(exported, name, bundle)
    told = engine.run({**batch, "labels": np.array([0, 1])})
    assert list(told) == ["logits"]
    assert np.array_equal(told["logits"], engine.run(batch)["logits"])


@pytest.mark.parametrize("name", ENGINES)
def test_answers_do_not_change_hands_between_threads(bundle: Bundle[str, str], exported: Path, name: str) -> None:
    engine = opened(exported, name, bundle)
    batches = [some(bundle, 2, length) for length in (3, 9, 21, 40)]
    expected = [engine.run(b)["logits"] for b in batches]
    found: dict[int, list[Array]] = {}

    def work(place: int) -> None:
        found[place] = [engine.run(batches[place])["logits"] for _ in range(15)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, logits in found.items():
        assert all(np.allclose(one, expected[place], atol=1e-6) for one in logits)


@pytest.mark.parametrize("name", ENGINES)
def test_outputs_are_shifted(bundle: Bundle[str, str], exported: Path, name: str, tmp_path: Path) -> None:
    shutil.copytree(exported / name, tmp_path / name)
    ENGINES[name].shift_outputs(tmp_path / name, {"logits": np.array([0.5, -2.0])})  # type: ignore[attr-defined]
    batch = some(bundle, 3, 9)
    gap = opened(tmp_path, name, bundle).run(batch)["logits"] - opened(exported, name, bundle).run(batch)["logits"]
    assert np.allclose(gap, [0.5, -2.0], atol=1e-5)
    assert len(list((tmp_path / name).iterdir())) == len(list((exported / name).iterdir()))


def test_an_answer_outlives_the_next_call(bundle: Bundle[str, str], exported: Path) -> None:
    engine = opened(exported, "openvino", bundle)
    first = engine.run(some(bundle, 2, 9))["logits"]
    kept = first.copy()
    engine.run(some(bundle, 2, 10))
    assert np.array_equal(first, kept)


def test_a_wrong_export_is_refused(bundle: Bundle[str, str], exported: Path) -> None:
    items = bundle.task.encode(["好吃", "太差 失望 terrible"], bundle.processor)
    check_shapes(bundle.engine, opened(exported, "onnx", bundle), bundle.task, items)
    with pytest.raises(ParityError, match="1 x 1"):
        check_shapes(bundle.engine, opened(exported, "openvino-w8", bundle), bundle.task, items)


def test_a_batch_of_one_is_not_traced(bundle: Bundle[str, str]) -> None:
    with pytest.raises(ValueError, match="constant"):
        trace(bundle.engine, some(bundle, 1, 9), some(bundle, 2, 10))  # type: ignore[arg-type]


def test_openvino_leaves_no_trace_in_the_home_folder_and_says_nothing(tmp_path: Path) -> None:
    code = (
        "from luodi.backends import openvino, nncf; openvino.load(); nncf._load();"
        "import sys; assert sys.modules['openvino_telemetry'] is None"
    )
    home = {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **home}
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []
