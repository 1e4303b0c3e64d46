"""Two projects side by side, by the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lives import Quiet
from shop import answer, luodi


@pytest.mark.slow
def test_two_projects_are_compared_by_the_command_line(quiet: Quiet, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        shutil.copytree(quiet.project, folder)
    trained = luodi("train", str(other), "train.epochs=1", "train.wide=no", "--json")
    assert trained.returncode == 0, trained.stderr
    done = luodi("evaluate", str(one), str(other), "--json")
    assert done.returncode == 0, done.stderr
    told = answer(done)
    assert told["numbers"]["difference"]["value"] > 0
    assert Path(told["report"]).read_text(encoding="utf-8").count("<table") >= 2
    again = luodi("evaluate", str(one), str(other), LUODI_LANG="zh")
    assert again.stdout.startswith("evaluate: 完成")
    assert "两者都对的有" in again.stdout
    openings = (one / "runs" / "test-openings.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum('"compare"' in line for line in openings) == 1
    copy = tmp_path / "elsewhere"
    shutil.copytree(Path(answer(trained)["bundle"]), copy)
    alone = luodi("evaluate", str(one), str(copy))
    assert "It is not known what elsewhere learned from" in alone.stdout
    wrong = luodi("evaluate", str(one), str(tmp_path / "nothing"))
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
