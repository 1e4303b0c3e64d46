"""Sentences follow from numbers: known numbers, known sentences."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from luodi.core.contract import parse_contract
from luodi.core.measure import Measure
from luodi.modalities.label import ACCURACY
from luodi.stages.evaluate.advice import error_law, give
from luodi.stages.evaluate.findings import Beaten, find, rows_needed

SCORE = Measure(value=0.88, low=0.86, high=0.90, n=1000)
NOTHING: dict[str, Any] = {"openings": 1, "curve": [], "errors": []}


def beaten(value: float, half: float) -> Beaten:
    gap = Measure(value=value, low=value - half, high=value + half, n=1000)
    return Beaten(name="tfidf", score=SCORE, gap=gap, p=0.2)


def advice(accept: str = ">= 0.5", **details: Any) -> list[str]:
    contract = parse_contract({"accuracy": accept}, ["accuracy"])
    numbers = {"accuracy": SCORE}
    judgements = contract.judge("evaluate", numbers)
    return give(ACCURACY, numbers, contract, judgements, [], {**NOTHING, **details})


@pytest.mark.parametrize(
    ("gap", "half", "said"),
    [
        (0.03, 0.01, ["Beats tfidf (0.880) by 3.0 points [+2.0, +4.0], p = 0.20."]),
        (-0.03, 0.01, ["Does not beat tfidf (0.880): -3.0 points [-4.0, -2.0], p = 0.20."]),
    ],
)
def test_clear_cases_are_one_sentence(gap: float, half: float, said: list[str]) -> None:
    assert find(ACCURACY, {"accuracy": SCORE}, [beaten(gap, half)], NOTHING) == said


def test_too_few_rows_are_counted() -> None:
    told = find(ACCURACY, {"accuracy": SCORE}, [beaten(0.01, 0.02)], NOTHING)
    assert "too few" in told[1]
    assert f"about {rows_needed(1000, 0.02, 0.01) - 1000} more" in told[1]
    nothing = find(ACCURACY, {"accuracy": SCORE}, [beaten(-0.001, 0.02)], NOTHING)
    assert "nothing shows" in nothing[1]


def test_rows_needed_give_the_power_that_is_promised() -> None:
    """A difference of 2.8 standard errors is seen in 80 of 100 trials at the 5 % level."""
    n, half = 1000, 0.02
    needed = rows_needed(n, half, 0.01)
    error = half / 1.96 * sqrt(n / needed)
    assert 0.01 / error == pytest.approx(2.8, rel=0.01)


def test_classes_that_are_never_answered() -> None:
    details = {
        **NOTHING, "labels": ["a", "b", "c"], "confusion": [[5, 1, 0], [0, 6, 0], [3, 1, 0]],
        "per_class": [{"label": x, "n": 6} for x in "abc"],
    }  # fmt: skip
    assert find(ACCURACY, {"accuracy": SCORE}, [], details) == ["1 of 3 classes are never answered: c."]


def test_a_weak_part_is_named_only_where_it_is_clear() -> None:
    clear = {"accuracy": SCORE, "slices.length.short": Measure(value=0.7, low=0.6, high=0.8, n=90)}
    unclear = {"accuracy": SCORE, "slices.length.short": Measure(value=0.8, low=0.7, high=0.9, n=90)}
    assert "length.short" in find(ACCURACY, clear, [], NOTHING)[0]
    assert find(ACCURACY, unclear, [], NOTHING) == []


def test_the_power_law_is_found() -> None:
    law = error_law([[n, 1 - 2.0 * n**-0.3] for n in (250, 500, 1000)])
    assert law == pytest.approx((2.0, 0.3))
    assert error_law([[10, 0.5], [20, 1.0], [40, 1.0]]) is None
    assert error_law([]) is None


def test_more_rows() -> None:
    rising = [[n, 1 - 2.0 * n**-0.3] for n in (250, 500, 1000)]
    told = advice(">= 0.91", curve=rising)
    assert "twice the 1000 training rows would bring about 2.3 points" in told[0]
    # (0.12 / 0.09) ** (1 / 0.3) is 2.6 times the rows.
    assert "about 1600 more training rows" in told[1]
    flat = [[n, 0.85 + n / 1e6] for n in (250, 500, 1000)]
    assert "less than half a point" in advice(curve=flat)[0]


def test_limits_inside_the_interval() -> None:
    assert "lies inside the interval" in advice(">= 0.87")[0]
    assert "no test set" in advice(">= 0.88")[0]
    assert advice(">= 0.5") == []


def test_mix_ups_classes_labels_and_confidences() -> None:
    told = advice(
        labels=["a", "b", "c"], confused=[{"target": "a", "answer": "b", "n": 9}],
        per_class=[{"label": "a", "n": 40, "recall": 0.5}, {"label": "b", "n": 90, "recall": 0.95}],
        errors=[{"confidence": 0.99}] * 6, calibration={"ece": 0.09, "mean_confidence": 0.97, "right": 0.88},
    )  # fmt: skip
    assert [
        part for part, line in zip(("50%", "taken for b", "6 wrong answers", "too high by 9.0"), told, strict=True)
        if part in line
    ] == ["50%", "taken for b", "6 wrong answers", "too high by 9.0"]  # fmt: skip
