"""A service as a process: signals, exit codes, and which packages it loads."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from luodi.backends.uvicorn import HttpServer, run_server
from serving import export_bundle, process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to be sent")


def test_sigterm_under_load_loses_nothing(exported: Path) -> None:
    """Every request is answered, refused in words, or never got a connection; the process ends with 0."""
    outcomes: Counter[str] = Counter()
    stop, loaded = threading.Event(), threading.Event()

    def load(url: str) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            while not stop.is_set():
                try:
                    reply = client.post("/predict", json={"input": "好吃 不错"})
                    outcomes[str(reply.status_code)] += 1
                except httpx.ConnectError:
                    outcomes["no connection"] += 1
                    return
                except httpx.HTTPError as error:
                    outcomes[f"lost: {error!r}"] += 1
                    return
                if reply.status_code == 503:
                    time.sleep(0.05)  # sooner than Retry-After says
                if outcomes["200"] > 50:
                    loaded.set()

    with process(exported) as (running, url, _):
        threads = [threading.Thread(target=load, args=(url,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert loaded.wait(30)
        running.send_signal(signal.SIGTERM)
        code = running.wait(30)
        stop.set()
        for thread in threads:
            thread.join()
    assert code == 0
    assert outcomes["503"] >= 1
    assert set(outcomes) <= {"200", "503", "no connection"}


def test_a_connection_that_waits_to_be_accepted_is_not_cut() -> None:
    """The system has made it for us: its client is told, though the listener closes at that very moment."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b""})

    async def during(server: HttpServer) -> None:
        client.connect(listener.getsockname())  # made by the system while this loop is busy
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await server.stop_listening()
        while server.num_connections:
            await asyncio.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.settimeout(30)
        asyncio.run(run_server(app, listener, 1, during))
        assert client.recv(100).startswith(b"HTTP/1.1 503")


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exported(request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Bundle for an engine that needs no torch."""
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[request.param])
    return export_bundle(tiny_bundle, request.param, tmp_path_factory.mktemp("exported") / "bundle")


def test_an_exported_bundle_is_served_without_torch(exported: Path) -> None:
    with process(exported) as (running, url, has_torch):
        assert not has_torch
        reply = httpx.post(f"{url}/predict", json={"input": "难吃 太差"}, trust_env=False)
        assert reply.json()["output"]["value"] == "差评"
        running.send_signal(signal.SIGINT)  # Ctrl+C
        assert running.wait(30) == 0


def test_a_bundle_that_was_altered_ends_with_2(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    weights = folder / "weights" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with process(folder) as (running, _, _):
        assert running.wait(60) == 2
        assert running.stderr is not None
        assert "is not as it was sealed" in running.stderr.read()
