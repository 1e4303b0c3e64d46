"""A network whose linear layers torchao holds in int8: made, stored as plain tensors, opened with the same numbers."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.contract import parse_contract
from luodi.core.machine import read_cpu
from luodi.core.types import Dataset
from luodi.errors import ConfigError, InputError
from luodi.models.engine import WEIGHTS, TorchEngine
from luodi.models.source import resolve
from luodi.predict import predict_file
from luodi.stages.compress.candidates import Made, make_all
from luodi.stages.compress.compress import TestSet, compress
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.workshop import Workshop
from luodi.stages.explain.config import ExplainSettings
from luodi.stages.explain.explain import explain
from luodi.stages.serve.config import ServeSettings
from poet import examples, write_llama
from serving import served

Data = Dataset[str, str]
NAME = "torchao-int8"
ALONE = CompressSettings(candidates=[NAME], threads=1, timed=6, rounds=2)
INPUTS = ["好吃 不错 第1次 hello", "难吃 太差 第2次 hello", "great 失望"]


def make(bundle: Path, folder: Path, training: Any, settings: CompressSettings = ALONE) -> Made:
    folder.mkdir()
    trained = open_bundle(bundle, threads=1)
    return make_all(
        Workshop(trained=trained, training=training, settings=settings, cpu=read_cpu(), folder=folder, threads=1)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, tiny_dataset: Data) -> Made:
    found = make(tiny_bundle, tmp_path_factory.mktemp("torchao") / "c", tiny_dataset.train)
    assert found.failed == {}
    return found


@pytest.fixture(scope="module")
def small(made: Made) -> Bundle[Any, Any]:
    return made.bundles[NAME]


def weights_of(bundle: Bundle[Any, Any]) -> Mapping[str, torch.Tensor]:
    return load_file(bundle.path / "weights" / WEIGHTS)


def run(bundle: Bundle[Any, Any], engine: Any = None) -> Mapping[str, np.ndarray[Any, Any]]:
    batch = bundle.task.collate(bundle.task.encode(INPUTS, bundle.processor))
    outputs: Mapping[str, np.ndarray[Any, Any]] = (engine or bundle.engine).run(batch)
    return outputs


def test_it_answers_as_the_trained_one_and_is_smaller(made: Made, small: Bundle[Any, Any]) -> None:
    assert made.parities[NAME].holds
    assert small.manifest.network["torchao"] == "int8"
    assert "torchao" in small.manifest.versions
    sizes = [(b.path / "weights" / WEIGHTS).stat().st_size for b in (small, made.bundles["trained"])]
    assert sizes[0] < 0.5 * sizes[1]


def test_its_file_holds_plain_tensors(small: Bundle[Any, Any]) -> None:
    assert [p.name for p in (small.path / "weights").iterdir()] == [WEIGHTS]
    engine: Any = small.engine
    kinds = {torch.nn.Linear: torch.int8, torch.nn.Embedding: torch.float16}
    weights = weights_of(small)
    found = {name: m for name, m in engine.model.named_modules() if type(m) in kinds}
    assert len(found) == 6 + 1 + 3  # of the layer, the head, tables
    for name, module in found.items():
        stored = weights[f"{name}.weight"]
        assert type(stored) is torch.Tensor
        assert stored.dtype == kinds[type(module)]


def test_opened_again_it_gives_the_numbers_of_the_library(made: Made, small: Bundle[Any, Any]) -> None:
    """To the bit, of the trained network with its tables rounded to 16 bits."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    engine: Any = made.bundles["trained"].engine
    network = copy.deepcopy(engine.model)
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding):
            module.half().float()
    quantize_(network, Int8WeightOnlyConfig(set_inductor_config=False))
    wanted, again = run(small, TorchEngine(network)), open_bundle(small.path, threads=1)
    for outputs in (run(small), run(again)):
        assert all(np.array_equal(wanted[name], array) for name, array in outputs.items())
    assert again.replay().worst == 0


def test_the_trained_network_stays_as_it_was(made: Made, tiny_bundle: Path) -> None:
    ours, fresh = (run(b)["logits"] for b in (made.bundles["trained"], open_bundle(tiny_bundle)))
    assert np.array_equal(ours, fresh)


def test_it_is_scored_and_timed_like_any_other(tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data) -> None:
    test = TestSet(examples=tiny_dataset.test, baselines={})
    contract = parse_contract({"accuracy": ">= 0.9"}, ["accuracy"])
    parent = open_bundle(tiny_bundle, threads=1)
    told = compress(
        parent, tiny_dataset.train, tiny_dataset.validation, lambda: test, contract, ALONE, tmp_path / "c"
    ).details
    (row,) = (row for row in told["candidates"] if row["name"] == NAME)
    assert row["agreement"] >= 0.95
    assert row["p50_ms"] > 0
    assert row["size_mb"] < told["reference"]["size_mb"]
    assert row["refused"] is None or "slower" in row["refused"]


def test_it_is_served_and_reads_files(small: Bundle[Any, Any], tmp_path: Path) -> None:
    wanted = [p.value for p in small.predict(INPUTS)]
    with served(small.path, ServeSettings()) as running:
        assert [row["value"] for row in running.ask(*INPUTS).json()["outputs"]] == wanted
    (tmp_path / "in.csv").write_text("\n".join(["text", *INPUTS]), encoding="utf-8")
    report = predict_file(small, tmp_path / "in.csv", tmp_path / "out.csv")
    assert report.numbers["answered"].value == len(INPUTS)


def test_a_head_that_shares_its_weights_gets_its_own(tmp_path: Path) -> None:
    write_llama(tmp_path / "bundle")
    found = make(tmp_path / "bundle", tmp_path / "c", examples())
    assert found.failed == {}
    weights = weights_of(found.bundles[NAME])
    assert weights["decoder.lm_head.weight"].dtype == torch.int8
    assert weights["decoder.model.embed_tokens.weight"].dtype == torch.float16
    ids = np.array([[5, 9, 40, 100, 7]])
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    wanted, ours = (found.bundles[n].engine.run(batch)["logits"] for n in ("trained", NAME))
    assert np.abs(wanted - ours).max() < 0.01 * np.abs(wanted).max()


def test_where_the_package_is_missing_it_is_said(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchao" else look(name))
    found = make(tiny_bundle, tmp_path / "c", tiny_dataset.train)
    assert "torchao is not installed" in found.not_tried[NAME]


def test_nothing_is_made_of_it_and_it_learns_no_more(small: Bundle[Any, Any], tmp_path: Path) -> None:
    found = make(small.path, tmp_path / "c", [], CompressSettings(threads=1))
    assert set(found.bundles) == {"trained"}
    assert found.failed == {}
    with pytest.raises(ConfigError, match="could go on learning"):
        resolve(str(small.path), "auto").encoder()


def test_it_is_explained_without_gradients(small: Bundle[Any, Any]) -> None:
    text = "好吃 太差 great 不错 喜欢"
    assert explain(small, text, ExplainSettings(method="occlusion")).shuffled is None
    with pytest.raises(InputError, match="no gradients"):
        explain(small, text, ExplainSettings(method="gradient"))


def test_it_is_opened_in_silence(small: Bundle[Any, Any]) -> None:
    """The library tells, while it is imported, of kernels for other machines that it cannot load."""
    code = "import sys, pathlib; from luodi.core.bundle import open_bundle; open_bundle(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(small.path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
