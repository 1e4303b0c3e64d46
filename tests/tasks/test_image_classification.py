"""From a folder of pictures to a served answer; what is recognised, and how pictures are changed in training."""

from __future__ import annotations

import csv
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rows import half_dark

from luodi.backends.pillow import write_jpeg, write_png
from luodi.cli import main
from luodi.core.bundle import open_bundle
from luodi.core.project import open_project
from luodi.core.task import Schema, load_task
from luodi.errors import InputError
from luodi.lifecycle import run
from luodi.modalities.image import Image, Picture
from luodi.predict import predict_file
from luodi.propose import project_path, propose
from luodi.stages.prepare.sources import PICTURES, find_sources
from serving import process

PAGE = """\
task: image_classification
data: pictures
input: picture
target: label
model: vitc:micro
train: {epochs: 6, tokens_per_batch: 64, learning_rate: 0.003}
compress: {candidates: [onnx], threads: 1, timed: 8, rounds: 2}
accept: {accuracy: ">= 0.9"}
"""


def write_pictures(folder: Path, count: int, seed: int = 0) -> None:
    """left/ and right/: half of each picture is dark, some are JPEG."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        label = ("left", "right")[i % 2]
        pixels = half_dark(int(rng.integers(2, 6)), left=label == "left").astype(int)
        noisy = np.clip(pixels + rng.integers(-20, 21, pixels.shape), 0, 255).astype(np.uint8)
        (folder / label).mkdir(parents=True, exist_ok=True)
        is_jpeg = i % 3 == 0
        data = write_jpeg(noisy) if is_jpeg else write_png(noisy)
        (folder / label / f"{i:03}{'.jpg' if is_jpeg else '.png'}").write_bytes(data)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("life") / "project"
    write_pictures(folder / "pictures", 120)
    (folder / "pictures" / "left" / "notes.md").write_text("not a picture")
    (folder / "pictures" / "right" / "999.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lived(project: Path) -> dict[str, Any]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    told: dict[str, Any] = {}
    run(open_project(project), told=lambda report: told.update({report.verb: report}))
    return told


def test_a_whole_life(project: Path, lived: dict[str, Any]) -> None:
    assert lived["prepare"].numbers["dropped.unreadable"].value == 1
    assert lived["prepare"].numbers["rows_kept"].value == 120
    assert lived["evaluate"].numbers["accuracy"].value >= 0.9
    assert lived["evaluate"].numbers["baseline.hog"].value >= 0.9
    assert lived["compress"].verdict == "ACCEPTED"
    bundle = open_bundle(Path(lived["compress"].bundle))
    assert bundle.manifest.processor == "luodi.models.pixels"
    assert all(pair.input.startswith("data:image/") for pair in bundle.golden)


def test_mistakes_are_shown_on_the_page(project: Path, lived: dict[str, Any]) -> None:
    page = (project / "runs" / "report.html").read_text(encoding="utf-8")
    errors = lived["evaluate"].details["errors"]
    assert "img-src data:" in page
    assert all(row["picture"].startswith("data:image/") and row["picture"] in page for row in errors)
    assert all(row["id"].startswith("pictures/") for row in errors)


def test_a_folder_a_table_and_a_picture_are_answered(project: Path, lived: dict[str, Any], tmp_path: Path) -> None:
    bundle = open_bundle(Path(lived["compress"].bundle))
    write_pictures(tmp_path / "new", 12, seed=9)
    predict_file(bundle, tmp_path / "new", tmp_path / "folder.csv")
    with (tmp_path / "folder.csv").open(encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 12
    assert sum(row["answer"] == row["picture"].partition("/")[0] for row in rows) >= 11
    lines = ["picture", *(row["picture"] for row in rows), "../folder.csv.png", "new/none.png"]
    (tmp_path / "new" / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    predict_file(bundle, tmp_path / "new" / "table.csv", tmp_path / "table.jsonl")
    told = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["answer"] for row in told[:12]] == [row["answer"] for row in rows]
    assert all(row["reason"] and row["answer"] is None for row in told[12:])
    alone = next((tmp_path / "new" / "left").iterdir())
    predict_file(bundle, alone, tmp_path / "one.json")
    assert json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))[0]["answer"] == "left"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to be sent")
def test_pictures_are_served_without_torch(lived: dict[str, Any]) -> None:
    wire = Image().encode(Picture(write_png(half_dark(3, left=True))))
    with process(Path(lived["compress"].bundle)) as (running, url, has_torch):
        assert not has_torch
        asked = {"inputs": [wire, wire]}
        reply = httpx.post(f"{url}/predict", json=asked, trust_env=False).json()
        assert [output["value"] for output in reply["outputs"]] == ["left", "left"]
        numbers = half_dark(3, left=False).ravel().tolist()
        reply = httpx.post(f"{url}/predict", json={"input": numbers}, trust_env=False).json()
        assert reply["output"]["value"] == "right"
        for bad in ("pictures/left/000.jpg", wire[:60], 3, [1, 2, 3], {}):
            assert httpx.post(f"{url}/predict", json={"input": bad}, trust_env=False).status_code == 422
        photo = np.random.default_rng(0).integers(0, 256, (1100, 1100, 3), np.uint8)  # noise: 3.6 MB as PNG
        large = Image().encode(Picture(write_png(photo)))
        assert len(large) > 4_000_000
        assert httpx.post(f"{url}/predict", json={"input": large}, trust_env=False, timeout=60).status_code == 200
        given = httpx.get(f"{url}/openapi.json", trust_env=False).json()["components"]["schemas"]["Request"]
        assert given["oneOf"][0]["properties"]["input"]["contentMediaType"] == "image/*"
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


def test_a_folder_of_pictures_is_recognised(project: Path, both_languages: str) -> None:
    found = propose(project / "pictures")
    assert (found.task, found.input, found.target) == ("image_classification", ("picture",), "label")
    assert "picture" in found.notes[0]


def test_folders_called_train_and_test_are_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_pictures(tmp_path / "data" / split, 4)
    sources = find_sources("data", tmp_path)
    assert [(s.split, s.label) for s in sources] == [
        ("test", "left"), ("test", "right"), ("train", "left"), ("train", "right"),
    ]  # fmt: skip
    (tmp_path / "data" / "more").mkdir()
    with pytest.raises(InputError, match="more"):
        find_sources("data", tmp_path)


def recognised(table: dict[str, list[Any]]) -> tuple[tuple[str, ...], str] | None:
    found = type(load_task("image_classification")).recognise(table)
    return (found.input, found.target) if found else None


@pytest.mark.parametrize("place", ["first", "last", "beside"])
@pytest.mark.parametrize("count", [64, 3 * 16])
def test_columns_of_pixels_are_recognised(place: str, count: int) -> None:
    rng = np.random.default_rng(0)
    pixels = {f"p{i}": [str(v) for v in rng.integers(0, 17, 60) * (i % 8 > 0)] for i in range(count)}
    answer = {"kind": [str(i % 3) for i in range(60)]}
    more = {"user": [f"u{i}" for i in range(60)]}
    tables = {"first": {**answer, **pixels}, "last": {**pixels, **answer}, "beside": {**more, **pixels, **answer}}
    assert recognised(tables[place]) == (tuple(pixels), "kind")


def test_other_tables_are_not_taken_for_pictures() -> None:
    rng = np.random.default_rng(0)
    label = {"label": ["a", "b"] * 30}
    assert recognised({"text": [f"say {i} words" for i in range(60)], **label}) is None
    assert recognised({**{f"n{i}": [str(v) for v in rng.integers(0, 9, 60)] for i in range(60)}, **label}) is None
    assert recognised({**{f"n{i}": [str(v) for v in rng.integers(0, 999, 60)] for i in range(64)}, **label}) is None
    assert recognised({"picture": [f"{i}.png" for i in range(60)]}) is None
    assert recognised({"file": [f"a/{i}.JPG" for i in range(60)], **label}) == (("file",), "label")


def test_changes_in_training_follow_their_seed_and_spare_the_item() -> None:
    pixels = np.random.default_rng(0).normal(size=(16, 16, 3)).astype(np.float32)
    item = {"pixel_values": pixels.copy(), "labels": np.array(1)}
    task = load_task("image_classification", Schema(labels=("a", "b")))
    seen = [task.augment(item, np.random.default_rng(seed)) for seed in range(8)]
    again = [task.augment(item, np.random.default_rng(seed)) for seed in range(8)]
    for one, other in zip(seen, again, strict=True):
        np.testing.assert_array_equal(one["pixel_values"], other["pixel_values"])
        assert one["pixel_values"].shape == (16, 16, 3)
        assert one["pixel_values"].dtype == np.float32
        assert one["labels"] == 1
    assert len({one["pixel_values"].tobytes() for one in seen}) == 8
    np.testing.assert_array_equal(item["pixel_values"], pixels)


@pytest.mark.parametrize("mirrors", [True, False])
def test_only_what_may_be_mirrored_is(mirrors: bool) -> None:
    """A ramp from left to right still rises, or falls in about half of the turns."""
    ramp = np.broadcast_to(np.linspace(-1, 1, 16)[None, :, None], (16, 16, 1)).astype(np.float32)
    task = load_task("image_classification", Schema(labels=("a", "b"), mirrors=mirrors))
    turned = 0
    for seed in range(60):
        seen = task.augment({"pixel_values": ramp}, np.random.default_rng(seed))["pixel_values"]
        turned += bool(np.polyfit(np.arange(16), np.median(seen[..., 0], axis=0), 1)[0] < 0)
    assert 15 < turned < 45 if mirrors else turned == 0


def test_a_text_model_reads_no_pictures(tiny_bundle: Path, project: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pictures"):
        predict_file(open_bundle(tiny_bundle), project / "pictures", tmp_path / "out.csv")
    assert set(PICTURES) == set(Image.suffixes)


def test_a_new_project_stands_beside_its_data(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures", 40)
    assert main(["new", "pictures"]) == 0
    assert (tmp_path / "pictures-project" / "luodi.yaml").is_file()
    assert "data: ../pictures" in (tmp_path / "pictures-project" / "luodi.yaml").read_text(encoding="utf-8")
    assert project_path(Path("a/digits.csv.gz")) == Path("digits")
