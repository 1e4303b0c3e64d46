"""`luodi --help` answers at once: a command line that thinks before it speaks is not used."""

from __future__ import annotations

import json
import subprocess
import sys

LIMIT_S = 0.5
HEAVY = {
    "torch", "transformers", "sklearn", "scipy", "pandas", "onnx", "onnxruntime", "openvino", "nncf", "tokenizers",
    "starlette", "uvicorn", "pyarrow", "jinja2", "datasketch",
}  # fmt: skip
# Processor time of the child, start of Python included; other processes on the machine do not count.
MEASURE = """
import resource, subprocess, sys
times = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "luodi", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
print(min(times))
"""
LOADED = """
import contextlib, io, json, runpy, sys
sys.argv = ["luodi", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    runpy.run_module("luodi", run_name="__main__")
print(json.dumps([said.getvalue(), sorted({m.partition(".")[0] for m in sys.modules})]))
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_fast() -> None:
    """The fastest of five: the others say what else the machine was doing."""
    assert float(run(MEASURE)) < LIMIT_S


def test_help_loads_nothing_heavy() -> None:
    said, modules = json.loads(run(LOADED))
    assert "luodi" in said
    assert "train" in said
    assert set(modules) & HEAVY == set()
