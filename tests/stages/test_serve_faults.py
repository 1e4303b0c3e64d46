"""A service in trouble: too much work, a slow engine, a hung one, a poisoned input, a client that leaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from luodi.core.types import Batch
from luodi.errors import ParityError
from luodi.stages.serve.config import ServeSettings
from serving import Gate, Served, gated, served

GOOD, BAD = "好吃 不错 great", "难吃 太差 terrible"
LONG = GOOD * 4
"""Told from the others by its length, at the engine."""


def wait_until(what: Any) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def metric(running: Served, name: str) -> float:
    lines = running.client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def busy(running: Served, gate: Gate, pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """One input is in the engine and stays there until the gate opens."""
    gate.close()
    first = pool.submit(running.ask, GOOD)
    gate.wait_for_batch()
    return first


def test_exactly_what_the_queue_cannot_hold_is_refused(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queue of 8, one engine that is busy, 8 + 5 more: 5 are refused, at once, and no other."""
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings(max_queue=8)) as running, ThreadPoolExecutor(20) as pool:
        first = busy(running, gates[0], pool)
        burst = [pool.submit(running.ask, (GOOD, BAD)[i % 2]) for i in range(13)]
        wait_until(lambda: sum(f.done() for f in burst) == 5)
        refused = [f.result() for f in burst if f.done()]
        assert [r.status_code for r in refused] == [429] * 5
        assert all(r.headers["retry-after"] == "1" and r.json()["error"]["code"] == "serve.busy" for r in refused)
        assert metric(running, "luodi_queue_inputs") == 8
        gates[0].is_open.set()
        replies = [f.result() for f in burst]
        assert sorted(r.status_code for r in replies) == [200] * 8 + [429] * 5
        answered = [(i, r) for i, r in enumerate(replies) if r.status_code == 200]
        assert all(r.json()["output"]["value"] == ("好评", "差评")[i % 2] for i, r in answered)
        assert first.result().status_code == 200
        assert sum(gates[0].sizes) == 9  # none answered twice


def test_a_request_that_does_not_fit_whole_is_refused_whole(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings(max_queue=4)) as running, ThreadPoolExecutor(4) as pool:
        first = busy(running, gates[0], pool)
        waiting = pool.submit(running.ask, GOOD, GOOD)
        wait_until(lambda: metric(running, "luodi_queue_inputs") == 2)
        assert running.ask(GOOD, GOOD, GOOD).status_code == 429
        assert metric(running, "luodi_queue_inputs") == 2
        gates[0].is_open.set()
        assert {first.result().status_code, waiting.result().status_code} == {200}


def test_what_waits_goes_together(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings(max_batch=4)) as running, ThreadPoolExecutor(12) as pool:
        first = busy(running, gates[0], pool)
        others = [pool.submit(running.ask, BAD) for _ in range(10)]
        wait_until(lambda: metric(running, "luodi_queue_inputs") == 10)
        gates[0].is_open.set()
        assert {f.result().status_code for f in (first, *others)} == {200}
        assert gates[0].sizes == [1, 4, 4, 2]


