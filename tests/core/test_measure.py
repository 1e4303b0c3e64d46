"""Numbers that can be believed."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.core.measure import (
    Measure,
    Metric,
    by_group,
    difference,
    mcnemar,
    paired_p,
    resample_weights,
    with_interval,
)
from luodi.core.types import Prediction
from luodi.modalities.label import ACCURACY, LABEL_METRICS, MACRO_F1

LABELS = st.sampled_from("abc")
quick = settings(max_examples=25, deadline=None)
PAIRS = st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=1, max_size=60)


def answers(values: list[str]) -> list[Prediction[str]]:
    return [Prediction(value=v) for v in values]


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=lambda m: m.name)
@given(rows=PAIRS)
@quick
def test_values_and_intervals_are_in_order(metric: Metric, rows: list[tuple[str, str, str]]) -> None:
    sums = metric.sums([r[0] for r in rows], answers([r[1] for r in rows]))
    found = with_interval(metric, sums)
    assert 0 <= found.low <= found.high <= 1
    assert found.n == len(rows)
    assert found.value == metric.value([r[0] for r in rows], answers([r[1] for r in rows]))
    if metric is ACCURACY:  # macro scores of a resample lose classes, so theirs may be skewed
        assert found.low <= found.value <= found.high


@given(rows=PAIRS)
@quick
def test_scores_equal_their_definitions(rows: list[tuple[str, str, str]]) -> None:
    truth, given_ = [r[0] for r in rows], [r[1] for r in rows]
    value = {m.name: m.value(truth, answers(given_)) for m in LABEL_METRICS}
    hits = {c: sum(t == g == c for t, g in zip(truth, given_, strict=True)) for c in set(truth)}
    recall = {c: hits[c] / truth.count(c) for c in hits}
    precision = {c: hits[c] / max(given_.count(c), 1) for c in hits}
    f1 = {c: 2 * hits[c] / (truth.count(c) + given_.count(c)) for c in hits}
    assert value["accuracy"] == pytest.approx(sum(hits.values()) / len(rows))
    assert value["micro_f1"] == pytest.approx(value["accuracy"])  # one label each: the same number
    assert value["macro_recall"] == pytest.approx(np.mean(list(recall.values())))
    assert value["macro_precision"] == pytest.approx(np.mean(list(precision.values())))
    assert value["macro_f1"] == pytest.approx(np.mean(list(f1.values())))


@given(rows=PAIRS)
@quick
def test_a_difference_turns_its_sign_with_its_sides(rows: list[tuple[str, str, str]]) -> None:
    truth = [r[0] for r in rows]
    one, other = (ACCURACY.sums(truth, answers([r[i] for r in rows])) for i in (1, 2))
    here, there = difference(ACCURACY, one, other), difference(ACCURACY, other, one)
    assert here.value == pytest.approx(-there.value)
    assert here.low == pytest.approx(-there.high)
    assert here.low <= here.value + 1e-12
    assert here.value <= here.high + 1e-12
    assert paired_p(ACCURACY, one, other) == pytest.approx(paired_p(ACCURACY, other, one))
    same = difference(ACCURACY, one, one)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert paired_p(ACCURACY, one, one) == 1


@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
@quick
def test_mcnemar_is_symmetric_and_exact(pairs: list[tuple[bool, bool]]) -> None:
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    p = mcnemar(ours, theirs)
    assert p == mcnemar(theirs, ours)
    assert 0 < p <= 1
    b = sum(a and not o for a, o in pairs)
    n = sum(a != o for a, o in pairs)
    tail = sum(comb(n, i) for i in range(min(b, n - b) + 1)) / 2**n
    assert p == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_on_large_samples_does_not_overflow() -> None:
    assert mcnemar([True] * 3000 + [False] * 2700, [False] * 3000 + [True] * 2700) == pytest.approx(7.4e-5, rel=0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """95 of 100 in the long run. A percentile bootstrap is a little narrow at small n, hence 88."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        right = rng.random(100) < 0.8
        found = with_interval(ACCURACY, np.stack([right, np.ones(100)], axis=1).astype(float))
        covered += found.low <= 0.8 <= found.high
    assert 88 <= covered < 100


def test_a_real_difference_is_found_and_a_false_one_mostly_not() -> None:
    rng = np.random.default_rng(1)

    def sums(share: float, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.stack([rng.random(n) < share, np.ones(n)], axis=1).astype(float)

    assert paired_p(ACCURACY, sums(0.9, 1000), sums(0.8, 1000)) < 0.01
    by_chance = sum(paired_p(ACCURACY, sums(0.8, 100), sums(0.8, 100)) < 0.05 for _ in range(60))
    assert by_chance <= 9


def test_draws_are_the_same_for_a_seed_and_count_every_example() -> None:
    drawn = resample_weights(30, draws=50, seed=3)
    assert (drawn == resample_weights(30, draws=50, seed=3)).all()
    assert (drawn != resample_weights(30, draws=50, seed=4)).any()
    assert (drawn.sum(1) == 30).all()


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="no examples"):
        with_interval(ACCURACY, np.zeros((0, 2)))


