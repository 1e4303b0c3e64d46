"""OpenVINO and NNCF bring a package that calls home. While a model is compressed with both, nothing leaves the machine:
neither from this process nor from any that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATCH = """
import os, sys

def note(event, told):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["SEEN"], "a", encoding="utf-8") as file:
            print(event, told[1] if event in ("socket.connect", "socket.sendto") else told[0], file=file)

sys.addaudithook(note)
"""
COMPRESS = """
import sys
from dataclasses import replace
from pathlib import Path
from luodi.core.bundle import open_bundle
from luodi.core.contract import parse_contract
from luodi.core.types import Prediction
from luodi.stages.compress.compress import TestSet, compress
from luodi.stages.compress.config import CompressSettings
from tiny import make_dataset

if __name__ == "__main__":
    data, settings = make_dataset(), CompressSettings(
        timed=2, rounds=1, calibration=8, threads=1, candidates=["openvino-int8", "openvino-w8"]
    )
    test = TestSet(examples=data.test, baselines={"majority": [Prediction(value="好评")] * len(data.test)})
    contract = parse_contract({"accuracy": ">= 0.9"}, ["accuracy"])
    parent, folder = (Path(word) for word in sys.argv[1:])
    made = compress(open_bundle(parent), data.train, data.validation, lambda: test, contract, settings, folder)
    names = {row["name"] for row in made.details["candidates"]}
    assert {"openvino-int8", "openvino-w8"} <= names, names
"""
CALLS = """
import subprocess, sys

def call():
    import socket
    with socket.socket() as made:
        made.setblocking(False)
        try:
            made.connect(("192.0.2.1", 80))
        except OSError:
            pass

call() if sys.argv[1:] else subprocess.run([sys.executable, __file__, "child"], check=True)
"""


def watched(folder: Path, program: str, *words: str) -> list[str]:
    """What this program, and all that it starts, wanted from the network, but for this machine's own addresses."""
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    (folder / "program.py").write_text(program, encoding="utf-8")
    home, seen = folder / "home", folder / "seen.txt"
    home.mkdir()
    seen.touch()
    paths = (folder / "watch", ROOT / "src", ROOT / "tests")
    told = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "SEEN": str(seen), "HOME": str(home), "CI": ""}
    done = subprocess.run(
        [sys.executable, folder / "program.py", *words], capture_output=True, text=True, check=False,
        env={**os.environ, **told},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = seen.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not any(own in line for own in ("127.0.0.1", "::1", "localhost", "'/"))]


@pytest.mark.slow
def test_compression_says_nothing_to_anybody(tmp_path: Path, tiny_bundle: Path) -> None:
    # Else there would be nothing to silence. Not whether it can be imported: a process that silenced it says no.
    assert distribution("openvino-telemetry").files
    assert watched(tmp_path, COMPRESS, str(tiny_bundle), str(tmp_path / "made")) == []


@pytest.mark.parametrize("words", [(), ("itself",)], ids=["a child", "itself"])
def test_the_watch_sees_whoever_calls(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert watched(tmp_path, CALLS, *words) == ["socket.connect ('192.0.2.1', 80)"]