def test_deadline(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late is 503, for the one in the engine and the one behind it; the places are free again."""
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings(deadline_ms=400)) as running, ThreadPoolExecutor(4) as pool:
        first = busy(running, gates[0], pool)
        second = pool.submit(running.ask, BAD)
        for late in (first.result(), second.result()):
            assert late.status_code == 503
            assert late.json()["error"]["code"] == "serve.deadline"
        assert metric(running, "luodi_queue_inputs") == 0
        assert running.client.get("/health/ready").json()["error"]["code"] == "serve.stuck"
        gates[0].is_open.set()
        wait_until(lambda: running.ask(BAD).status_code == 200)
        assert running.client.get("/health/ready").status_code == 200


def test_a_hung_engine_is_told_by_progress_alone(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings(progress_ms=300)) as running, ThreadPoolExecutor(4) as pool:
        first = busy(running, gates[0], pool)
        for _ in range(3):  # probes do not pile up before the engine
            hung = running.client.get("/health/progress")
            assert hung.status_code == 503
            assert hung.json()["error"]["code"] == "serve.stuck"
        assert running.client.get("/health/live").status_code == 200
        assert metric(running, "luodi_queue_inputs") == 1
        gates[0].is_open.set()
        assert first.result().status_code == 200
        wait_until(lambda: running.client.get("/health/progress").status_code == 200)


def raise_on_long(batch: Batch, outputs: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, np.ndarray[Any, Any]]:
    if batch["input_ids"].shape[1] > 15:
        raise MemoryError("too long")
    return outputs


def nan_on_long(batch: Batch, outputs: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, np.ndarray[Any, Any]]:
    is_long = batch["attention_mask"].sum(-1, keepdims=True) > 15
    return {"logits": np.where(is_long, np.nan, outputs["logits"])}


@pytest.mark.parametrize("spoil", [raise_on_long, nan_on_long])
def test_one_poisoned_input_fails_alone(spoil: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings()) as running, ThreadPoolExecutor(12) as pool:
        gates[0].spoil = spoil
        first = busy(running, gates[0], pool)
        others = [pool.submit(running.ask, BAD) for _ in range(6)]
        poisoned = pool.submit(running.ask, LONG)
        wait_until(lambda: metric(running, "luodi_queue_inputs") == 7)
        gates[0].is_open.set()
        assert [f.result().json()["output"]["value"] for f in others] == ["差评"] * 6
        assert first.result().status_code == 200
        assert poisoned.result().status_code == 500
        assert poisoned.result().json()["error"]["code"] == "serve.input_failed"
        among = running.ask(BAD, LONG, BAD)
        assert among.status_code == 500
        assert "input 2" in among.json()["error"]["message"]
        assert running.client.get("/health/progress").status_code == 200


def test_progress_sees_an_engine_that_answers_wrongly(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings()) as running:
        gates[0].spoil = lambda batch, outputs: {"logits": -outputs["logits"]}
        assert running.client.get("/health/progress").json()["error"]["code"] == "serve.parity"
        gates[0].spoil = lambda batch, outputs: {}
        assert running.client.get("/health/progress").json()["error"]["code"] == "serve.failing"
        gates[0].spoil = None
        assert running.client.get("/health/progress").status_code == 200


def test_an_engine_that_answers_otherwise_when_served_does_not_start(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opened well, and turned before the answers were asked for over HTTP."""
    gates = gated(monkeypatch)
    monkeypatch.setattr(Gate, "run", lambda gate, batch: {"logits": -gate.engine.run(batch)["logits"]})
    with pytest.raises(ParityError, match="does not answer as it was tested"), served(tiny_bundle, ServeSettings()):
        pass
    assert gates


def test_clients_that_leave_free_their_places(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings(max_queue=8)) as running, ThreadPoolExecutor(4) as pool:
        first = busy(running, gates[0], pool)
        body = b'{"input": "' + GOOD.encode() + b'"}'
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        leavers = []
        for _ in range(8):
            leaver = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])))
            leaver.sendall(head + body)
            leavers.append(leaver)
        wait_until(lambda: metric(running, "luodi_queue_inputs") == 8)
        assert running.ask(BAD).status_code == 429
        for leaver in leavers:
            leaver.close()
        wait_until(lambda: metric(running, "luodi_queue_inputs") == 0)
        half = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])))
        half.sendall(head + body[:5])
        half.close()
        gates[0].is_open.set()
        assert first.result().status_code == 200
        assert running.ask(BAD).json()["output"]["value"] == "差评"


def test_drain_finishes_what_is_under_way_and_refuses_the_rest(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = gated(monkeypatch)
    with served(tiny_bundle, ServeSettings()) as running, ThreadPoolExecutor(8) as pool:
        first = busy(running, gates[0], pool)
        others = [pool.submit(running.ask, BAD) for _ in range(3)]
        wait_until(lambda: metric(running, "luodi_queue_inputs") == 3)
        running.service.stop()
        wait_until(lambda: running.client.get("/health/ready").status_code == 503)
        assert running.client.get("/health/ready").json()["error"]["code"] == "serve.draining"
        new = running.ask(GOOD)
        assert new.status_code == 503
        assert new.headers["connection"] == "close"
        assert not first.done()
        threading.Timer(0.2, gates[0].is_open.set).start()
        assert {f.result().status_code for f in (first, *others)} == {200}
        running.thread.join(10)
        assert not running.thread.is_alive()
        with pytest.raises(httpx.ConnectError):
            running.ask(GOOD)


def test_drain_does_not_wait_for_ever(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    monkeypatch.setattr("luodi.stages.serve.batcher.PATIENCE_S", 0.1)
    with served(tiny_bundle, ServeSettings(drain_s=0.3)) as running, ThreadPoolExecutor(2) as pool:
        first = busy(running, gates[0], pool)
        running.stop()
        assert first.result().status_code == 500  # cut off
        gates[0].is_open.set()


def test_before_it_is_ready(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens while the Bundle is opened: alive, not ready, and no answers to strangers."""
    seen: dict[str, Any] = {}
    from luodi.stages.serve import rehearsal

    asked = rehearsal.rehearse

    def look(url: str, *rest: Any, **named: Any) -> Any:
        with httpx.Client(base_url=url, trust_env=False) as client:
            seen["live"] = client.get("/health/live").status_code
            seen["ready"] = client.get("/health/ready").json()["error"]["code"]
            seen["predict"] = client.post("/predict", json={"input": GOOD}).status_code
            seen["guess"] = client.post(
                "/predict", json={"input": GOOD}, headers={rehearsal.REHEARSAL: "x"}
            ).status_code
        return asked(url, *rest, **named)

    monkeypatch.setattr("luodi.stages.serve.serve.rehearse", look)
    with served(tiny_bundle, ServeSettings()):
        assert seen == {"live": 200, "ready": "serve.starting", "predict": 503, "guess": 503}
