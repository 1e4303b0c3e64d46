"""Bundle to Bundle: what is made, what is refused, and what a run that was killed keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luodi.core.bundle import Bundle, open_bundle, read_manifest
from luodi.core.contract import State, parse_contract
from luodi.core.machine import Cpu, read_cpu
from luodi.core.types import Dataset, Prediction
from luodi.errors import ConfigError
from luodi.stages.compress import candidates
from luodi.stages.compress.candidates import make_all
from luodi.stages.compress.compress import Compressed, TestSet, compress
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.workshop import Workshop, items_of

Data = Dataset[str, str]
QUICK = CompressSettings(timed=6, rounds=2, calibration=10, threads=1)
ONNX = replace(QUICK, candidates=["onnx-int8"])
CONTRACT = parse_contract(
    {"accuracy": ">= 0.9", "beats_baseline": True, "p95_ms": "<= 10000", "size_mb": "<= 50"}, ["accuracy"]
)


def opener(data: Data) -> Callable[[], TestSet[str, str]]:
    baseline = [Prediction(value="好评")] * len(data.test)
    return lambda: TestSet(examples=data.test, baselines={"majority": baseline})


def never() -> TestSet[str, str]:
    raise AssertionError("the test set was opened again")


def run(folder: Path, bundle: Path, data: Data, settings: CompressSettings) -> Compressed:
    parent = open_bundle(bundle, threads=1)
    return compress(parent, data.train, data.validation, opener(data), CONTRACT, settings, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, tiny_dataset: Data) -> tuple[Path, Compressed]:
    """All candidates, once for this file."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, tiny_bundle, tiny_dataset, replace(QUICK, vocabulary=60, price_per_hour=0.36))


def test_every_candidate_of_this_machine_is_measured(whole: tuple[Path, Compressed]) -> None:
    _, result = whole
    told = result.details
    names = {row["name"] for row in told["candidates"]} | {row["name"] for row in told["not_tried"]}
    assert names == {step.name for step in candidates.STEPS}
    assert told["failed"] == []
    for row in (told["reference"], *told["candidates"]):
        assert row["size_mb"] > 0
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["throughput_per_s"] > 0
        if not row["refused"]:  # a million answers at so many a second, and 0.0001 a second
            assert row["cost_per_million"] == pytest.approx(100 / row["throughput_per_s"])
        assert row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"]
    assert told["reference"]["speedup"] == 1.0
    assert json.loads(json.dumps(told)) == told


def test_the_chosen_one_is_a_whole_bundle_with_its_history(
    whole: tuple[Path, Compressed], tiny_bundle: Path, tiny_dataset: Data
) -> None:
    folder, result = whole
    parent, made = read_manifest(tiny_bundle), open_bundle(folder / "bundle", threads=1)
    assert result.chosen != "trained"
    assert made.manifest.made_by[0] == "train"
    assert made.manifest.made_by[-1] == result.chosen
    assert parent.seal in made.manifest.parents
    assert [p.input for p in made.golden] == [p.input for p in open_bundle(tiny_bundle).golden]
    assert made.manifest.numbers["accuracy"].n == len(tiny_dataset.test)
    assert [row["name"] for row in result.details["candidates"] if row["chosen"]] == [result.chosen]


def test_its_numbers_answer_every_limit(whole: tuple[Path, Compressed]) -> None:
    _, result = whole
    assert {j.state for j in CONTRACT.judge("compress", result.numbers)} == {State.KEPT}
    assert result.numbers["speedup"].low <= result.numbers["speedup"].value


def test_a_rerun_finds_the_result_and_leaves_the_test_set_closed(
    whole: tuple[Path, Compressed], tiny_bundle: Path, tiny_dataset: Data
) -> None:
    folder, result = whole
    parent = open_bundle(tiny_bundle)
    assert compress(parent, [], tiny_dataset.validation, never, CONTRACT, QUICK, folder) == result
    assert not (folder / "candidates").exists()


