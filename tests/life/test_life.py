"""One tiny life as a user lives it: by the command line, from a file to a compressed Bundle that others use."""

from __future__ import annotations

import csv
import shutil
import signal
import time
from pathlib import Path

import pytest

from lives import Quiet, started, told_by, wait_for
from luodi.core.bundle import open_bundle
from luodi.core.store import Store
from shop import PAGE, afresh, answer, luodi, write_reviews


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    write_reviews(folder / "reviews.csv", 500)
    return folder


@pytest.mark.slow
def test_a_whole_life(project: Path) -> None:
    """With all candidates; what the others here read was lived with one."""
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
    done = afresh("evaluate", str(project), "accept.accuracy=>= 0.9999", "train.epochs=1", "train.wide=no")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("evaluate: REFUSED")
    served = luodi("serve", str(project))
    assert served.returncode == 2
    assert "luodi run" in served.stderr


def test_the_second_of_two_at_once_is_told_who_is_first(project: Path, both_languages: str) -> None:
    with started("run", str(project)) as first:
        wait_for(lambda: list((project / "runs").glob("train-*.work")))
        second = luodi("train", str(project))
        assert second.returncode == 2
        line = second.stderr.strip().splitlines()[-1]
        assert "[store.locked]" in line
        words = {"en": f"run, process {first.pid}, since 20", "zh": f"run，进程 {first.pid}，自 20"}
        assert words[both_languages] in line
        # Who only reads what is there already is not kept waiting.
        assert luodi("prepare", str(project)).returncode == 0
        assert luodi("runs", str(project)).returncode == 0


def test_a_bundle_and_a_report_keep_working_elsewhere(quiet: Quiet, tmp_path: Path) -> None:
    compressed = Store(quiet.project / "runs").latest("compress")
    assert compressed
    shutil.copytree(compressed.path / "bundle", tmp_path / "model")
    shutil.copy(quiet.project / "runs" / "report.html", tmp_path / "report.html")
    shutil.copytree(quiet.project, tmp_path / "moved")
    rows = tmp_path / "new.csv"
    rows.write_text("text\n好吃，满意，推荐\n难吃，失望，退货\n", encoding="utf-8")
    for place in (tmp_path / "model", tmp_path / "moved"):
        assert luodi("predict", str(place), str(rows)).returncode == 0
        with (tmp_path / "new.answers.csv").open(encoding="utf-8-sig") as handle:
            assert [row["answer"] for row in csv.DictReader(handle)] == ["好评", "差评"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert str(quiet.project) not in page
    assert told_by(tmp_path / "moved") == quiet.told
    again = answer(luodi("run", str(tmp_path / "moved"), "--json"))
    assert again["seconds"] < 10, "nothing is made anew in another place"
    assert again["bundle"].startswith(str(tmp_path / "moved"))


def test_what_is_served_is_not_removed(quiet: Quiet, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    shutil.copytree(quiet.project, project)
    name = answer(luodi("runs", str(project), "--json"))["details"]["results"][-1]["name"]
    with started("serve", str(project), "--port", "0") as service:
        assert service.stderr
        while "Ready" not in service.stderr.readline():
            assert service.poll() is None
        row = answer(luodi("runs", str(project), "--json"))["details"]["results"][-1]
        assert (row["name"], row["served_by"]) == (name, service.pid)
        done = luodi("runs", str(project), "--remove", name)
        assert done.returncode == 2
        assert f"the service of process {service.pid}" in done.stderr
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    assert answer(luodi("runs", str(project), "--json"))["details"]["results"][-1]["served_by"] is None


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
