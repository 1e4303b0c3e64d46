"""A file as shops have them: nearly half of the rows are copies, two thirds one answer, some answers wrong.

Any split of its rows at random puts two thirds of the test texts into training, word for word, and what is scored on it
is memory. Held here: that this file has it, and that a run says what a reader must know.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from commands import Command
from luodi.core.report import read_report
from luodi.messages import speaking
from planted import Project, Row, prepared, reviews

ROWS, UNIQUE = 1700, 892
TRAIN = {"epochs": 3, "learning_rate": 0.002, "max_length": 24, "wide": False, "evaluations": 1}


def planted() -> list[Row]:
    """1,700 rows, 892 of them unique, 67 % positive, 5 % of the answers wrong."""
    rng = random.Random(0)
    found = [*reviews(2 * UNIQUE, noise=0.05)]
    good = [row for row in found if row[1] == "positive"][: round(0.67 * UNIQUE)]
    bad = [row for row in found if row[1] == "negative"][: UNIQUE - len(good)]
    rows = [*good, *bad]
    rows += [rows[rng.randrange(UNIQUE)] for _ in range(ROWS - UNIQUE)]
    rng.shuffle(rows)
    return rows


def test_a_split_at_random_would_leak() -> None:
    rows = planted()
    cut = round(0.8 * ROWS)
    train = {text for text, _ in rows[:cut]}
    assert len({text for text, _ in rows}) == UNIQUE
    assert sum(text in train for text, _ in rows[cut:]) / (ROWS - cut) > 0.6


def test_it_is_said(project: Project, command: Command) -> None:
    folder = project(
        planted(), train=TRAIN, prepare={"near_duplicates": 1.0}, accept={"accuracy": ">= 0.6", "beats_baseline": True}
    )
    done = command("evaluate", str(folder), "--json", language="en")
    assert done.code in (0, 1), done.err
    sheet, scored = report_of(folder, "prepare"), report_of(folder, "evaluate")
    print(*sheet["en"], *sheet["zh"], *scored["en"], *scored["zh"], sep="\n")
    assert said(sheet, "808 rows were dropped: the same text had come before.", "已剔除 808 行")
    assert said(sheet, "Share of test rows with a copy in training: 0.0%.", "在训练集里有副本的比例：0.0%")
    assert said(scored, "majority (0.6", "majority（0.6")
    assert said(scored, "tfidf (0.", "tfidf（0.")
    splits = {name: {text for text, _ in rows} for name, rows in prepared(folder).items()}
    assert not splits["test"] & (splits["train"] | splits["validation"])
    numbers = json.loads(done.out)["numbers"]
    assert numbers["accuracy"]["low"] < numbers["accuracy"]["value"] < numbers["accuracy"]["high"]
    assert numbers["accuracy"]["n"] == len(splits["test"]) == pytest.approx(UNIQUE * 0.2, abs=3)
    assert {"baseline.majority", "baseline.tfidf"} <= set(numbers)


def report_of(project: Path, verb: str) -> dict[str, tuple[str, ...]]:
    """Language to the findings of a verb's report."""
    path = next((project / "runs").glob(f"{verb}-*/report.json"))
    found: dict[str, tuple[str, ...]] = {}
    for language in ("en", "zh"):
        with speaking(language):
            found[language] = tuple(map(str, read_report(path).findings))
    return found


def said(findings: dict[str, Any], en: str, zh: str) -> bool:
    return any(en in line for line in findings["en"]) and any(zh in line for line in findings["zh"])
