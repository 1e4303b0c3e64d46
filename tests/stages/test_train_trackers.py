"""TensorBoard, MLflow and W&B hold what the run measured: each point once, whatever happened on the way."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from broken import cut_at
from luodi.core.bundle import read_manifest
from luodi.core.config import Brief
from luodi.core.project import open_project
from luodi.core.task import load_task
from luodi.errors import ConfigError, ResourceError
from luodi.stages.train import loop
from luodi.stages.train import train as stage
from luodi.stages.train.config import TrainSettings
from shop import PAGE, write_reviews
from tiny import make_dataset

ALL = ("tensorboard", "mlflow", "wandb")
BRIEF = Brief(task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny")
SETTINGS = TrainSettings(
    epochs=2, learning_rate=1e-3, tokens_per_batch=512, max_length=24, evaluations=1, wide=False
)  # fmt: skip
SENT = ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")
Points = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A run that was broken off once, and where its trackers wrote."""

    place: Path
    made: stage.Trained
    said: tuple[str, ...]

    @property
    def points(self) -> Points:
        """What trackers must hold of it."""
        curve, scores = self.made.details["curve"], self.made.details["scores"]
        names = {"loss": "loss", "lr": "learning_rate", "tokens_per_s": "tokens_per_second"}
        ends = {"value": "", "low": "_low", "high": "_high"}
        return {
            **{told: [(p["step"], p[key]) for p in curve] for key, told in names.items()},
            **{f"validation_accuracy{told}": [(p["step"], p[key]) for p in scores] for key, told in ends.items()},
        }


def fit(folder: Path, **changes: Any) -> stage.Trained:
    folder.mkdir(exist_ok=True)
    data = make_dataset()
    settings = replace(SETTINGS, **changes)
    return stage.train(load_task("text_classification"), data.train, data.validation, BRIEF, settings, folder)


def broken_and_gone_on(root: Path) -> Kept:
    """Broken off after points that the checkpoint does not know; one tracker joins when it goes on."""
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in SENT:
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_CACHE_DIR", str(root / "cache"))
        patch.setattr(stage, "CURVE_EVERY", 2)
        said: list[str] = []
        patch.setattr("luodi.stages.train.tracking.say", said.append)
        original = loop.training_steps
        patch.setattr(stage, "training_steps", lambda *a: cut_at(original(*a), 12))
        with pytest.raises(KeyboardInterrupt):
            fit(root / "train-abc", trackers=("tensorboard", "mlflow"))
        patch.setattr(stage, "training_steps", original)
        made = fit(root / "train-abc", trackers=ALL)
    return Kept(made=made, place=root / "tracking", said=tuple(said))


def read_tensorboard(place: Path) -> tuple[Points, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place / "tensorboard" / "train-abc"), size_guidance={"scalars": 0})
    events.Reload()
    points = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return points, events.Tensors("settings")[0].tensor_proto.string_val[0].decode()


