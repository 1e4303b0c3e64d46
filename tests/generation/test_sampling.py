"""Draws follow the distribution that the settings describe."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare  # type: ignore[import-untyped]

from luodi.core.sampling import Sampling, check_sampling, distribution, draw
from luodi.errors import DataError

LOGITS = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.05]))
CASES = [
    (Sampling(temperature=1.0), [0.4, 0.3, 0.15, 0.1, 0.05]),
    (Sampling(temperature=0.5), [0.16, 0.09, 0.0225, 0.01, 0.0025]),
    (Sampling(temperature=1.0, top_k=2), [0.4, 0.3, 0, 0, 0]),
    (Sampling(temperature=1.0, top_p=0.7), [0.4, 0.3, 0, 0, 0]),
    (Sampling(temperature=1.0, top_p=0.71), [0.4, 0.3, 0.15, 0, 0]),
    (Sampling(temperature=1.0, top_k=4, top_p=0.01), [1, 0, 0, 0, 0]),
    (Sampling(), [1, 0, 0, 0, 0]),
]


@pytest.mark.parametrize(("sampling", "shares"), CASES)
def test_the_distribution_is_as_told(sampling: Sampling, shares: list[float]) -> None:
    wanted = np.array(shares) / sum(shares)
    assert distribution(LOGITS, sampling) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("sampling", "shares"), CASES)
def test_draws_follow_it(sampling: Sampling, shares: list[float]) -> None:
    rng = np.random.default_rng(5)
    counts = np.bincount([draw(LOGITS, sampling, (), rng) for _ in range(4000)], minlength=5)
    wanted = 4000 * np.array(shares) / sum(shares)
    assert (counts[wanted == 0] == 0).all()
    if (wanted > 0).sum() > 1:
        assert chisquare(counts[wanted > 0], wanted[wanted > 0]).pvalue > 0.001


def test_a_penalty_makes_what_was_written_rarer() -> None:
    logits = np.array([2.0, 1.0, -1.0])
    told = distribution(logits, Sampling(temperature=1.0, repetition_penalty=2.0), [0, 2, 2])
    assert told == pytest.approx(np.exp([1.0, 1.0, -2.0]) / np.exp([1.0, 1.0, -2.0]).sum())
    assert draw(logits, Sampling(repetition_penalty=4.0), [0], np.random.default_rng(0)) == 1


@pytest.mark.parametrize(
    "wrong", [
        {"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}, {"max_new_tokens": 0}, {"seed": -1},
        {"repetition_penalty": 0.0}, {"stop": ("",)}, {"stop": ("x",) * 17}, {"temperature": float("nan")},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object], both_languages: str) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        check_sampling(Sampling(**wrong))  # type: ignore[arg-type]
