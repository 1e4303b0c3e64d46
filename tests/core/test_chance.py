"""Shares, ratios and many tests: equal to the library's own where it has them; held to what intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luodi.core.chance import (
    false_discovery_rates,
    mean_by_group,
    share_ratio,
    shares_by_group,
    two_sided,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (5, 10), (37, 150), (150, 150)])
def test_wilson_is_the_librarys(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_false_discovery_rates_are_the_librarys() -> None:
    p = np.random.default_rng(0).random(50) ** 2
    assert false_discovery_rates(list(p)) == pytest.approx(list(stats.false_discovery_control(p)))
    assert false_discovery_rates([]) == []


@pytest.mark.parametrize("freedom", [5, 8, 20, 100])
def test_students_t_is_near_and_on_the_safe_side(freedom: int) -> None:
    for t in (0.5, 1.5, 2.5, 4.0):
        exact = 2 * stats.t.sf(t, freedom)
        assert exact - 1e-4 <= two_sided(t, freedom) <= exact + 0.011


def test_intervals_of_shares_know_that_some_users_talk_more() -> None:
    """Users of 1 to 30 messages, each true to one topic: intervals that count messages are far too narrow."""
    rng = np.random.default_rng(1)
    held = plain = 0
    for _ in range(300):
        users = np.repeat(np.arange(120), rng.integers(1, 31, 120))
        topic = (rng.random(120) < 0.2)[users]
        hits = topic[:, None].astype(float)
        ones = np.ones(len(users))
        (robust,) = shares_by_group(hits, ones, users)
        (naive,) = shares_by_group(hits, ones, np.arange(len(users)))
        held += robust.low <= 0.2 <= robust.high
        plain += naive.low <= 0.2 <= naive.high
    assert held >= 0.91 * 300
    assert plain <= 0.7 * 300


def test_rare_shares_have_intervals_too() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        hits = (rng.random(400) < 0.01)[:, None].astype(float)
        (share,) = shares_by_group(hits, np.ones(400), np.arange(400))
        held += share.low <= 0.01 <= share.high
    assert held >= 0.92 * 400


def test_means_are_weighted() -> None:
    found = mean_by_group(np.array([1.0, -1.0]), np.array([3.0, 1.0]), np.array([0, 1]))
    assert found.value == 0.5


def test_equal_shares_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(3)
    ps, held = [], 0
    for _ in range(1000):
        a, b = rng.binomial(400, 0.1), rng.binomial(300, 0.1)
        ratio, p = share_ratio(a, 400, b, 300)
        ps.append(p)
        held += ratio.low <= 1 <= ratio.high
    assert np.mean(np.array(ps) < 0.05) <= 0.065
    assert held >= 0.935 * 1000
    ratio, p = share_ratio(80, 400, 30, 300)
    assert ratio.value == pytest.approx(2.0, abs=0.05)
    assert p < 0.001
    assert share_ratio(0, 100, 0, 100)[0].value == pytest.approx(1.0)
