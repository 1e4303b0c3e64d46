"""A real service on a free port of the loopback, in a thread of the test; and engines that can be held up."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from luodi.core.bundle import Bundle, open_bundle, seal_bundle
from luodi.core.task import Engine
from luodi.core.types import Batch
from luodi.stages.serve import serve as module
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.serve import Service

WAIT_S = 30.0
PROGRAM = """
import sys
from pathlib import Path
from luodi.errors import LuodiError
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.serve import serve

def ready(url):
    print(url, "torch" in sys.modules, flush=True)

try:
    serve(Path(sys.argv[1]), ServeSettings(port=0), on_ready=ready)
except LuodiError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@dataclass
class Served:
    """One running service."""

    url: str
    service: Service
    thread: threading.Thread
    client: httpx.Client

    def ask(self, *inputs: Any) -> httpx.Response:
        body = {"input": inputs[0]} if len(inputs) == 1 else {"inputs": list(inputs)}
        return self.client.post("/predict", json=body)

    def stop(self) -> None:
        self.service.stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@contextmanager
def served(folder: Path, settings: ServeSettings) -> Iterator[Served]:
    """Ready. Raises what the service raises."""
    urls: list[str] = []
    errors: list[BaseException] = []
    told = threading.Event()
    service = Service(folder, replace(settings, port=0), on_ready=lambda url: (urls.append(url), told.set())[0])

    def run() -> None:
        try:
            service.run()
        except BaseException as error:
            errors.append(error)
        finally:
            told.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert told.wait(WAIT_S)
    if errors:
        raise errors[0]
    with httpx.Client(base_url=urls[0], trust_env=False, timeout=WAIT_S) as client:
        running = Served(urls[0], service, thread, client)
        try:
            yield running
        finally:
            running.stop()
    if errors:
        raise errors[0]


@dataclass
class Gate:
    """The real engine behind a gate: tests see each batch come, and choose when and how it passes."""

    engine: Engine
    is_open: threading.Event = field(default_factory=threading.Event)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    sizes: list[int] = field(default_factory=list)
    spoil: Callable[[Batch, Mapping[str, np.ndarray[Any, Any]]], Mapping[str, np.ndarray[Any, Any]]] | None = None

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        self.sizes.append(len(batch["input_ids"]))
        self.came.release()
        assert self.is_open.wait(WAIT_S)
        outputs = self.engine.run(batch)
        return outputs if self.spoil is None else self.spoil(batch, outputs)

    def close(self) -> None:
        """From here on batches wait; what has come so far is forgotten."""
        self.is_open.clear()
        while self.came.acquire(blocking=False):
            pass
        self.sizes.clear()

    def wait_for_batch(self) -> None:
        assert self.came.acquire(timeout=WAIT_S)


def export_bundle(source: Path, backend: str, folder: Path) -> Path:
    """The Bundle for another engine, `onnx` or `openvino`, with the same goldens."""
    from luodi.models.tracing import output_names, trace

    bundle = open_bundle(source)
    texts = ["好吃 不错 great 很满意 喜欢", "难吃", "太差 terrible"]
    longer = ["好吃 不错 great 很满意 喜欢 很满意", "难吃", "太差 terrible"]
    batch, other = (
        bundle.task.collate(bundle.task.encode(part, bundle.processor)) for part in (texts * 2, longer * 3)
    )
    shutil.copytree(source / "processor", folder / "processor")
    module = importlib.import_module(f"luodi.backends.{backend}")
    write = module.export if backend == "onnx" else module.convert
    write(trace(bundle.engine, batch, other), output_names(bundle.engine, batch), folder / "weights")
    seal_bundle(folder, replace(bundle.manifest, engine=module.__name__), bundle.golden)
    return folder


def gated(monkeypatch: pytest.MonkeyPatch) -> list[Gate]:
    """Services opened from now on run behind a gate, open at first; the list gets it."""
    gates: list[Gate] = []

    def opened(folder: Path, *, threads: int | None = None) -> Bundle[Any, Any]:
        bundle = open_bundle(folder, threads=threads)
        gate = Gate(bundle.engine)
        gate.is_open.set()
        gates.append(gate)
        return replace(bundle, engine=gate)

    monkeypatch.setattr(module, "open_bundle", opened)
    monkeypatch.setattr(module, "LINGER_S", 0.1)
    return gates


@contextmanager
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, bool]]:
    """The process, its URL, and whether it has loaded torch."""
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            url, _, loaded = started.stdout.readline().strip().partition(" ")
            yield started, url, loaded == "True"
        finally:
            if started.poll() is None:
                started.kill()
