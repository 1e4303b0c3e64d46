"""Columns that nobody named, as parts to look at scores by."""

from __future__ import annotations

import csv
from pathlib import Path

from luodi.core.datasets import load_dataset, save_dataset
from luodi.core.measure import mcnemar
from luodi.core.project import open_project
from luodi.core.scoring import against, slices_of
from luodi.core.types import Example, Prediction
from luodi.modalities.label import ACCURACY
from luodi.stages.prepare.prepare import prepare
from luodi.stages.prepare.tags import tags_of
from luodi.tasks.text_classification import TextClassification

ROWS = [
    {
        "text": f"review {i} 好", "label": "ab"[i % 2], "shop.name": ("east", "west", "")[i % 3], "number": i,
        "when": f"2024-{i % 5 + 1:02}-17 10:00", "day": f"{2000 + i % 9}/{i % 12 + 1}/3",
        "same": "x", "long": "y" * 50 * i,
    }
    for i in range(300)
]  # fmt: skip


def test_few_values_and_dates_are_told_and_all_else_is_not() -> None:
    told = tags_of(ROWS, {"text", "label"})
    assert dict(told[0]) == {"shop_name": "east", "when": "2024-01", "day": "2000"}
    assert dict(told[2]) == {"when": "2024-03", "day": "2002"}  # an empty cell is no part
    assert tags_of([], set()) == []


def test_they_reach_the_slices_of_a_score_and_stay_on_the_disk(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ("text", "label", "shop.name", "when"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROWS)
    (tmp_path / "luodi.yaml").write_text(
        "task: text_classification\ndata: rows.csv\ninput: text\ntarget: label\nprepare:\n  near_duplicates: 1.0\n"
    )
    project = open_project(tmp_path)
    made = prepare(project.task, project.brief, project.settings["prepare"], tmp_path)
    (tmp_path / "data").mkdir()
    save_dataset(tmp_path / "data", made.dataset, project.task)
    again = load_dataset(tmp_path / "data", project.task)
    assert again.train == made.dataset.train
    found = slices_of(project.task, again.train)
    assert {"shop_name.east", "shop_name.west", "class.a"} <= set(found)
    assert set(made.dataset.datasheet.slices) >= {"shop_name", "when", "source"}


def test_two_names_of_one_slice_are_one() -> None:
    rows = [
        Example(id=str(i), input=f"text {i}", target="ab"[i % 2], source=f"{'ab'[i % 2]}.txt") for i in range(100)
    ]
    names = set(slices_of(TextClassification(), rows))
    assert {"class.a", "class.b"} <= names
    assert not any(name.startswith("source") for name in names)


def test_copies_speak_once_in_the_paired_test() -> None:
    """Twelve copies of one row that only we have right are no twelve proofs."""
    rows = [Example(id=str(i), input=str(i), target="a", group="copies" if i < 12 else "") for i in range(40)]
    ours = [Prediction(value="a")] * 40
    theirs = [Prediction(value="b" if i < 14 else "a") for i in range(40)]
    (_, p) = against(rows, ours, {"x": theirs}, ACCURACY)["x"]
    assert p == mcnemar([True] * 3, [False] * 3)
