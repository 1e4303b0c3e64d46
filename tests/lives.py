"""Whole lives in processes of their own, to be disturbed; and what must be equal in two of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from luodi.core.store import MANIFEST, Store, hash_file
from shop import PAGE, luodi, write_reviews

TIMINGS = frozenset({
    "seconds", "setup_seconds", "published", "at", "training_seconds", "tokens_per_second", "tokens_per_s",
    "seconds_per_step", "cost", "run_seconds", "peak_memory_mb", "energy_wh",
    "p50_ms", "p95_ms", "cpu_ms", "throughput_per_s", "speedup", "speedup_low", "speedup_high",
    "batch_p50_ms", "batch_p95_ms", "memory_mb",
    "p50", "slow",  # the same in the sentence that says what was chosen
})  # fmt: skip
"""Keys whose values are the clock's, or the memory's. Nothing else may differ."""
WITH_TIMINGS = ("report.json", "plan.json", "curves.json", "compressed.json")
PROGRAM = """
import signal, sys
for name in (signal.SIGINT, signal.SIGTERM):  # a test may run where they are ignored
    signal.signal(name, signal.default_int_handler if name == signal.SIGINT else signal.SIG_DFL)
from luodi.cli import main
sys.exit(main())
"""


def make_project(folder: Path, *, candidates: str = "vocabulary", epochs: int = 4) -> Path:
    """300 reviews, bert:tiny. The tiny vocabulary is not trimmed, so that `compress` is quick by default."""
    folder.mkdir(parents=True)
    page = PAGE.replace("epochs: 6", f"epochs: {epochs}") + f"compress:\n  candidates: [{candidates}]\n  rounds: 2\n"
    (folder / "luodi.yaml").write_text(page, encoding="utf-8")
    write_reviews(folder / "reviews.csv", 300)
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet:
    """An undisturbed life. Tests read its project, and copy it before they change anything."""

    project: Path
    told: dict[str, Any]
    seconds: float


@contextlib.contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`luodi` with its words, killed at the end where it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def struck(seconds: float, number: signal.Signals, *words: str) -> tuple[int, str]:
    """Exit code and standard error of a command that gets a signal after so many seconds."""
    with started(*words) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, told = process.communicate(timeout=seconds)
            return process.returncode, told
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
        return process.returncode, told


def wait_for(found: Any, seconds: float = 120) -> Any:
    """What `found()` gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = found()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not seen in {seconds} s")


def undisturbed(project: Path) -> tuple[dict[str, Any], float]:
    """What a whole life tells, and its seconds."""
    began = time.monotonic()
    done = luodi("run", str(project))
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - began
    assert_nothing_half_written(project)
    return told_by(project), seconds


def told_by(project: Path) -> dict[str, Any]:
    """All that the results say, without the timings: identities, plan, curve, scores, answers, weights."""
    found = {result.verb: _told(result.path) for result in Store(project / "runs").results()}
    log = project / "runs" / "test-openings.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return {**found, "openings": [_untimed(json.loads(line)) for line in lines]}


def assert_nothing_half_written(project: Path) -> None:
    """Published results, each whole; the lock, the page, the list of openings; nothing else."""
    runs = project / "runs"
    results = Store(runs).results()
    aside = {".lock", "report.html", "test-openings.jsonl"}
    assert {p.name for p in runs.iterdir()} - aside == {r.name for r in results}
    for result in results:
        files = json.loads((result.path / MANIFEST).read_text(encoding="utf-8"))["files"]
        there = {p.relative_to(result.path).as_posix(): p for p in result.path.rglob("*") if p.is_file()}
        assert not [name for name in there if any(part.startswith(".") for part in Path(name).parts)]
        assert {n: hash_file(p) for n, p in there.items() if n != MANIFEST} == files
        assert (runs / "report.html").stat().st_mtime_ns >= (result.path / MANIFEST).stat().st_mtime_ns


def _told(folder: Path) -> dict[str, Any]:
    manifest = _untimed(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    files = manifest.pop("files")
    told: dict[str, Any] = {"name": folder.name, "manifest": manifest, "files": files}
    for name in files:
        if name in WITH_TIMINGS:
            files[name] = _untimed(json.loads((folder / name).read_text(encoding="utf-8")))
        elif name == "last.safetensors":
            files[name] = _tensors(folder / name)
        elif name == "bundle/bundle.json" and folder.name.startswith("compress"):
            # It holds the times of its measurements, and its seal is a hash of them too.
            files[name] = _untimed({**json.loads((folder / name).read_text(encoding="utf-8")), "seal": ""})
    return told


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if k not in TIMINGS}
    return [_untimed(v) for v in value] if isinstance(value, list) else value


def _tensors(path: Path) -> dict[str, Any]:
    """Of a checkpoint: bytes by name, and its records, which hold seconds."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - no dict
        return {**tensors, "records": _untimed(json.loads(file.metadata()["records"]))}
