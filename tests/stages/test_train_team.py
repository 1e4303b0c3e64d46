"""Several processes that learn one network: the same recipe and losses, and nothing lost when they are stopped."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import luodi
from broken import untimed
from cramped import ROOM, SINCE, Cramped
from luodi.core.config import Brief
from luodi.core.task import Task, load_task
from luodi.errors import ConfigError, DataError, ResourceError
from luodi.stages.train import train as stage
from luodi.stages.train.checkpoints import BEST, LAST, read_records
from luodi.stages.train.config import TrainSettings, check
from luodi.stages.train.plan import PLAN, Plan
from luodi.stages.train.team import ALONE, Team
from luodi.stages.train.together import CROWDED, MOST
from luodi.stages.train.train import CURVES
from shop import PAGE, write_reviews
from tiny import make_dataset

TASK = load_task("text_classification")
BRIEF = Brief(task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny")
SETTINGS = TrainSettings(epochs=1, tokens_per_batch=128, max_length=24, wide=False, precision="float32")
"""In bfloat16, which a processor that has it would take, sums over other parts of a batch are other numbers."""
DATA = make_dataset()
HERE = Path(__file__).parent
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
LAUNCH = (*TORCHRUN, "-m", "luodi")
HALVED = "Memory does not suffice for 2 examples at once: the batch is halved."


def learn(folder: Path, task: Task[Any, Any] = TASK, **changes: Any) -> stage.Trained:
    folder.mkdir(exist_ok=True)
    settings = dataclasses.replace(SETTINGS, **changes)
    return stage.train(task, DATA.train, DATA.validation, BRIEF, settings, folder)


def assert_same(one: Path, other: Path) -> None:
    """Losses, scores and weights of two finished runs."""
    a, b = (read_records(folder / LAST) for folder in (one, other))
    assert [p.step for p in a.curve] == [p.step for p in b.curve]
    assert [p.loss for p in a.curve] == pytest.approx([p.loss for p in b.curve], rel=1e-5)
    assert [(p.step, p.value) for p in a.scores] == [(p.step, p.value) for p in b.scores]
    weights, others = (load_file(folder / "bundle" / "weights" / "model.safetensors") for folder in (one, other))
    # All of them as one vector: a sign (lion) or a quotient (Adam) makes a step of what is a rounding in a single
    # gradient, and those of the keys' biases are nothing but rounding, since the softmax does not see them.
    away = [np.linalg.norm(others[name] - weight) for name, weight in weights.items()]
    assert np.linalg.norm(away) < 1e-3 * np.linalg.norm([np.linalg.norm(weight) for weight in weights.values()])


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Batches of 5 in two steps at a time: no member has as many as the other, and one step is left over."""
    learn(tmp_path / "one", accumulate=2)
    learn(tmp_path / "two", accumulate=2, workers=2)
    assert_same(tmp_path / "one", tmp_path / "two")
    plan = msgspec.json.decode((tmp_path / "two" / PLAN).read_bytes(), type=Plan)
    assert (plan.workers, plan.threads) == (2, max(1, torch.get_num_threads() // 2))
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [BEST, "bundle", CURVES, LAST, PLAN]


def test_every_example_of_a_batch_is_the_share_of_one_member() -> None:
    team = Team(rank=1, size=3)
    parts = team.shares([[0, 1, 2, 3, 4], [5]])
    assert parts == [[0, 3], [1, 4], [2], [5], [], []]
    assert ALONE.shares([[1, 2], [3]]) == [[1, 2], [3]]
    cramped = dataclasses.replace(team, most=1)
    assert cramped.shares([[0, 1, 2, 3, 4], [5]]) == [[0], [1], [2], [3], [4], [], [5], [], []]
    assert ALONE.summed([1.5]) == [1.5]
    assert ALONE.any(True, False) == [True, False]


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"workers": 0}, "config.range"), ({"sharding": "full", "optimizer": "muon"}, "train.sharding")],
)
def test_what_no_team_can_do_is_refused_at_once(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as told:
        check(dataclasses.replace(SETTINGS, **changes), TASK)
    assert told.value.code == code


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "since"), [("none", LAST), ("none", ".."), ("full", LAST)])
def test_want_of_memory_of_one_member_halves_the_batch_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sharding: str, since: str
) -> None:
    """In the first measured steps, or after a checkpoint, from which all go on; then the losses of one process."""
    monkeypatch.setenv(ROOM, "1")
    monkeypatch.setenv(SINCE, str(tmp_path / "two" / since))
    learn(tmp_path / "one", tokens_per_batch=96, evaluations=4)
    with caplog.at_level("INFO", logger="luodi"):
        learn(tmp_path / "two", Cramped(), tokens_per_batch=96, workers=2, sharding=sharding, evaluations=4)
    told = [r.getMessage() for r in caplog.records]
    assert [t for t in told if "halved" in t] == [HALVED]
    assert any(t.startswith("Going on from step") for t in told) is (since == LAST)
    assert_same(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / MOST).read_text() == "1"
    assert not (tmp_path / "two" / CROWDED).exists()


