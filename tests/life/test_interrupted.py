"""Nothing is lost: a life that was killed, stopped or starved of disk ends as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lives import Quiet, assert_nothing_half_written, make_project, started, struck, told_by, undisturbed
from shop import luodi

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to be sent")


@pytest.mark.slow
def test_killed_at_three_moments_of_one_life(quiet: Quiet, tmp_path: Path) -> None:
    """kill -9 again and again: each time the same command goes on, and the end is the same."""
    project = make_project(tmp_path / "shop")
    moments = random.Random(3)
    for _ in range(3):
        struck(moments.uniform(0.1, 0.6) * quiet.seconds, signal.SIGKILL, "run", str(project))
    assert luodi("run", str(project)).returncode == 0
    assert told_by(project) == quiet.told
    assert_nothing_half_written(project)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_struck_at_twenty_moments(number: signal.Signals, tmp_path: Path) -> None:
    """About a quarter of an hour. Spread over the whole life, from prepare into the last candidate of compress."""
    told, seconds = undisturbed(make_project(tmp_path / "quiet", candidates="onnx"))
    moments = random.Random(20)
    for turn in range(20):
        project = make_project(tmp_path / f"shop{turn}", candidates="onnx")
        moment = seconds * (turn + moments.random()) / 20
        code, said = struck(moment, number, "run", str(project))
        # 0: it was faster this time. The bare signal: it came before Python had read the command line.
        assert code in ({-number, 0} if number == signal.SIGKILL else {143, -number, 0}), said
        assert "Traceback" not in said
        done = luodi("run", str(project))
        assert done.returncode == 0, f"after {moment:.2f} s ({code}): {done.stderr}"
        assert told_by(project) == told, f"after {moment:.2f} s"
        assert_nothing_half_written(project)


TRAIN = ("train.tokens_per_batch=64", "train.epochs=2", "train.evaluations=1")
"""About 80 small steps, and no checkpoint before the first evaluation at the fortieth."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    project = make_project(tmp_path_factory.mktemp("trained") / "shop")
    assert luodi("train", str(project), *TRAIN, LUODI_LANG="en").returncode == 0
    return told_by(project)


@pytest.mark.parametrize(
    ("number", "code", "language", "words"),
    [
        (signal.SIGTERM, 143, "en", "Stopped. The same command goes on where it was."),
        pytest.param(
            signal.SIGINT, 130, "zh", "已停止。再次运行同一命令会从停下的地方继续。", marks=pytest.mark.slow
        ),
    ],
)
def test_asked_to_stop_it_saves_the_step_and_leaves(
    number: signal.Signals, code: int, language: str, words: str, trained: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Before the first checkpoint was due: the next run goes on from the very step."""
    project = make_project(tmp_path / "shop")
    # Notes on the data stand in the language in which they were said.
    assert luodi("prepare", str(project), LUODI_LANG="en").returncode == 0
    monkeypatch.setenv("LUODI_LANG", language)
    with started("train", str(project), "--json", *TRAIN) as process:
        assert process.stderr
        while " 1/" not in process.stderr.readline():  # the bar of the first step
            assert process.poll() is None
        time.sleep(0.1)
        process.send_signal(number)
        answer, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert told.strip().splitlines() == [words]
    assert json.loads(answer) == {
        "verb": "train", "error": {"code": "run.stopped", "message": words, "hint": "", "traceback": ""}
    }
    saved = next((project / "runs").glob("train-*.work/last.safetensors"))
    with safe_open(saved, framework="np") as file:
        step = json.loads(file.metadata()["records"])["step"]
    assert 0 < step < 40
    again = luodi("train", str(project), *TRAIN, LUODI_LANG="en")
    assert f"Going on from step {step} of" in again.stderr
    assert told_by(project) == trained
    assert_nothing_half_written(project)