def read_mlflow(place: Path) -> tuple[Points, str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(BRIEF.title)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    points = {name: sorted((p.step, p.value) for p in found) for name, found in history.items()}
    return {name.replace("final.", "final/"): found for name, found in points.items()}, str(run.data.params)


def read_wandb(place: Path) -> tuple[Points, str]:
    """W&B has a reader in its server and its uploader alone: the file is a log of LevelDB's form, of its messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = place.glob("wandb/offline-run-*-train-abc/*.wandb")
    points: Points = {}
    config, final = "", {}
    for data in _log_records(file.read_bytes()):
        record = Record.FromString(data)
        config += str(record.run.config) if record.HasField("run") else ""
        row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        for name in row.keys() - {"_step", "_runtime", "_timestamp"}:
            points.setdefault(name, []).append((row["_step"], row[name]))
        final |= {i.key: json.loads(i.value_json) for i in record.summary.update}
        final |= {"/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update if i.nested_key}
    last = max(step for found in points.values() for step, _ in found)
    return points | {k: [(last, v)] for k, v in final.items() if k.startswith("final/")}, config


def _log_records(told: bytes, block: int = 32768) -> Iterator[bytes]:
    place, open_part = 7, b""  # after the file's own head
    while place + 7 <= len(told):
        if block - place % block < 7:  # no room for a head: the block is filled up
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", told, place + 4)
        open_part += told[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield open_part
            open_part = b""


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb}


def test_trackers_hold_each_point_once_and_make_no_other_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one: making what is looked at takes longer than looking."""
    kept = broken_and_gone_on(tmp_path / "tracked")
    for name, read in READERS.items():
        _holds_each_point_once(kept, name, *read(kept.place))
    assert [line.partition(" ")[0] for line in kept.said] == ["tensorboard", "mlflow", *ALL]
    assert [line for line in kept.said if "fails" in line] == []
    assert f'tensorboard --logdir "{kept.place / "tensorboard"}"' in kept.said[0]
    monkeypatch.setattr(stage, "CURVE_EVERY", 2)
    plain = fit(tmp_path / "train-abc", watts=7.0)
    assert read_manifest(plain.bundle).seal == read_manifest(kept.made.bundle).seal
    assert not (tmp_path / "tracking").exists()
    told = json.loads((tmp_path / "train-abc" / "curves.json").read_text(encoding="utf-8"))
    assert (told["curve"], told["scores"]) == (list(plain.details["curve"]), list(plain.details["scores"]))
    assert told["metric"] == "accuracy"


def _holds_each_point_once(kept: Kept, name: str, points: Points, settings: str) -> None:
    for told, wanted in kept.points.items():
        assert [step for step, _ in points[told]] == [step for step, _ in wanted], (name, told)
        if told != "tokens_per_second":  # an interrupted run measures that anew
            assert [v for _, v in points[told]] == pytest.approx([v for _, v in wanted], rel=1e-6), (name, told)
    finals = {k: v for k, v in points.items() if k.startswith("final/")}
    assert finals.keys() == {f"final/{k}" for k in kept.made.numbers}, name
    assert finals["final/parameters"] == [(kept.points["loss"][-1][0], kept.made.numbers["parameters"].value)], name
    assert "plan.seconds_per_step" in settings, name
    assert "train.learning_rate" in settings, name


def test_trackers_make_no_other_result(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 20)
    (tmp_path / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    both = (open_project(tmp_path, told) for told in ((), ("train.trackers=[mlflow, wandb]",)))
    keys = {project.key("train", {}, ("task",)) for project in both}
    assert len(keys) == 1


def test_a_server_that_is_away_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with caplog.at_level("INFO", logger="luodi"):
        made = fit(tmp_path / "run", epochs=1, trackers=("mlflow", "tensorboard"))
    assert made.numbers["parameters"].value > 0
    told = [r.getMessage() for r in caplog.records if "mlflow" in r.getMessage()]
    assert len(told) == 1
    assert "goes on without it" in told[0]
    assert list((tmp_path / "tracking" / "tensorboard").rglob("events*"))


def test_a_package_that_is_missing_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ResourceError) as caught:
        fit(tmp_path / "run", trackers=("tensorboard",))
    assert caught.value.code == "extra.missing"
    assert "luodi[track]" in caught.value.hint
    assert list((tmp_path / "run").iterdir()) == []


def test_an_unknown_tracker_is_told_with_those_there_are(tmp_path: Path, both_languages: str) -> None:
    (tmp_path / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_project(tmp_path, ("train.trackers=[tensorbord]",))
    assert "tensorbord" in caught.value.message
    assert "tensorboard, mlflow, wandb" in caught.value.message


LONELY = """
import json, socket, sys
from pathlib import Path
from luodi.core.tracking import Run

connect, asked = socket.socket.connect, []
def guarded(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        asked.append(str(address))
        raise OSError("no network here")
    return connect(self, address)
socket.socket.connect = guarded
import importlib
for name in ("tensorboard", "mlflow", "wandb"):
    tracker = importlib.import_module(f"luodi.backends.{name}").tracker()
    tracker.begin(Run(name="train-abc", project="shop", folder=Path(sys.argv[1]), settings={"a": 1}))
    tracker.log(1, {"loss": 0.5})
    tracker.end(1, {"accuracy": 0.9})
print(json.dumps(asked))
"""


def test_nothing_leaves_the_machine(tmp_path: Path) -> None:
    """Neither from Python nor from the programs that packages start: those would ask the proxy. They tell their makers
    nothing within a test, so the process must not know that it is in one."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.5)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        hidden = {*SENT, "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "no_proxy", "NO_PROXY"}
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment[name] = address
        environment |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "WANDB_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", LONELY, str(tmp_path / "tracking")], env=environment, cwd=tmp_path,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == []
        with pytest.raises(TimeoutError):
            proxy.accept()
    left = {path.name for path in tmp_path.iterdir()}
    assert "mlruns" not in left
