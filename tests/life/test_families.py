"""A network of our own goes through the whole life like those of the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luodi.core.bundle import open_bundle
from luodi.core.report import Verdict, read_report
from luodi.core.task import load_task
from shop import PAGE, answer, luodi, write_reviews
from tiny import make_entities

SETTINGS = "compress:\n  candidates: [onnx]\n  rounds: 2\n"
ENTITIES = """\
goal: 谁在哪里
task: token_classification
data: entities.jsonl
input: text
target: entities
model: transformer:tiny
accept:
  entity_f1: ">= 0.8"
train:
  epochs: 12
  learning_rate: 0.002
  max_length: 48
prepare:
  near_duplicates: 1.0
"""


@pytest.mark.slow
def test_the_readable_transformer_lives(tmp_path: Path) -> None:
    (tmp_path / "luodi.yaml").write_text(PAGE.replace("bert:tiny", "transformer:tiny") + SETTINGS, encoding="utf-8")
    write_reviews(tmp_path / "reviews.csv", 300)
    done = luodi("run", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert answer(done)["verdict"] == "ACCEPTED"
    compressed = next((tmp_path / "runs").glob("compress-*"))
    told = read_report(compressed / "report.json")
    assert told.verdict is Verdict.ACCEPTED
    assert not told.details["failed"]
    assert "onnx" in {row["name"] for row in told.details["candidates"]}
    trained = open_bundle(next((tmp_path / "runs").glob("train-*")) / "bundle")
    assert trained.manifest.network["config"]["model_type"] == "transformer"
    texts = ["好吃，推荐，满意", "难吃，失望，退货"]
    assert [a.value for a in trained.predict(texts)] == ["好评", "差评"]
    (tmp_path / "new.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    done = luodi("predict", str(tmp_path), str(tmp_path / "new.jsonl"), "--out", str(tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 2
    assert "好评" in json.dumps(answers[0], ensure_ascii=False)
    assert "差评" in json.dumps(answers[1], ensure_ascii=False)


def test_it_finds_entities(tmp_path: Path) -> None:
    task, data = load_task("token_classification"), make_entities()
    rows = [
        {"text": e.input, "entities": task.output.encode(e.target)}
        for e in (*data.train, *data.validation, *data.test)
    ]  # fmt: skip
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "entities.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "luodi.yaml").write_text(ENTITIES, encoding="utf-8")
    done = luodi("evaluate", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert answer(done)["verdict"] == "ACCEPTED"