def test_an_exact_number_has_no_width() -> None:
    assert Measure.exact(3.5, n=2, unit="MB") == Measure(value=3.5, low=3.5, high=3.5, n=2, unit="MB")


def clustered(rng: np.random.Generator, groups: int, each: int) -> tuple[list[str], list[str], list[str]]:
    """Users whose rows are all hard or all easy: targets, answers, group of each."""
    hard = rng.beta(1, 1, groups).repeat(each)
    right = rng.random(groups * each) < hard
    return ["a"] * len(right), ["a" if r else "b" for r in right], [str(i) for i in range(groups) for _ in range(each)]


@pytest.mark.parametrize("turns", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_intervals_of_groups_cover_as_often_as_they_say_and_plain_ones_do_not(turns: int) -> None:
    rng = np.random.default_rng(0)
    held = plain = 0
    for _ in range(turns):
        targets, given_, groups = clustered(rng, 60, 8)
        sums = ACCURACY.sums(targets, answers(given_))
        within = [with_interval(ACCURACY, sums, groups=g) for g in (groups, ())]
        held += within[0].low <= 0.5 <= within[0].high
        plain += within[1].low <= 0.5 <= within[1].high
    assert 0.91 <= held / turns <= (0.99 if turns < 100 else 0.98)
    assert plain / turns < 0.8


def test_examples_of_no_group_stand_alone() -> None:
    sums = np.arange(8.0).reshape(4, 2)
    assert (by_group(sums, ["", "", "", ""]) == sums).all()
    assert sorted(by_group(sums, ["x", "", "x", ""]).tolist()) == [[2.0, 3.0], [4.0, 6.0], [6.0, 7.0]]
    assert with_interval(ACCURACY, np.ones((4, 2)), groups=["x", "x", "x", ""]).n == 4


@pytest.mark.slow
@pytest.mark.parametrize("metric", [ACCURACY, MACRO_F1], ids=lambda m: m.name)
def test_95_of_100_intervals_hold_the_truth(metric: Metric) -> None:
    """Between 93 and 97 % of 1,500 test sets of 300 rows of three classes, with the truth from two million rows."""
    rng = np.random.default_rng(0)
    right = np.array([0.95, 0.85, 0.7])

    def rows(count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        truth = rng.choice(3, count, p=[0.5, 0.3, 0.2])
        wrong = (truth + rng.integers(1, 3, count)) % 3
        return truth, np.where(rng.random(count) < right[truth], truth, wrong)

    truth, given_ = rows(2_000_000)
    counts = np.array([[(truth == c) & (given_ == c), given_ == c, truth == c] for c in range(3)]).sum(2)
    f1 = float(np.mean(2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])))
    exact = float((truth == given_).mean()) if metric is ACCURACY else f1
    held = 0
    for _ in range(1500):
        one, other = rows(300)
        found = with_interval(metric, metric.sums(list(map(str, one)), answers(list(map(str, other)))))
        held += found.low <= exact <= found.high
    assert 0.93 <= held / 1500 <= 0.97


def test_few_groups_prove_little() -> None:
    """Thirty rows of one writer are one writer; nine groups that are equal by chance are no certainty."""
    ours, theirs = np.tile([1.0, 1.0], (30, 1)), np.tile([0.0, 1.0], (30, 1))
    assert paired_p(ACCURACY, ours, theirs) < 0.01
    assert paired_p(ACCURACY, ours, theirs, groups=["one"] * 30) == 1.0
    mixed = np.stack([np.arange(30) % 3 != 0, np.ones(30)], axis=1).astype(float)
    plain, one = (with_interval(ACCURACY, mixed, groups=g) for g in ((), ["one"] * 30))
    assert one.high - one.low > 0.9 > 0.4 > plain.high - plain.low
    five = with_interval(ACCURACY, mixed, groups=[str(i // 6) for i in range(30)])  # each right in two of three
    assert five.high - five.low > plain.high - plain.low


def test_intervals_of_few_groups_cover_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(3), 0
    for _ in range(150):
        targets, said, groups = clustered(rng, 5, 8)
        sums = ACCURACY.sums(targets, answers(said))
        hits += (found := with_interval(ACCURACY, sums, groups=groups)).low <= 0.5 <= found.high
    assert hits >= 0.92 * 150
