"""One tiny life as a user lives it: by the command line, from a file to a compressed Bundle, killed and resumed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from luodi.core.bundle import open_bundle
from shop import PAGE, answer, luodi, write_reviews


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    write_reviews(folder / "reviews.csv", 500)
    return folder


def numbers_of(project: Path) -> dict[str, dict[str, Any]]:
    """Verb to the numbers of its report, without what depends on the clock."""
    timed = ("seconds", "_ms", "per_s", "speedup")
    found = {}
    for path in (project / "runs").glob("*/report.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        found[told["verb"]] = {k: v for k, v in told["numbers"].items() if not any(word in k for word in timed)}
    return found


def test_a_whole_life(project: Path) -> None:
    done = luodi("run", str(project), "--json")
    assert done.returncode == 0, done.stderr
    told = answer(done)
    assert told["verdict"] == "ACCEPTED"
    assert {"accuracy", "size_mb", "p95_ms"} <= set(told["numbers"])
    assert all({"value", "low", "high", "n", "unit"} == set(number) for number in told["numbers"].values())
    bundle = open_bundle(Path(told["bundle"]))
    assert "train" in bundle.manifest.made_by
    assert len(bundle.golden) == 64
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert "好评还是差评" in page

    began = time.monotonic()
    again = luodi("run", str(project), "--json")
    assert answer(again)["numbers"] == told["numbers"]
    assert time.monotonic() - began < 15

    rows = project / "new.csv"
    rows.write_text("text\n好吃，满意，推荐\n难吃，失望，退货\n", encoding="utf-8")
    predicted = luodi("predict", str(project), str(rows), "--json")
    assert predicted.returncode == 0, predicted.stderr
    with (project / "new.answers.csv").open(encoding="utf-8-sig") as handle:
        assert [row["answer"] for row in csv.DictReader(handle)] == ["好评", "差评"]


def test_a_promise_that_is_not_kept_is_refused(project: Path) -> None:
    done = luodi("evaluate", str(project), "accept.accuracy=>= 0.9999", "train.epochs=1", "train.wide=no")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("evaluate: REFUSED")
    served = luodi("serve", str(project))
    assert served.returncode == 2
    assert "luodi run" in served.stderr


@pytest.mark.parametrize("seconds", [6.0, 11.0])
def test_killed_and_resumed_equals_undisturbed(project: Path, tmp_path: Path, seconds: float) -> None:
    """kill -9 in the middle, the same command again: every number but the timings is that of a quiet run."""
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for name in ("luodi.yaml", "reviews.csv"):
        (quiet / name).write_bytes((project / name).read_bytes())
    words = ("evaluate", str(project))
    broken = subprocess.Popen([sys.executable, "-m", "luodi", *words], stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert luodi(*words).returncode == 0
    assert luodi("evaluate", str(quiet)).returncode == 0
    assert numbers_of(project) == numbers_of(quiet)
    assert not list((project / "runs").glob("*.work"))


def test_two_at_once_are_told(project: Path) -> None:
    first = subprocess.Popen([sys.executable, "-m", "luodi", "train", str(project)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list((project / "runs").glob("train-*.work")) and time.monotonic() < deadline:
            time.sleep(0.1)
        second = luodi("train", str(project))
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert "store.locked" in second.stderr


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["run", "{folder}", "modle=auto"], "config.unknown_key", "model"),
        (["run", "{folder}", "input=txet"], "data.", "text"),
        (["run", "{folder}", "train.epochs=many"], "config.type", "train.epochs"),
        (["run", "{folder}", "accept.acuracy=>= 0.9"], "config.limit", "accuracy"),
        (["run", "{folder}", "model=brt:tiny"], "config.model", "bert"),
        (["run", "{folder}", "task=text_clasification"], "config.task", "text_classification"),
        (["run", "{folder}/nowhere"], "project.folder", "nowhere"),
        (["report", "{folder}"], "report.missing", "luodi run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    project: Path, both_languages: str, words: list[str], code: str, hint: str
) -> None:
    done = luodi(*(word.format(folder=project) for word in words), LUODI_LANG=both_languages)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert code in line
    assert hint in line
    assert "Traceback" not in done.stderr


def test_usage_errors_are_exit_code_2() -> None:
    assert luodi("nonsense").returncode == 2
    assert "compress" in luodi("compres").stderr
    assert luodi("serve", "--port", "x").returncode == 2
    assert luodi("--lang").returncode == 2
    assert luodi("--help").returncode == 0
