"""The disk full at any moment: one clear line, exit code 2, and the same command goes on when there is room."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lives import Quiet, assert_nothing_half_written, make_project, started, told_by, undisturbed
from luodi.core.store import Store
from shop import luodi

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on files to be set")
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing further is an error, EFBIG, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from luodi.cli import main
sys.exit(main())
"""


def limited(size: int, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process none of whose files can grow beyond `size` bytes."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *words], capture_output=True, text=True, encoding="utf-8",
        timeout=600, env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment}, check=False,
    )  # fmt: skip


def assert_told(code: int, told: str, folder: Path) -> str:
    """The one line."""
    assert code == 2, told
    line = told.strip().splitlines()[-1]
    assert "[disk.full]" in line
    assert str(folder) in line
    assert "Traceback" not in told
    return line


@pytest.mark.slow
def test_what_does_not_fit_is_told_and_made_later(quiet: Quiet, tmp_path: Path) -> None:
    """Rows, the best weights, the checkpoint, the chosen Bundle: none of them fits at first."""
    project = make_project(tmp_path / "shop")
    runs = project / "runs"
    for verb, size, made in (("prepare", 20_000, 0), ("train", 1_000_000, 1), ("train", 4_000_000, 1)):
        done = limited(size, verb, str(project))
        line = assert_told(done.returncode, done.stderr, runs)
        assert "no file may grow larger there" in line
        assert "runs --clean" in line
        assert len(Store(runs).results()) == made
    assert luodi("evaluate", str(project)).returncode == 0
    done = limited(1_000_000, "run", str(project), LUODI_LANG="zh")
    assert "文件大小已达系统上限" in assert_told(done.returncode, done.stderr, runs)
    assert len(Store(runs).results()) == 3
    assert luodi("run", str(project)).returncode == 0
    assert told_by(project) == quiet.told
    assert_nothing_half_written(project)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "luodi-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here; test_what_does_not_fit_is_told_and_made_later does without")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.long
def test_a_disk_that_fills_up_at_ten_moments(small_disk: Path, tmp_path: Path) -> None:
    told, seconds = undisturbed(make_project(tmp_path / "shop", candidates="onnx"))
    moments = random.Random(10)
    codes = []
    for turn in range(10):
        project = make_project(small_disk / f"shop{turn}", candidates="onnx")
        with started("run", str(project)) as process:
            time.sleep(seconds * (turn + moments.random()) / 10)
            fill(small_disk / "filler")
            _, said = process.communicate(timeout=300)
        codes.append(process.returncode)
        if process.returncode:
            assert_told(process.returncode, said, project / "runs")
        (small_disk / "filler").unlink()
        done = luodi("run", str(project))
        assert done.returncode == 0, done.stderr
        assert told_by(project) == told
        assert_nothing_half_written(project)
        shutil.rmtree(project)
    assert codes.count(2) >= 5, "the disk was to be full before the end"


def fill(path: Path) -> None:
    """To the last byte."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as handle:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    handle.write(bytes(size))
