"""The baseline is as strong as it is known to be: a weak one would let any model pass."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from luodi.backends.sklearn import fit_tfidf

TEXTS = ["好吃 不错", "难吃 太差", "great food", "terrible food", "很满意", "退货 失望"] * 10
LABELS = ["good", "bad"] * 30


def test_answers_carry_probabilities() -> None:
    answers = fit_tfidf(TEXTS, LABELS, seed=0)(["不错 很满意", "太差 退货"])
    assert [a.value for a in answers] == ["good", "bad"]
    for answer in answers:
        assert sum(answer.scores.values()) == pytest.approx(1)
        assert answer.confidence == max(answer.scores.values()) == answer.scores[answer.value]


def test_many_classes() -> None:
    texts = [f"{'甲乙丙丁戊己庚辛'[i % 8] * 3} {i}" for i in range(160)]
    labels = [f"类{i % 8}" for i in range(160)]
    answers = fit_tfidf(texts, labels, seed=0)([f"{c * 3} 999" for c in "甲乙丙丁戊己庚辛"])
    assert [a.value for a in answers] == [f"类{i}" for i in range(8)]
    assert set(answers[0].scores) == set(labels)


def test_the_same_rows_give_the_same_model() -> None:
    first, again = (fit_tfidf(TEXTS, LABELS, seed=3)(["不错 退货"])[0] for _ in range(2))
    assert first == again


@pytest.mark.parametrize("texts", [["a", "b", "c"], ["", " ", "\n"]])
def test_nothing_to_tell_apart_is_a_constant(texts: list[str]) -> None:
    labels = ["x"] * 3 if texts[0] else ["x", "y", "y"]
    answers = fit_tfidf(texts, labels, seed=0)(["d", ""])
    assert [a.value for a in answers] == ["x" if texts[0] else "y"] * 2


def test_strange_questions_are_answered() -> None:
    predict = fit_tfidf(TEXTS, LABELS, seed=0)
    assert predict([]) == []
    assert {a.value for a in predict(["", "🙂", "ألف", "x" * 10_000])} <= {"good", "bad"}


@pytest.mark.long
def test_known_score_on_chnsenticorp(data: Path) -> None:
    def read(split: str) -> tuple[list[str], list[str]]:
        with (data / "sentiment" / f"chnsenticorp_{split}.tsv").open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [r["text_a"] for r in rows], [r["label"] for r in rows]

    texts, labels = read("test")
    answers = fit_tfidf(*read("train"), seed=0)(texts)
    assert np.mean([a.value == label for a, label in zip(answers, labels, strict=True)]) >= 0.925
