"""A network that int8 cannot hold: the candidate collapses, is refused with its reason, and the others go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from luodi.core.bundle import golden_pairs, open_bundle, seal_bundle
from luodi.core.contract import parse_contract
from luodi.core.types import Dataset, Prediction
from luodi.messages import Sentence, speaking
from luodi.models.engine import save_network, to_torch
from luodi.stages.compress.compress import TestSet, compress
from luodi.stages.compress.config import CompressSettings

HUGE = 1e6


def with_outliers(model: Any, batch: Any, loss: Any) -> None:
    """In every layer one activation of a million that nothing reads: in fp32 it changes no answer, and a scale of int8
    that must reach it rounds all others to 0. What the layers add is made to matter more than what passes them by."""
    import torch

    with torch.no_grad():
        for layer in model.encoder.encoder.layer:
            inner, outer = layer.intermediate.dense, layer.output.dense
            inner.weight[0], inner.bias[0], outer.weight[:, 0] = 0, HUGE, 0
            outer.weight *= 1e4
            outer.bias *= 1e4
    optimiser = torch.optim.Adam(model.head.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss(model(**{k: v for k, v in batch.items() if k != "labels"}), batch).backward()
        optimiser.step()


@pytest.fixture
def brittle(tiny_bundle: Path, tiny_dataset: Dataset[str, str], tmp_path: Path) -> Path:
    """The tiny model, which answers as well as before, and cannot be made int8."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "brittle"))
    opened = open_bundle(folder, threads=1)
    task, rows, held_back = opened.task, tiny_dataset.train, tiny_dataset.validation
    items = task.encode([e.input for e in rows], opened.processor, [e.target for e in rows])
    model = opened.engine.model  # type: ignore[attr-defined]
    with_outliers(model, to_torch(task.collate(items)), task.loss)  # type: ignore[attr-defined]
    inputs = [e.input for e in held_back]
    answers = opened.predict(inputs)
    assert sum(a.value == e.target for a, e in zip(answers, held_back, strict=True)) >= 48
    save_network(model, folder / "weights")
    seal_bundle(folder, opened.manifest, golden_pairs(task, inputs, answers))
    return folder


@pytest.mark.parametrize(
    "names", [("onnx", "onnx-int8"), pytest.param(("onnx", "onnx-int8", "openvino-int8"), marks=pytest.mark.long)]
)
def test_a_collapsed_candidate_is_refused_and_the_others_go_on(
    names: tuple[str, ...], brittle: Path, tiny_dataset: Dataset[str, str], tmp_path: Path
) -> None:
    parent = open_bundle(brittle, threads=1)
    settings = CompressSettings(timed=4, rounds=2, calibration=10, threads=1, candidates=list(names))
    majority = {"majority": [Prediction(value="好评")] * len(tiny_dataset.test)}
    made = compress(
        parent, tiny_dataset.train, tiny_dataset.validation,
        lambda: TestSet(examples=tiny_dataset.test, baselines=majority),
        parse_contract({"accuracy": ">= 0.9"}, ["accuracy"]), settings, tmp_path / "out",
    )  # fmt: skip
    print(*made.findings, sep="\n")
    assert made.chosen == "onnx"
    assert made.numbers["accuracy"].value >= 0.9
    rows = {row["name"]: row for row in made.details["candidates"]}
    for name in names[1:]:
        assert rows[name]["score"]["value"] < 0.7
        line = next(told for told in made.findings if told.startswith(name))
        assert "0.010" in line
        assert "It loses 0." in line
        assert isinstance(line, Sentence)
        with speaking("zh"):
            assert "不予采用" in Sentence.of(line.key, line.values)
