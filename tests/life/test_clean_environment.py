"""What is served needs the serving extra and nothing else: in an environment of its own, without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import venv
from pathlib import Path

import httpx
import pytest

from conftest import miss
from serving import PROGRAM, export_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fresh environment, with what `pip install "luodi[serve]"` brings."""
    folder = tmp_path_factory.mktemp("clean")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{source}[serve]"]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        miss("index", f"pip installs nothing here: {installed.stderr[-300:]}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_bundle_is_served_with_the_serving_extra_alone(
    engine: str, interpreter: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = export_bundle(tiny_bundle, engine, tmp_path / "bundle")
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    listed = subprocess.run([interpreter, "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert not names & {"torch", "transformers", "scikit-learn", "nncf", "onnx"}
    command = [interpreter, "-c", PROGRAM, str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean) as running:
        try:
            assert running.stdout is not None
            url, _, has_torch = running.stdout.readline().strip().partition(" ")
            assert (url[:4], has_torch) == ("http", "False")
            reply = httpx.post(f"{url}/predict", json={"input": "难吃 太差"}, trust_env=False)
            assert reply.json()["output"]["value"] == "差评"
        finally:
            running.kill()
