"""What training costs: told before the first step, and measured after the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from luodi.core import machine
from luodi.errors import ResourceError
from shop import answer, luodi, write_reviews

PAGE = """\
goal: 评论
task: text_classification
data: reviews.csv
input: text
target: label
model: bert:tiny
train:
  watts: 36
  price_per_hour: 360
  epochs: 1
  max_length: 32
accept:
  accuracy: ">= 0.1"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_reviews(tmp_path / "reviews.csv", 200)
    (tmp_path / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    return tmp_path


def test_the_estimate_only_says_and_training_goes_on_with_its_plan(project: Path) -> None:
    told = answer(luodi("train", str(project), "--estimate", "--json"))
    numbers = told["numbers"]
    assert numbers["energy_wh"]["value"] == pytest.approx(36 * numbers["run_seconds"]["value"] / 3600)
    assert numbers["money"]["value"] == pytest.approx(360 * numbers["run_seconds"]["value"] / 3600)
    assert numbers["peak_memory_mb"]["value"] > 50
    (draft,) = (project / "runs").glob("train-*")
    plan = (draft / "plan.json").read_bytes()
    assert draft.suffix == ".work"
    done = luodi("train", str(project), "--json")
    assert done.returncode == 0, done.stderr
    (folder,) = (project / "runs").glob("train-*")
    assert (folder / "plan.json").read_bytes() == plan
    cost = answer(done)["details"]["cost"]
    assert 0 < cost["paid"]["seconds"] < 20 * cost["expected"]["seconds"]
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert 0.9 * held < cost["paid"]["disk_bytes"] < cost["expected"]["disk_bytes"]
    dearer = answer(luodi("train", str(project), "train.price_per_hour=400", "--json"))
    assert dearer["details"]["cost"] == cost, "another price is no other result"
    assert luodi("train", str(project), "--estimate", LUODI_LANG="en").stdout.count("is over") == 1


def test_free_memory_is_the_least_of_what_machine_and_container_leave(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert machine.free_memory(meminfo, tmp_path) is None
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")
    assert machine.free_memory(meminfo, tmp_path) == 4_096_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.free_memory(meminfo, tmp_path) == 4_096_000
    (tmp_path / "memory.max").write_text("3000\n")
    assert machine.free_memory(meminfo, tmp_path) == 2000


def test_what_cannot_fit_is_refused_before_the_first_step(both_languages: str) -> None:
    free = machine.free_memory()
    if free is None:
        pytest.skip("this system does not tell its free memory")
    machine.need_memory(1000)
    with pytest.raises(ResourceError) as caught:
        machine.need_memory(1000 * free)
    assert caught.value.code == "memory.full"
    assert caught.value.exit_code == 2
