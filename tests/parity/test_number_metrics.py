"""Scores of numbers equal scikit-learn's and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as reference

from luodi.core.measure import Metric, with_interval
from luodi.core.scoring import against
from luodi.core.types import Example, Floats, Prediction
from luodi.modalities.number import MAE, NUMBER_METRICS, R2, RMSE, SPEARMAN

REFERENCE = {
    "r2": reference.r2_score,
    "mae": reference.mean_absolute_error,
    "rmse": reference.root_mean_squared_error,
    "spearman": lambda truth, given: spearmanr(truth, given).statistic,
}
EVERY = pytest.mark.parametrize("metric", NUMBER_METRICS, ids=lambda m: m.name)


def drawn(seed: int, n: int = 80, *, decimals: int = 9, middle: float = 0.0) -> tuple[Floats, Floats]:
    """Truth and answers; with few decimals many are equal."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2.0, 1.0, n)
    given = 0.7 * truth + rng.normal(0, 0.8, n)
    return np.round(truth + middle, decimals), np.round(given + middle, decimals)


def told(numbers: Floats) -> list[Prediction[float]]:
    return [Prediction(value=float(number)) for number in numbers]


@EVERY
@pytest.mark.parametrize(
    ("n", "decimals", "middle"), [(80, 9, 0.0), (80, 0, 0.0), (3, 9, 0.0), (500, 2, 2026.0), (500, 9, 1.7e9)]
)
def test_metric_equals_the_reference(metric: Metric, n: int, decimals: int, middle: float) -> None:
    truth, given = drawn(n, n, decimals=decimals, middle=middle)
    assert metric.value(truth.tolist(), told(given)) == pytest.approx(REFERENCE[metric.name](truth, given), rel=1e-9)


def test_every_metric_has_a_reference() -> None:
    assert {m.name for m in NUMBER_METRICS} == set(REFERENCE)


@pytest.mark.parametrize(("given", "r2"), [([2.0, 2.0, 2.0], 1.0), ([2.0, 2.5, 2.0], 0.0)])
def test_where_all_truths_are_one_it_is_scikit_learns(given: list[float], r2: float) -> None:
    truth = [2.0] * 3
    assert R2.value(truth, told(np.array(given))) == r2 == reference.r2_score(truth, given)
    assert SPEARMAN.value(truth, told(np.array(given))) == 0.0  # scipy: not a number


@EVERY
def test_each_example_is_worth_less_the_further_it_is_off(metric: Metric) -> None:
    truth = np.arange(5.0)
    given = truth + np.array([0.0, 0.1, -3.9, 1.5, 0.0])
    each = metric.each(metric.sums(truth.tolist(), told(given)))
    assert each.argmin() == 2
    assert each[0] == each.max()


def test_a_difference_is_that_of_the_scores() -> None:
    """Ranks are those among one side's own answers, not among both sides' together."""
    truth, ours = drawn(1)
    theirs = drawn(2)[1]
    examples = [Example(id=str(i), input="", target=float(t)) for i, t in enumerate(truth)]
    for metric in NUMBER_METRICS:
        gap, p = against(examples, told(ours), {"other": told(theirs)}, metric)["other"]
        scores = [metric.value(truth.tolist(), told(given)) for given in (ours, theirs)]
        assert gap.value == pytest.approx((scores[0] - scores[1]) * (1 if metric.higher_is_better else -1))
        assert gap.low > 0
        assert p < 0.01


def test_no_error_at_all_has_no_interval_in_shares() -> None:
    """Of shares, all right is bounded by the binomial; 0 seconds of error is no share."""
    truth = drawn(3)[0]
    for metric in (MAE, RMSE):
        found = with_interval(metric, metric.sums(truth.tolist(), told(truth)))
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("metric", "samples", "least"),
    [
        (SPEARMAN, 60, 0.87),
        *(pytest.param(m, 400, 0.925, marks=pytest.mark.long, id=f"{m.name}-long") for m in NUMBER_METRICS),
    ],
)
def test_intervals_hold_what_they_say(metric: Metric, samples: int, least: float) -> None:
    """95 in 100 samples of 400 rows have an interval that holds the score of the whole world. With tails of errors as
    long as those of `drawn`, it is 90 in 100: as everywhere in this kind of bootstrap."""

    def normal(seed: int, n: int) -> tuple[list[float], list[Prediction[float]]]:
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=n)
        return truth.tolist(), told(0.7 * truth + rng.normal(0, 0.8, n))

    true = metric.value(*normal(0, 200_000))
    found = [with_interval(metric, metric.sums(*normal(seed, 400))) for seed in range(1, samples + 1)]
    assert least <= np.mean([f.low <= true <= f.high for f in found]) <= 0.99
