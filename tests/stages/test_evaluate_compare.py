"""`luodi evaluate A B`: which of two is better, where, and rows that one of them has seen."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.measure import mcnemar
from luodi.core.types import Batch, Dataset, Example
from luodi.errors import InputError
from luodi.stages.evaluate.compare import DIFFERENCES, compare, require_same_question, rows_not_seen
from luodi.stages.prepare.config import PrepareSettings
from luodi.steps import met_before
from luodi.tasks.text_classification import TextClassification

Data = Dataset[str, str]
NAMES = ("one", "two")


@dataclass(frozen=True, slots=True)
class Forgetful:
    """Another engine that is wrong about long inputs."""

    engine: Any
    longest: int

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        logits = self.engine.run(batch)["logits"].copy()
        is_long = batch["attention_mask"].sum(1) > self.longest
        logits[is_long] = logits[is_long][:, ::-1]
        return {"logits": logits}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle[str, str]:
    return open_bundle(tiny_bundle)


def test_the_better_one_is_named_with_a_paired_test(
    bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path, both_languages: str
) -> None:
    rows = tiny_dataset.test
    lengths = [len(i["input_ids"]) for i in bundle.task.encode([e.input for e in rows], bundle.processor)]
    worse = replace(bundle, engine=Forgetful(bundle.engine, int(np.median(lengths))))
    made = compare(bundle, worse, rows, ["accuracy"], tmp_path, NAMES)
    told = [[p.value == e.target for p, e in zip(b.predict([e.input for e in rows]), rows, strict=True)]
            for b in (bundle, worse)]  # fmt: skip
    assert made.details["p"] == pytest.approx(mcnemar(*told))
    assert made.details["counts"] == {
        "both": sum(a and b for a, b in zip(*told, strict=True)),
        "first": sum(a and not b for a, b in zip(*told, strict=True)),
        "second": sum(b and not a for a, b in zip(*told, strict=True)),
        "none": sum(not a and not b for a, b in zip(*told, strict=True)),
    }
    assert made.numbers["difference"].low > 0
    assert made.numbers["first.accuracy"].value - made.numbers["second.accuracy"].value == pytest.approx(
        made.numbers["difference"].value
    )
    assert made.findings[0].startswith({"en": "Beats two (", "zh": "比 two（"}[both_languages])
    with (tmp_path / DIFFERENCES).open(encoding="utf-8-sig", newline="") as handle:
        listed = list(csv.DictReader(handle))
    assert len(listed) == made.details["differ"] == sum(a != b for a, b in zip(*told, strict=True))
    assert {row["right"] for row in listed} <= {"first", "second"}


def test_a_model_is_as_good_as_itself(bundle: Bundle[str, str], tiny_dataset: Data, tmp_path: Path) -> None:
    made = compare(bundle, bundle, tiny_dataset.test, [], tmp_path, NAMES)
    assert made.details["p"] == 1.0
    assert made.details["differ"] == 0
    assert all(part["p"] == 1.0 for part in made.details["parts"])
    assert made.findings[1].startswith("On these 50 rows nothing shows")


def test_rows_that_the_other_has_seen_are_left_out(tiny_dataset: Data) -> None:
    test = list(tiny_dataset.test)
    kept, told = rows_not_seen(test, [True] * 20 + [False] * 30, "two")
    assert kept == test[20:]
    assert told == ["20 test rows, or near copies of them, stand in what two learned from, and were left out."]
    assert rows_not_seen(test, [False] * 50, "two") == (test, [])
    assert rows_not_seen(test, None, "two")[1][0].startswith("It is not known what two learned from")
    with pytest.raises(InputError) as caught:
        rows_not_seen(test, [True] * 50, "two")
    assert caught.value.code == "evaluate.seen"


def test_two_questions_are_not_compared(bundle: Bundle[str, str]) -> None:
    other = replace(bundle, manifest=replace(bundle.manifest, task="image_classification"))
    with pytest.raises(InputError) as caught:
        require_same_question(bundle.manifest, other.manifest)
    assert caught.value.code == "evaluate.task"
    labels = replace(bundle.manifest, schema=replace(bundle.manifest.schema, labels=("cats", "dogs")))
    with pytest.raises(InputError, match="cats, dogs"):
        require_same_question(bundle.manifest, labels)
    more = replace(bundle.manifest.schema, labels=(*bundle.manifest.schema.labels, "new"))
    require_same_question(bundle.manifest, replace(bundle.manifest, schema=more))


def test_a_near_copy_of_a_test_row_was_met_before() -> None:
    long = "the hotel was near the station and the breakfast was good but the room smelled of smoke all night"
    test = [Example(id=str(i), input=text, target="a") for i, text in enumerate((long, "quite another sentence"))]
    known = [Example(id="k", input=f"{long}!", target="a")]
    assert met_before(TextClassification(), test, known, PrepareSettings()) == [True, False]
    assert met_before(TextClassification(), test, known, PrepareSettings(near_duplicates=1.0)) == [False, False]