def test_the_chosen_one_answers_without_torch(whole: tuple[Path, Compressed]) -> None:
    folder, _ = whole
    code = (
        "import sys; from pathlib import Path; from luodi.core.bundle import open_bundle;"
        "b = open_bundle(Path(sys.argv[1]), threads=1); print(b.predict(['很满意 great 不错'])[0].value);"
        "assert not {'torch', 'transformers', 'openvino_telemetry.main'} & set(sys.modules), 'torch was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "bundle")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "好评"


def test_what_was_compressed_is_not_compressed_again(
    whole: tuple[Path, Compressed], tmp_path: Path, tiny_dataset: Data
) -> None:
    result = run(tmp_path, whole[0] / "bundle", tiny_dataset, QUICK)
    assert result.chosen == "trained"
    assert all(row["reason"] for row in result.details["not_tried"])
    assert result.details["failed"] == []


def test_findings_say_once_for_each_reason_what_was_not_tried(whole: tuple[Path, Compressed]) -> None:
    _, result = whole
    if not read_cpu().has_bf16:
        assert any("openvino-bf16" in line and "bf16" in line for line in result.findings)
    assert result.findings[0].startswith(result.chosen)
    told = [line for line in result.findings if line.startswith("Not tried: ")]
    assert len(told) == len({row["reason"] for row in result.details["not_tried"]})
    (students,) = (line for line in told if "distilled" in line)
    assert students.startswith("Not tried: distilled, pruned, low-rank. A smaller network was not asked for")
    reasons = {row["name"]: row["reason"] for row in result.details["not_tried"]}
    assert reasons["distilled-onnx-int8"] == reasons["distilled"]


# --- making ----------------------------------------------------------------------------------------------------------


def workshop(folder: Path, bundle: Path, data: Data, settings: CompressSettings) -> Workshop:
    cpu = Cpu(name="any", flags=frozenset({"avx2"}))
    trained: Bundle[Any, Any] = open_bundle(bundle, threads=1)
    folder.mkdir(exist_ok=True)
    return Workshop(
        trained=trained, training=data.train, validation=data.validation, settings=settings, cpu=cpu, folder=folder,
        threads=1,
    )  # fmt: skip


def test_int8_is_calibrated_on_nothing_that_it_is_scored_on(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data
) -> None:
    place = workshop(tmp_path / "c", tiny_bundle, tiny_dataset, QUICK)
    assert len(place.validation) > 0
    assert len(items_of(place.trained, place, 10**6)) == len(tiny_dataset.train)


def test_what_a_killed_run_finished_is_kept_and_the_rest_made_anew(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data
) -> None:
    """`onnx` is there whole, `onnx-int8` was killed in the middle. Then a bit of `onnx` is altered."""
    first = make_all(workshop(tmp_path / "c", tiny_bundle, tiny_dataset, ONNX))
    written = (tmp_path / "c" / "onnx" / "bundle.json").stat().st_mtime_ns
    half = tmp_path / "c" / "onnx-int8.work"
    os.rename(tmp_path / "c" / "onnx-int8", half)
    (half / "rubbish.bin").write_bytes(b"half a file")
    second = make_all(workshop(tmp_path / "c", tiny_bundle, tiny_dataset, ONNX))
    assert (tmp_path / "c" / "onnx" / "bundle.json").stat().st_mtime_ns == written
    assert second.bundles["onnx-int8"].identity == first.bundles["onnx-int8"].identity
    assert not half.exists()
    (tmp_path / "c" / "onnx" / "golden.json").write_bytes((tiny_bundle / "golden.json").read_bytes() + b" ")
    third = make_all(workshop(tmp_path / "c", tiny_bundle, tiny_dataset, ONNX))
    assert "not as it was sealed" in third.failed["onnx"]
    assert "onnx-int8" in third.not_tried


def test_a_missing_package_is_a_line_and_not_an_error(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tuple(replace(step, packages=("package_that_is_not_there",)) for step in candidates.STEPS)
    monkeypatch.setattr(candidates, "STEPS", steps)
    made = make_all(workshop(tmp_path / "c", tiny_bundle, tiny_dataset, QUICK))
    assert set(made.bundles) == {"trained"}
    for step in steps:
        why = "made only where it is asked for" if step.for_others else "package_that_is_not_there"
        assert why in made.not_tried[step.name]


def test_bf16_is_tried_where_the_processor_has_it(tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data) -> None:
    settings = replace(QUICK, candidates=["openvino-bf16"])
    able = Cpu(name="able", flags=frozenset({"amx_bf16"}))
    place = replace(workshop(tmp_path / "c", tiny_bundle, tiny_dataset, settings), cpu=able)
    made = make_all(place)
    assert made.failed == {}
    assert made.bundles["openvino-bf16"].manifest.network["precision"] == "bf16"
    assert made.bundles["openvino-bf16"].size_bytes < made.bundles["openvino"].size_bytes


def test_where_all_fail_the_trained_one_stays_and_it_is_said(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> dict[str, Any]:
        raise RuntimeError("no such operator\nwith a long story")

    steps = tuple(replace(step, packages=(), write=breaks) for step in candidates.STEPS)
    monkeypatch.setattr(candidates, "STEPS", steps)
    result = run(tmp_path, tiny_bundle, tiny_dataset, QUICK)
    assert result.chosen == "trained"
    assert "stays as it is" in result.findings[0]
    assert any("RuntimeError: no such operator" in line and "long story" not in line for line in result.findings)
    assert open_bundle(tmp_path / "bundle").manifest.engine == "luodi.models.engine"


def test_a_lossless_step_that_changes_answers_is_refused(
    tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head written with its rows swapped: every tensor is there, every answer is the wrong one."""

    def swapped(source: Bundle[Any, Any], _: Workshop, draft: Path) -> Any:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(source.path / "weights" / "model.safetensors")
        tensors["head.weight"] = tensors["head.weight"][::-1].copy()
        (draft / "weights").mkdir()
        save_file(tensors, draft / "weights" / "model.safetensors")
        return source.manifest.network

    step = replace(candidates.STEPS[0], write=swapped, obstacle=lambda _: "")
    monkeypatch.setattr(candidates, "STEPS", (step,))
    made = make_all(workshop(tmp_path / "c", tiny_bundle, tiny_dataset, QUICK))
    assert set(made.bundles) == {"trained"}
    assert "does not answer as it was tested" in made.failed["vocabulary"]


def test_unknown_candidate(tmp_path: Path, tiny_bundle: Path, tiny_dataset: Data) -> None:
    with pytest.raises(ConfigError, match="onnx-int8"):
        run(tmp_path, tiny_bundle, tiny_dataset, replace(QUICK, candidates=["onnx-int9"]))


def test_processor_flags(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor : 0\nmodel name : Fast 9000\nflags : fpu avx512_vnni avx512_bf16\n", encoding="utf-8")
    cpu = read_cpu(told)
    assert (cpu.name, cpu.has_bf16, cpu.has_vnni) == ("Fast 9000", True, True)
    assert not read_cpu(tmp_path / "none").has_bf16
    assert not Cpu(name="", flags=frozenset({"avx2"})).has_vnni
