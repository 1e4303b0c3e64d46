"""Scores equal scikit-learn's, tests equal scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics as reference

from luodi.core.measure import Metric, mcnemar, with_interval
from luodi.core.types import Prediction
from luodi.modalities.label import ACCURACY, LABEL_METRICS, Label
from luodi.stages.evaluate import tables

REFERENCE = {
    "accuracy": lambda t, a: reference.accuracy_score(t, a),
    "macro_f1": lambda t, a: reference.f1_score(t, a, average="macro", labels=sorted(set(t)), zero_division=0),
    "micro_f1": lambda t, a: reference.f1_score(t, a, average="micro", zero_division=0),
    "macro_precision": lambda t, a: reference.precision_score(
        t, a, average="macro", labels=sorted(set(t)), zero_division=0
    ),
    "macro_recall": lambda t, a: reference.recall_score(t, a, average="macro", labels=sorted(set(t)), zero_division=0),
}


def drawn(seed: int, classes: int, n: int = 80) -> tuple[list[str], list[str]]:
    """Truth and answers; with many classes some stand on one side only."""
    rng = np.random.default_rng(seed)
    names = [f"类{i}" for i in range(classes)]
    truth = [names[i] for i in rng.integers(0, classes, n)]
    return truth, [t if rng.random() < 0.6 else names[rng.integers(0, classes)] for t in truth]


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=lambda m: m.name)
@pytest.mark.parametrize(("seed", "classes", "n"), [(0, 2, 80), (1, 5, 80), (2, 60, 80), (3, 3, 4), (4, 2, 1)])
def test_metric_equals_scikit_learn(metric: Metric, seed: int, classes: int, n: int) -> None:
    truth, answers = drawn(seed, classes, n)
    ours = metric.value(truth, [Prediction(value=a) for a in answers])
    assert ours == pytest.approx(REFERENCE[metric.name](truth, answers))


def test_every_metric_has_a_reference() -> None:
    assert {m.name for m in LABEL_METRICS} == set(REFERENCE)


@pytest.mark.parametrize(("ours_only", "theirs_only"), [(0, 0), (1, 0), (3, 9), (40, 12), (700, 640)])
def test_mcnemar_equals_the_exact_binomial_test(ours_only: int, theirs_only: int) -> None:
    ours = [True] * ours_only + [False] * theirs_only + [True] * 5
    theirs = [False] * ours_only + [True] * theirs_only + [True] * 5
    n = ours_only + theirs_only
    assert mcnemar(ours, theirs) == pytest.approx(binomtest(ours_only, n).pvalue if n else 1.0)


def test_the_interval_is_as_wide_as_the_normal_one() -> None:
    """At n = 2000 both agree to a tenth of their width."""
    right: NDArray[np.float64] = (np.arange(2000) % 10 < 8).astype(float)
    found = with_interval(ACCURACY, np.stack([right, np.ones(2000)], axis=1))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 2000), rel=0.1)


def test_confusion_and_classes_equal_scikit_learn() -> None:
    truth, answers = drawn(7, 6)
    labels = sorted({*truth, *answers})
    confusion = tables.confusion_of(truth, answers, labels)
    assert (confusion == reference.confusion_matrix(truth, answers, labels=labels)).all()
    precision, recall, f1, n = reference.precision_recall_fscore_support(truth, answers, labels=labels)
    counted = ([Label().counted(word) for word in words] for words in (truth, answers))
    for i, row in enumerate(tables.per_class(*counted, labels)):
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision[i], recall[i], f1[i]))
        assert row["n"] == n[i]


def test_calibration_error_of_known_cases() -> None:
    sure = tables.calibration([1.0] * 40, [True, False] * 20)
    assert sure["ece"] == pytest.approx(0.5)
    true = tables.calibration([0.75] * 80, ([True] * 3 + [False]) * 20)
    assert true["ece"] == pytest.approx(0.0)
    assert sum(b["n"] for b in true["bins"]) == 80
