"""`evaluate` on a real tiny Bundle: verdict, files, and what it says of models that are no good."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.contract import Contract, parse_contract
from luodi.core.report import Report, Verdict
from luodi.core.types import Batch, Dataset, Example
from luodi.errors import DataError
from luodi.modalities.label import LABEL_METRICS
from luodi.modalities.text import Text
from luodi.stages.evaluate.baselines import FILE, answer_simply, load_baselines
from luodi.stages.evaluate.config import EvaluateSettings
from luodi.stages.evaluate.evaluate import Scorecard, evaluate
from luodi.stages.evaluate.mistakes import ERRORS, PREDICTIONS
from luodi.tasks.text_classification import TextClassification

Data = Dataset[str, str]


@dataclass(frozen=True, slots=True)
class Stubborn:
    """An engine that gives every input the same two logits."""

    logits: tuple[float, float]

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"logits": np.tile(np.array(self.logits), (len(batch["input_ids"]), 1))}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle[str, str]:
    return open_bundle(tiny_bundle)


def contract(**accept: Any) -> Contract:
    return parse_contract(accept, [m.name for m in LABEL_METRICS])


def judge(bundle: Bundle[str, str], data: Data, folder: Path, limits: Contract, openings: int = 1) -> Scorecard:
    return evaluate(bundle, data, limits, EvaluateSettings(errors=20), folder, openings)


def with_noise(data: Data, every: int) -> Data:
    """Each `every`-th answer turned round in train and test: a score below 1 with known mistakes."""
    other = {"好评": "差评", "差评": "好评"}

    def turn(examples: tuple[Example[str, str], ...]) -> tuple[Example[str, str], ...]:
        return tuple(replace(e, target=other[e.target]) if i % every == 0 else e for i, e in enumerate(examples))

    return replace(data, train=turn(data.train), test=turn(data.test))


def test_a_good_model_is_accepted(bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path) -> None:
    found = judge(bundle, tiny_dataset, tmp_path, contract(accuracy=">= 0.9", p95_ms="<= 30"))
    assert found.verdict is Verdict.ACCEPTED
    assert found.numbers["accuracy"].n == 50
    assert {m.name for m in LABEL_METRICS} <= set(found.numbers)
    assert {"baseline.tfidf", "baseline.majority", "beats_baseline.tfidf"} <= set(found.numbers)
    assert any("open until compress" in line for line in found.findings)
    confusion = np.array(found.details["confusion"])
    assert confusion.sum() == 50
    assert confusion.trace() / 50 == pytest.approx(found.numbers["accuracy"].value)


def test_what_is_no_better_than_tfidf_is_refused(bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path) -> None:
    found = judge(bundle, tiny_dataset, tmp_path, contract(accuracy=">= 0.9", beats_baseline=True))
    assert found.verdict is Verdict.REFUSED
    assert any(line.startswith("Does not beat tfidf") for line in found.findings)
    assert any(line.startswith("Beats majority") for line in found.findings)


def test_a_constant_is_called_one(bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path) -> None:
    constant = replace(bundle, engine=Stubborn((3.0, 0.0)))
    found = judge(constant, tiny_dataset, tmp_path, contract(beats_baseline=True))
    assert found.verdict is Verdict.REFUSED
    label = bundle.task.schema.labels[0]
    assert f"The model always answers {label}: it has learned nothing from the input." in found.findings


def test_files_hold_every_answer_and_every_mistake(
    bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path
) -> None:
    data = with_noise(tiny_dataset, 5)
    data = replace(data, test=(replace(data.test[0], input="=1+1 难吃"), *data.test[1:]))
    found = judge(bundle, data, tmp_path, contract())
    lines = [json.loads(line) for line in (tmp_path / PREDICTIONS).read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [e.id for e in data.test]
    wrong = [line for line in lines if line["target"] != line["answer"]]
    assert (tmp_path / ERRORS).read_bytes().startswith(b"\xef\xbb\xbf")
    with (tmp_path / ERRORS).open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["id"] for row in rows} == {line["id"] for line in wrong}
    assert len(rows) == found.details["wrong"] >= 9
    sure = [float(row["confidence"]) for row in rows]
    assert sure == sorted(sure, reverse=True)
    assert not [row for row in rows if row["input"].startswith("=")]
    assert len(found.details["errors"]) == min(20, len(rows))


def test_baselines_are_fitted_once_and_kept(tiny_dataset: Data, tmp_path: Path) -> None:
    task = TextClassification()
    first = answer_simply(task, tiny_dataset, tmp_path, seed=0)
    assert {name: len(a) for name, a in first["test"].items()} == {"majority": 50, "tfidf": 50}
    told = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    told["test"]["tfidf"][0]["value"] = "kept"
    (tmp_path / FILE).write_text(json.dumps(told), encoding="utf-8")
    assert answer_simply(task, tiny_dataset, tmp_path, seed=0)["test"]["tfidf"][0].value == "kept"
    assert load_baselines(task, tmp_path, "validation") == first["validation"]


def test_answers_that_are_no_labels_have_no_confusion(
    bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path
) -> None:
    class FreeText(TextClassification):
        output = Text()  # type: ignore[assignment]

    free: Bundle[str, str] = replace(bundle, task=FreeText(bundle.task.schema))
    found = judge(free, with_noise(tiny_dataset, 5), tmp_path, contract(accuracy=">= 0.5"))
    assert not {"confusion", "per_class", "calibration"} & set(found.details)
    assert found.verdict is Verdict.ACCEPTED
    assert found.details["errors"]
    assert found.details["slices"]


def test_the_openings_are_told(bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path) -> None:
    once = judge(bundle, tiny_dataset, tmp_path, contract())
    often = judge(bundle, tiny_dataset, tmp_path, contract(), openings=4)
    assert not [line for line in once.findings if "opened" in line]
    assert [line for line in often.findings if "opened 4 times" in line]
    assert often.verdict is Verdict.DONE


def test_an_empty_test_set_is_an_error(bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty") as caught:
        judge(bundle, replace(tiny_dataset, test=()), tmp_path, contract())
    assert caught.value.code == "data.empty_test"


def test_details_go_through_json(
    bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path, both_languages: str
) -> None:
    found = judge(bundle, with_noise(tiny_dataset, 4), tmp_path, contract(accuracy=">= 0.99"))
    report = Report(
        verb="evaluate", verdict=found.verdict, numbers=found.numbers, findings=found.findings,
        contract=found.contract, details=found.details,
    )  # fmt: skip
    told = json.loads(report.to_json())
    assert told["details"]["metric"] == "accuracy"
    assert told["details"]["per_class"][0]["n"] > 0
    assert ("没有" in "".join(told["findings"])) == (both_languages == "zh")
