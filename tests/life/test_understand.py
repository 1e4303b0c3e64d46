"""`luodi understand` as a user gives it: a file, a need to a project, a project that runs; and what is wrong usage."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from luodi.core.project import open_project
from shop import answer, luodi
from voices import speak

COUNTS = {"export": 160, "login": 120, "delivery": 140, "battery": 90}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with feedback.csv and what was found in it."""
    folder = tmp_path_factory.mktemp("needs")
    speak(COUNTS).write(folder / "feedback.csv")
    done = luodi("understand", str(folder / "feedback.csv"), "engine=lexical", "--out", str(folder / "needs"), "--json")
    assert done.returncode == 0, done.stderr
    told = answer(done)
    assert told["verdict"] == "DONE"
    assert told["numbers"]["needs"]["value"] == 4
    assert "text = text; time = time; user = user; rating = rating; segments = plan" in done.stderr
    given = f"{folder / 'feedback.csv'} engine=lexical --out {folder / 'needs'}"
    assert told["next"] == f"luodi understand {given} --need 1 --new need-1"
    return folder


def make_project(found: Path, out: Path, *words: str) -> dict[str, object]:
    done = luodi("understand", str(found / "feedback.csv"), "engine=lexical", "--out", str(found / "needs"),
                 "--need", "2", "--new", str(out), "--json", *words)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return answer(done)


def test_a_need_becomes_a_project(found: Path, tmp_path: Path) -> None:
    told = make_project(found, tmp_path / "made")
    assert told["next"] == f"luodi run {tmp_path / 'made'}"
    project = open_project(tmp_path / "made")
    assert (project.brief.task, project.brief.input, project.brief.target) == ("text_classification", "text", "label")
    assert project.brief.group == "user"
    assert "p95_ms" in project.brief.accept
    assert "beats_baseline" not in project.brief.accept  # a simple model tells planted words apart without a fault
    assert "hardly anything left to beat" in " ".join(map(str, told["findings"]))  # type: ignore[call-overload]
    needs = json.loads((found / "needs" / "needs.json").read_text(encoding="utf-8"))["needs"]
    (need,) = [need for need in needs if need["id"] == 2]
    with (tmp_path / "made" / "messages.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    labels = Counter(row["label"] for row in rows)
    name = next(iter(need["names"].values()))
    assert set(labels) == {name, "other"}
    assert labels["other"] == pytest.approx(2 * labels[name], rel=0.05)
    spec = json.loads((tmp_path / "made" / "need.json").read_text(encoding="utf-8"))
    assert spec["rows"]["neighbour"] > 0
    assert spec["model"]["reasons"]
    again = luodi("understand", str(found / "feedback.csv"), "engine=lexical", "--out", str(found / "needs"),
                  "--need", "2", "--new", str(tmp_path / "made"))  # fmt: skip
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_a_small_need_and_one_that_is_not_there(found: Path, tmp_path: Path) -> None:
    done = luodi("understand", str(found / "feedback.csv"), "engine=lexical", "--out", str(found / "needs"),
                 "--need", "99", "--new", str(tmp_path / "no"))  # fmt: skip
    assert done.returncode == 2
    assert "There is no need 99; there are 1 to 4." in done.stderr
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_the_project_of_a_need_runs_to_its_end(found: Path, tmp_path: Path) -> None:
    make_project(found, tmp_path / "made")
    page = yaml.safe_load((tmp_path / "made" / "luodi.yaml").read_text(encoding="utf-8"))
    page |= {"model": "bert:tiny", "budget": "2 min", "train": {"learning_rate": 0.001, "max_length": 32}}
    page["accept"] = {"accuracy": ">= 0.9"}
    (tmp_path / "made" / "luodi.yaml").write_text(yaml.safe_dump(page, allow_unicode=True), encoding="utf-8")
    done = luodi("run", str(tmp_path / "made"), "compress.candidates=[onnx]", "compress.rounds=2", "--json")
    assert done.returncode == 0, done.stderr
    assert answer(done)["numbers"]["accuracy"]["value"] >= 0.9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "There is no file nowhere.csv"),
        (["FILE", "text=spoken"], "has no column spoken"),
        (["FILE", "engine=magic"], "understand.engine is magic"),
        (["FILE", "fewest_user=3"], "Did you mean fewest_users?"),
        (["FILE", "--need", "2"], "belong together"),
        (["FILE", "--need", "two", "--new", "x"], "belong together"),
        (["FILE", "--since", "."], "holds no needs"),
        (["FILE", "seed=-5"], "understand.seed is -5"),
        (["FILE", "segments=plan,chanel"], "has no column chanel"),
        (["FILE", "--out", "FILE"], "is no folder"),
        (["sqlite:///nowhere.db", "query=t"], "There is no file nowhere.db"),
        (["postgresql+nodriver://a:b@c/d"], "cannot be opened"),
    ],
)
def test_wrong_usage_is_one_line(found: Path, tmp_path: Path, words: list[str], said: str) -> None:
    shutil.copy(found / "feedback.csv", tmp_path)
    given = [str(tmp_path / "feedback.csv") if word == "FILE" else word for word in words]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    done = luodi("understand", *given, *out, LUODI_LANG="en")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
