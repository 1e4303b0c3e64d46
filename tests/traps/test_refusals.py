"""Data and models that nobody should trust: REFUSED, exit code 1, and the reason in words."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from commands import Command, Said
from luodi.stages.evaluate.findings import chance_z
from luodi.stages.prepare.giveaway import find_giveaway
from planted import Project, Row, reviews

QUICK = {"epochs": 1, "learning_rate": 0.001, "max_length": 24, "wide": False, "evaluations": 1}


def told(done: Said) -> dict[str, Any]:
    """The report as `--json` prints it."""
    read: dict[str, Any] = json.loads(done.out)
    return read


def relabelled(rows: Sequence[Row], labels: Sequence[str]) -> list[Row]:
    return [(text, label) for (text, _), label in zip(rows, labels, strict=True)]


def marked(mark: Callable[[str, int], str]) -> list[Row]:
    return [(mark(label, i).replace("_", text), label) for i, (text, label) in enumerate(ROWS)]


ROWS = reviews(120)
DATA = {
    "three rows": (ROWS[:3], "3 usable rows; at least 30 are needed.", "可用数据只有 3 行，至少需要 30 行。"),
    "one label": (
        relabelled(ROWS, ["good"] * 120),
        "the same answer, 'good': there is nothing to learn",
        "答案都是 'good'",
    ),
    "a label with two rows": (
        [*ROWS, ("还可以", "mixed"), ("一般", "mixed")],
        "the answer 'mixed': 2",
        "答案 'mixed' 只有 2 行",
    ),
    "all copies": ([("好吃", "a"), ("难吃", "b")] * 60, "2 usable rows", "可用数据只有 2 行"),
    "contradictions": ([(t, a) for t, _ in ROWS for a in "ab"], "0 usable rows", "可用数据只有 0 行"),
    "a tag before": (
        marked(lambda a, i: f"[{a[0]}] _"),
        "the beginning of the text alone tells it in 100.0% of the rows ('[n'",
        "凭文本的开头",
    ),
    "a tag behind": (marked(lambda a, i: f"_ #{a[0]}"), "the end of the text alone", "凭文本的末尾"),
    "a tag behind a number": (marked(lambda a, i: f"{7919 * i} <{a[0]}> _"), "word 3 of the text alone", "凭第 3 个词"),
    "numbers of orders": (
        marked(lambda a, i: f"{a[0] == 'p':d}{7919 * i % 1000:03} _"),
        "the beginning of the text",
        "凭文本的开头",
    ),
    "the answer's own words": (
        marked(lambda a, i: f"_，{a.upper()}！" * (i % 30 > 0) + "_"),
        "the mention of the answer itself",
        "答案字样",
    ),
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", DATA)
def test_data_that_is_refused(name: str, language: str, project: Project, command: Command) -> None:
    rows, en, zh = DATA[name]
    done = command("run", str(project(rows)), "--json", language=language)
    assert done.code == 1, done.err
    report = told(done)
    print(name, *report["findings"], sep="\n")
    assert report["verdict"] == "REFUSED"
    assert {"en": en, "zh": zh}[language] in report["findings"][0]
    assert len(report["findings"]) <= 4


def test_a_giveaway_may_be_meant(project: Project, command: Command) -> None:
    """Then it is no reason to refuse, and still told."""
    folder = project(DATA["a tag before"][0])
    assert command("prepare", str(folder), language="en").code == 1
    done = command("prepare", str(folder), "--json", "prepare.giveaways=keep", language="en")
    assert done.code == 0
    assert [line for line in told(done)["findings"] if "the beginning of the text" in line]


def test_of_several_columns_the_one_that_gives_it_away_is_named() -> None:
    pairs = [(text, "xy"[label == "positive"]) for text, label in ROWS]
    said = find_giveaway(pairs, [label for _, label in ROWS], ("review", "shop"))
    assert said is not None
    assert "the value in the column shop" in said
    assert find_giveaway([(text, "xy"[i % 2]) for i, (text, _) in enumerate(ROWS)], [a for _, a in ROWS]) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_what_is_only_often_there_is_no_giveaway(share: float, seed: int) -> None:
    """Honest words of the answer, or a tag that is missing in a tenth of the rows."""
    rng = random.Random(seed)
    rows = reviews(400, "good", "bad", seed=seed)
    texts = [f"{label if rng.random() < share else 'so so'} {text}" for text, label in rows]
    assert find_giveaway(texts, [label for _, label in rows]) is None


def test_a_lopsided_answer_is_no_giveaway() -> None:
    texts = [text for text, _ in reviews(1000)]
    assert find_giveaway(texts, ["rare" if i % 40 == 0 else "usual" for i in range(1000)]) is None


def shuffled(count: int) -> list[Row]:
    rows = reviews(count)
    labels = [label for _, label in rows]
    random.Random(1).shuffle(labels)
    return relabelled(rows, labels)


def lopsided(count: int) -> list[Row]:
    """One negative among eight."""
    return [row for i, row in enumerate(reviews(count)) if row[1] == "positive" or i % 8 == 0]


MODELS: dict[str, tuple[list[Row], dict[str, Any], str, str]] = {
    "shuffled answers": (shuffled(240), {}, "do not seem to depend on the input", "答案看起来与输入无关"),
    "a constant predictor": (lopsided(300), {}, "The model always answers positive", "模型总是回答“positive”"),
    "a rate of nothing": (reviews(240), {"learning_rate": 1e-12}, "it is not the data", "问题不在数据"),
    "too few to tell": (
        reviews(100, noise=0.2),
        {"epochs": 12},
        "The test set has 21 rows: too few to tell",
        "测试集只有 21 行",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_are_refused(name: str, project: Project, command: Command) -> None:
    """Once trained, told in both languages."""
    rows, train, en, zh = MODELS[name]
    near = {"near_duplicates": 1.0}
    folder = project(rows, prepare=near, train={**QUICK, **train}, accept={"beats_baseline": True})
    for language, words in (("en", en), ("zh", zh)):
        done = command("evaluate", str(folder), "--json", language=language)
        report = told(done)
        print(name, *report["findings"], sep="\n")
        assert (done.code, report["verdict"]) == (1, "REFUSED"), done.err
        assert [line for line in report["findings"] if words in line]


def test_chance_is_what_shuffling_shows() -> None:
    """The closed form against ten thousand shuffles of the same answers."""
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=200)
    given = np.where(rng.random(200) < 0.2, targets, rng.choice(3, 200, p=[0.6, 0.3, 0.1]))
    hits = [(rng.permutation(given) == targets).sum() for _ in range(10_000)]
    z = ((targets == given).sum() - np.mean(hits)) / np.std(hits)
    assert chance_z([*map(str, targets)], [*map(str, given)]) == pytest.approx(z, abs=0.1)
    assert chance_z(["a", "b"], ["a", "a"]) == 0.0
