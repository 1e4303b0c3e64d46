"""The search for weak parts: planted ones are found, of noise hardly anything is; groups of mistakes; abstention."""

from __future__ import annotations

import numpy as np
import pytest

from luodi.core.types import Array, Example
from luodi.stages.evaluate.found import FEWEST_ROWS, groups_of, tail, traits_of, worst_parts
from luodi.stages.evaluate.tables import SHARES, abstention
from luodi.tasks.text_classification import TextClassification


def noise(rng: np.random.Generator, rows: int, words: int) -> dict[str, Array]:
    held = rng.random((rows, words)) < rng.uniform(0.03, 0.5, words)
    return {f"w{i}": np.flatnonzero(held[:, i]) for i in range(words)}


def test_the_tail_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for hits, drawn, marked, whole in [(0, 5, 3, 20), (3, 5, 3, 20), (12, 40, 60, 400), (60, 90, 100, 1000)]:
        assert tail(hits, drawn, marked, whole) == pytest.approx(stats.hypergeom.sf(hits - 1, whole, marked, drawn))


def test_of_noise_hardly_anything_is_found() -> None:
    """200 models that are wrong at random, 300 words each: 5 % may name any, give or take what 200 leave open."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(200):
        traits = noise(rng, 300, 300)
        named += bool(worst_parts(traits, list(rng.random(300) < 0.12))[0])
    assert named / 200 <= 0.08


def test_planted_parts_are_found() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        traits = noise(rng, 600, 200)
        rows = traits["w7"] = rng.choice(600, 60, replace=False)
        wrong = rng.random(600) < 0.08
        wrong[rows] = rng.random(60) < 0.45
        parts, looked = worst_parts(traits, list(wrong))
        assert looked > 100
        found += bool(parts) and parts[0]["name"] == "w7"
        assert all(part["n"] >= FEWEST_ROWS and part["p"] <= 0.05 for part in parts)
    assert found >= 48


def test_words_slices_and_pairs_are_looked_at() -> None:
    task = TextClassification()
    traits = traits_of(task, [Example(id="0", input="早餐太差了 The room", target="neg")])
    assert {"早餐", "the", "room", "language.mixed", "class.neg", "class.neg + language.mixed"} <= set(traits)
    assert "，" not in traits


def test_mistakes_are_named_by_the_words_that_they_share() -> None:
    wrong = np.zeros(200, bool)
    wrong[:20] = True
    traits = {
        "早餐": np.arange(12), "空调": np.arange(12, 18), "的": np.arange(0, 200, 2), "只有一次": np.array([19]),
        "length.short": np.arange(20),
    }  # fmt: skip
    named = groups_of(traits, list(wrong))
    assert named == {**dict.fromkeys(range(12), "早餐"), **dict.fromkeys(range(12, 18), "空调")}


def test_without_mistakes_nothing_is_said() -> None:
    traits = {"a": np.arange(50)}
    assert worst_parts(traits, [False] * 200) == ([], 1)
    assert groups_of(traits, [False] * 200) == {}


def test_abstention_counts_the_surest_first() -> None:
    sure = np.linspace(0.99, 0.5, 100).tolist()
    right = [i < 80 for i in range(100)]
    rows = abstention(sure, right)
    assert [row["share"] for row in rows] == [s / 100 for s in SHARES]
    by_share = {row["share"]: row for row in rows}
    assert by_share[0.8]["value"] == 1.0
    assert by_share[0.8]["confidence"] == pytest.approx(sure[79])
    assert by_share[1.0]["value"] == pytest.approx(0.8)
    assert by_share[0.9]["value"] == pytest.approx(80 / 90)
    assert by_share[0.8]["low"] < 1.0  # 80 rows are no proof of certainty


def test_of_a_group_one_row_counts() -> None:
    """Forty rows of one writer who is always misread: one mistake, not forty."""
    traits = {"signed": np.arange(40)}
    wrong, groups = [True] * 40 + [False] * 260, ["writer"] * 40 + [""] * 260
    assert worst_parts(traits, wrong)[0]
    assert worst_parts(traits, wrong, groups)[0] == []
    rows = abstention([0.9] * 100, [i % 4 != 0 for i in range(100)], ["one"] * 100)
    plain = abstention([0.9] * 100, [i % 4 != 0 for i in range(100)])
    assert all(a["high"] - a["low"] > b["high"] - b["low"] for a, b in zip(rows, plain, strict=True))