@pytest.mark.slow
def test_want_of_memory_for_one_example_of_a_member_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOM, "0")
    monkeypatch.setenv(SINCE, str(tmp_path))
    with pytest.raises(ResourceError) as told:
        learn(tmp_path / "run", Cramped(), tokens_per_batch=48, workers=2)
    assert told.value.code == "train.memory"


@pytest.mark.slow
def test_a_member_s_error_is_the_run_s_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a number") as told:
        learn(tmp_path / "run", learning_rate=1e30, clip=0.0, workers=2)
    assert told.value.code == "train.nan"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.9}, {"average": 2, "optimizer": "lion"}, {"checkpointing": True, "accumulate": 3}]
)
def test_sharded_weights_learn_what_whole_ones_do(tmp_path: Path, changes: dict[str, Any]) -> None:
    learn(tmp_path / "one", **changes)
    learn(tmp_path / "two", workers=2, sharding="full", **changes)
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray keeps a session and a token where it is told to; socket paths may not be long."""
    folder = tempfile.mkdtemp(prefix="ray-")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("HOME", folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")  # Ray's
@pytest.mark.usefixtures("cluster")
def test_a_ray_cluster_learns_what_one_process_does(tmp_path: Path) -> None:
    learn(tmp_path / "one")
    learn(tmp_path / "two", workers=2, cluster="ray")
    assert_same(tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "two" / "ray").exists()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_a_team_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, sharding: str) -> None:
    settings = [f"train.sharding={sharding}", "train.workers=2", "train.epochs=2", "train.dropout=0.1"]
    curves = [_curve(tmp_path / "whole", settings, stop=False), _curve(tmp_path / "cut", settings, stop=True)]
    assert curves[0] == curves[1]
    assert all(math.isfinite(point["loss"]) for point in curves[0])


@pytest.mark.slow
def test_processes_that_torchrun_starts_learn_what_one_does(tmp_path: Path) -> None:
    """The first one runs all of the command; one that is stopped goes on to the same end."""
    settings = ["train.epochs=2", "train.dropout=0", "train.precision=float32"]
    one = _curve(tmp_path / "one", settings, stop=False)
    for name, stop in (("whole", False), ("cut", True)):
        found = _curve(tmp_path / name, settings, stop=stop, start=LAUNCH)
        assert [point["step"] for point in found] == [point["step"] for point in one]
        assert [point["loss"] for point in found] == pytest.approx([point["loss"] for point in one], rel=1e-4)
    (plan,) = (tmp_path / "whole").glob(f"runs/**/{PLAN}")
    assert msgspec.json.decode(plan.read_bytes(), type=Plan).workers == 2


@pytest.mark.slow
def test_what_torchrun_starts_is_refused_in_one_line_where_the_page_says_otherwise(tmp_path: Path) -> None:
    project = _project(tmp_path / "shop")
    command = [*LAUNCH, "train", str(project), "train.workers=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = [line for line in done.stderr.splitlines() if line.startswith("luodi train:")]
    assert told == [
        "luodi train: 2 processes were started to learn together; train.workers or train.cluster says otherwise. "
        "Leave train.workers and train.cluster out. [config.workers]"
    ]
    assert done.returncode
    done = subprocess.run([*LAUNCH, "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"luodi {luodi.__version__}\n")


@pytest.mark.slow
def test_torchrun_starts_all_anew_where_one_lacks_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOM, "1")
    monkeypatch.setenv(SINCE, str(tmp_path / "two" / LAST))
    learn(tmp_path / "one", tokens_per_batch=96, evaluations=4)
    # Without it those that come back meet the addresses of before (pytorch/pytorch#135712).
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    command = [*TORCHRUN, "--max-restarts", "1", str(HERE.parent / "launch.py"), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / MOST).read_text() == "1"


def _project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    write_reviews(folder / "reviews.csv", 400)
    return folder


def _curve(
    project: Path, settings: list[str], *, stop: bool, start: Sequence[str] = (sys.executable, "-m", "luodi")
) -> list[dict[str, float]]:  # fmt: skip
    command = [*start, "train", str(_project(project)), *settings]
    if stop:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not any(LAST in path.name for path in project.glob("runs/**/*")):  # written after a score
                assert process.poll() is None
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(120) == (1 if start is LAUNCH else 128 + signal.SIGTERM)
        (last,) = project.glob(f"runs/**/{LAST}")
        assert not read_records(last).stopped
    subprocess.run(command, check=True, capture_output=True)
    (report,) = (path for path in project.glob("runs/**/report.json") if "train" in path.parent.name)
    told = msgspec.json.decode(report.read_bytes())
    return [untimed(point) for point in told["details"]["curve"]]
