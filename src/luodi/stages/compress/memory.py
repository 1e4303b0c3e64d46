"""How much memory a Bundle takes to answer: asked of a process of its own, which has held nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle, open_bundle

_STATUS = Path("/proc/self/status")
PATIENCE_S = 300


def peak_memory_mb(bundle: Bundle[Any, Any], inputs: Sequence[Any], threads: int) -> float | None:
    """From opening it to its answers to these inputs, one by one. None where the system does not tell (Linux does)."""
    if not _STATUS.is_file():
        return None
    wire = json.dumps([bundle.task.input.encode(value) for value in inputs])
    words = [sys.executable, "-m", __name__, str(bundle.path.resolve()), str(threads)]
    done = subprocess.run(words, input=wire, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return float(done.stdout.split()[-1])


def main(folder: str, threads: str) -> None:
    bundle: Bundle[Any, Any] = open_bundle(Path(folder), threads=int(threads), replay=False)
    for value in json.load(sys.stdin):
        bundle.predict([bundle.task.input.decode(value)])
    # Not getrusage: that counts what the parent held before this program took its place.
    line = next(row for row in _STATUS.read_text().splitlines() if row.startswith("VmHWM:"))
    sys.stdout.write(f"{int(line.split()[1]) * 1024 / 1e6}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
