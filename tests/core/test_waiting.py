"""Threads of one operator do not count to 300,000 while they wait for each other, unless somebody wants them to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux")
@pytest.mark.parametrize(
    ("said", "heard"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_openmp_hears_how_long_to_wait(said: dict[str, str], heard: str) -> None:
    """Its own word, told as it is loaded with torch."""
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import luodi, torch; torch.ones(2).sum()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**plain, "OMP_DISPLAY_ENV": "VERBOSE", **said}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert told
    assert all(f"'{heard}'" in line for line in told), told
