"""The pages on extending, word by word: what they show is put into files, and what they tell to run is run."""

from __future__ import annotations

import importlib
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import luodi
from handbook import DOCS, blocks_of
from luodi.cli import main
from luodi.core.report import Report, read_report
from luodi.core.task import load_task

QUICK = (
    "train.epochs=4", "train.evaluations=1", "accept.off_by=<= 1.2", "accept.p95_ms=<= 5000",
    "compress.candidates=[onnx]", "compress.rounds=2", "compress.timed=8", "compress.threads=1",
)  # fmt: skip
"""Laid over the page's own project: less training, one export, few timings, and no verdict on how busy a machine is."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reader's folder, on Python's path, with every file that the two pages show."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("tasks.md", "modalities.md"):
        for block in blocks_of(DOCS / "en" / name):
            if block.kind in ("python", "yaml"):
                path = folder / block.title
                path.parent.mkdir(exist_ok=True)
                path.write_text(block.body, encoding="utf-8")
    (folder / "shop_tasks" / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("LUODI_LANG", "en")
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop_tasks"]:
        del sys.modules[name]


def told(page: str, program: str) -> list[list[str]]:
    """The lines of a page's shell blocks that begin with this word."""
    lines = [line for b in blocks_of(DOCS / "en" / page) if b.kind == "sh" for line in b.body.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(f"{program} ")]


def run(script: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def life(place: Path) -> Report:
    """Steps 3 and 4 of the page on tasks."""
    (script,) = told("tasks.md", "python")
    run(script[1])
    command = next(words for words in told("tasks.md", "luodi") if words[1] == "run")
    with redirect_stdout(io.StringIO()) as said:
        assert main([*command[1:], *QUICK, "--json"]) == 0, said.getvalue()
    (report,) = (place / "stars" / "runs").glob("compress-*/report.json")
    assert json.loads(said.getvalue())["verdict"] == "ACCEPTED"
    return read_report(report)


def test_the_task_is_found_by_its_dotted_path(place: Path) -> None:
    task = load_task("shop_tasks.stars")
    assert isinstance(task, luodi.OnePassTask)
    assert importlib.import_module("shop_tasks.stars").__file__ == str(place / "shop_tasks" / "stars.py")


def test_a_task_that_is_not_there_is_one_line(place: Path) -> None:
    for name in ("shop_tasks.moons", "no_such_package.stars"):
        with pytest.raises(luodi.LuodiError, match=f"no module {name}") as caught:
            load_task(name)
        assert caught.value.code == "config.task"


def test_a_task_outside_the_package_goes_through_the_whole_life(place: Path, life: Report) -> None:
    verbs = sorted(path.parent.name.partition("-")[0] for path in (place / "stars" / "runs").glob("*/report.json"))
    assert verbs == ["compress", "evaluate", "prepare", "train"]
    assert life.verdict is luodi.Verdict.ACCEPTED
    assert life.numbers["off_by"].value < 1.2  # always saying 3 stars is off by 1.3
    assert {"p95_ms", "size_mb"} <= set(life.numbers)


def test_results_of_another_version_of_the_task_are_others(place: Path, life: Report) -> None:
    """Else a change of the task would change nothing, in silence."""
    project = luodi.open_project("stars", QUICK)
    before = project.key("train", {}, ("task",))
    source = place / "shop_tasks" / "stars.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "# changed\n", encoding="utf-8")
    assert project.key("train", {}, ("task",)) != before
    source.write_text(text, encoding="utf-8")
    assert project.key("train", {}, ("task",)) == before


def test_its_own_score_is_told_in_its_own_unit(place: Path, life: Report) -> None:
    (path,) = (place / "stars" / "runs").glob("evaluate-*/report.json")
    found = [f for f in read_report(path).findings if "majority" in f]
    assert found
    assert "stars" in found[0]
    assert "points" not in found[0]


def test_it_answers_a_file(place: Path, life: Report) -> None:
    """The last block of step 4, as it stands."""
    (words,) = told("tasks.md", "echo")
    assert words[2] == ">"
    (place / words[3]).write_text(words[1] + "\n", encoding="utf-8")
    command = next(words for words in told("tasks.md", "luodi") if words[1] == "predict")
    with redirect_stdout(io.StringIO()):
        assert main(command[1:]) == 0
    answer = json.loads((place / command[-1]).read_text(encoding="utf-8"))
    assert answer["answer"] in {"1", "2", "3", "4", "5"}
    assert answer["reason"] == ""


def test_the_program_on_the_page_on_python_runs(place: Path, life: Report) -> None:
    block = next(b for b in blocks_of(DOCS / "en" / "python.md") if "import luodi" in b.body)
    overrides = "".join(f", {setting!r}" for setting in QUICK).removeprefix(", ")
    program = block.body.replace('open_project("examples/reviews")', f'open_project("stars", [{overrides}])')
    assert program != block.body
    with redirect_stdout(io.StringIO()) as said:
        exec(compile(program, "python.md", "exec"), {})  # noqa: S102
    lines = said.getvalue().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["prepare", "train", "evaluate", "compress"]
    assert lines[4].startswith("ACCEPTED ") or "None" in lines[4]


def test_the_checks_of_both_pages_hold(place: Path) -> None:
    assert run("check_stars.py") == ""
    assert "a list of two texts" in run("check_titled.py")


def test_a_modality_outside_the_package_reads_a_table(place: Path) -> None:
    (script,) = told("modalities.md", "python")
    run(script[1])
    (command,) = told("modalities.md", "luodi")
    with redirect_stdout(io.StringIO()) as said:
        assert main([*command[1:], "--json"]) == 0, said.getvalue()
    done = json.loads(said.getvalue())
    assert done["numbers"]["rows_kept"]["value"] == 90
    with redirect_stdout(io.StringIO()) as said:
        assert main([*command[1:3], "--json"]) == 1  # without the setting, as the page says
    assert "given away" in said.getvalue()
