"""The example of pictures: its page is sound and begins (fast); the whole of it by hand (`-m long`)."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest

from luodi.core.report import read_report
from shop import answer, luodi

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "digits", ignore=shutil.ignore_patterns("runs")))


def test_the_example_begins(digits: Path) -> None:
    done = luodi("train", str(digits), "--json", "prepare.rows=300", "train.epochs=2", "budget=1 h")
    assert done.returncode == 0, done.stderr
    sheet = read_report(next((digits / "runs").glob("prepare-*")) / "report.json")
    assert sheet.numbers["rows_read"].value == 1797
    assert sheet.numbers["leak_share"].value == 0
    assert answer(done)["numbers"]["parameters"]["value"] < 1e6


@pytest.mark.long
def test_the_example_whole(digits: Path) -> None:
    """Within five minutes on two cores: at least 0.97 on the test set, accepted, at most 10 MB."""
    began = time.monotonic()
    done = luodi("run", str(digits), "--json")
    minutes = (time.monotonic() - began) / 60
    print(done.stderr, f"{minutes:.1f} minutes", file=sys.stderr)
    assert done.returncode == 0
    told = answer(done)
    assert told["verdict"] == "ACCEPTED"
    assert told["numbers"]["accuracy"]["value"] >= 0.97
    assert minutes <= 5
