"""The stages behind training, on a Bundle that finds entities: nothing in them knows of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.contract import parse_contract
from luodi.core.types import Dataset, Prediction
from luodi.modalities.spans import Span
from luodi.predict import predict_file
from luodi.stages.compress.compress import Compressed, TestSet, compress
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.gate import agreement
from luodi.stages.compress.recipes import STEPS
from luodi.stages.evaluate.config import EvaluateSettings
from luodi.stages.evaluate.evaluate import evaluate
from luodi.stages.evaluate.mistakes import ERRORS
from luodi.stages.serve.config import ServeSettings
from serving import served
from tiny import make_entities, train_bundle

QUICK = CompressSettings(timed=4, rounds=1, calibration=10, threads=1, min_agreement=0.8, max_loss=0.1)
CONTRACT = parse_contract({"entity_f1": ">= 0.8", "size_mb": "<= 50"}, ["entity_f1"])


@pytest.fixture(scope="module")
def entities() -> Dataset[str, Any]:
    return make_entities()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, entities: Dataset[str, Any]) -> Bundle[str, Any]:
    folder = tmp_path_factory.mktemp("entities") / "bundle"
    train_bundle(folder, "token_classification", entities, rounds=6)
    return open_bundle(folder, threads=1)


@pytest.fixture(scope="module")
def compressed(
    tmp_path_factory: pytest.TempPathFactory, bundle: Bundle[str, Any], entities: Dataset[str, Any]
) -> tuple[Path, Compressed]:
    folder = tmp_path_factory.mktemp("compressed")
    test = TestSet(examples=entities.test, baselines={})
    settings = replace(QUICK, candidates=["onnx-int8", "openvino-int8"])
    return folder, compress(bundle, entities.train, entities.validation, lambda: test, CONTRACT, settings, folder)


def test_candidates_are_made_and_judged(compressed: tuple[Path, Compressed]) -> None:
    _, result = compressed
    told = result.details
    assert told["failed"] == []
    made = {row["name"]: row for row in told["candidates"]}
    left_out = {row["name"] for row in told["not_tried"]}
    assert set(made) | left_out == {step.name for step in STEPS}
    assert {"onnx", "onnx-int8", "openvino", "openvino-int8"} <= set(made)
    assert not made["onnx"]["refused"]
    assert all(row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"] for row in made.values())


def test_the_chosen_one_answers_with_the_same_entities(
    compressed: tuple[Path, Compressed], bundle: Bundle[str, Any], entities: Dataset[str, Any]
) -> None:
    folder, _ = compressed
    made = open_bundle(folder / "bundle", threads=1)
    inputs = [e.input for e in entities.test]
    pairs = list(zip(made.predict(inputs), bundle.predict(inputs), strict=True))
    assert sum(a.value == b.value for a, b in pairs) >= 0.8 * len(pairs)


def test_agreement_counts_entities_not_texts(bundle: Bundle[str, Any]) -> None:
    ten = tuple(Span(i, i + 1, "PER") for i in range(10))
    nine = (*ten[:9], Span(9, 11, "PER"))
    whole, other, none = Prediction(value=ten), Prediction(value=nine), Prediction(value=())
    assert agreement(bundle.task, [whole, none], [whole, none]) == 1.0
    assert agreement(bundle.task, [other], [whole]) == pytest.approx(0.9)
    assert agreement(bundle.task, [none], [whole]) == 0.0
    assert agreement(bundle.task, [none], [none]) == 1.0


def test_mistakes_are_words_and_types_have_a_table(
    bundle: Bundle[str, Any], entities: Dataset[str, Any], tmp_path: Path
) -> None:
    turned = tuple(replace(e, target=e.target[:1]) for e in entities.test)
    found = evaluate(bundle, replace(entities, test=turned), CONTRACT, EvaluateSettings(), tmp_path)
    rows = {row["label"]: row for row in found.details["per_class"]}
    assert set(rows) == {"LOC", "PER"}
    assert sum(row["n"] for row in rows.values()) == len(turned)
    assert all(row["recall"] > 0.8 > row["precision"] for row in rows.values())
    assert not {"confusion", "calibration"} & set(found.details)
    with (tmp_path / ERRORS).open(encoding="utf-8-sig", newline="") as handle:
        mistakes = list(csv.DictReader(handle))
    assert len(mistakes) == found.details["wrong"] > 10
    assert all("{" not in row["target"] + row["answer"] and "]" in row["target"] for row in mistakes)
    assert {b["name"] for b in found.details["baselines"]} == {"dictionary", "windows"}


def test_answers_in_a_file_show_the_words(bundle: Bundle[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text\n第7天，经理李小四说，人在北京了\n", encoding="utf-8")
    predict_file(bundle, file, tmp_path / "b.jsonl")
    row = json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8"))
    assert {"start": 6, "end": 9, "label": "PER", "text": "李小四"} in row["answer"]
    predict_file(bundle, file, tmp_path / "b.csv")
    assert "李小四" in (tmp_path / "b.csv").read_text(encoding="utf-8-sig")


def test_the_service_says_where_in_the_very_text_that_was_sent(
    compressed: tuple[Path, Compressed], entities: Dataset[str, Any]
) -> None:
    folder, _ = compressed
    sent = ["\r\n  " + e.input for e in entities.test[:8]]
    with served(folder / "bundle", ServeSettings(threads=1)) as service:
        told = [output["value"] for output in service.ask(*sent).json()["outputs"]]
    assert sum(map(len, told)) > 4
    for text, spans in zip(sent, told, strict=True):
        assert all(text[s["start"] : s["end"]] == s["text"] for s in spans)
