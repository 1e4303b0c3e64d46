"""Answers over HTTP: settings of a request, pieces as they come, and clients that leave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from luodi.core.bundle import open_bundle
from luodi.core.sampling import Sampling
from luodi.core.task import GenerativeTask
from luodi.stages.serve.config import ServeSettings
from poet import write_bundle
from serving import Served, gated, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poet") / "bundle"
    write_bundle(path)
    return path


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Served]:
    with served(folder, ServeSettings(max_new_tokens=40)) as running:
        yield running


def ask(service: Served, **body: Any) -> httpx.Response:
    return service.client.post("/predict", json=body)


def events(service: Served, **body: Any) -> list[dict[str, Any]]:
    reply = ask(service, **body, stream=True)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [json.loads(part.removeprefix("data: ")) for part in reply.text.split("\n\n") if part]


def expected(folder: Path, value: Any, **sampling: Any) -> str:
    bundle = open_bundle(folder)
    assert isinstance(bundle.task, GenerativeTask)
    task = bundle.task.with_sampling(Sampling(**{"max_new_tokens": 24, **sampling}))
    return str(task.predict(task.encode([value], bundle.processor), bundle.engine)[0].value)


def test_pieces_join_to_the_answer_of_a_plain_request(service: Served) -> None:
    plain = ask(service, input="春风又绿").json()
    told = events(service, input="春风又绿")
    assert len(told) > 3
    assert "".join(part["piece"] for part in told[:-1]) == told[-1]["output"]["value"] == plain["output"]["value"]
    assert told[-1]["model"] == plain["model"]
    assert told[-1]["output"]["confidence"] == pytest.approx(plain["output"]["confidence"], abs=1e-4)


def test_settings_of_a_request_hold_for_it_alone(service: Served, folder: Path) -> None:
    sampled = {"temperature": 1.0, "seed": 4, "max_new_tokens": 12}
    before = ask(service, input="明月").json()["output"]["value"]
    found = ask(service, input="明月", sampling=sampled).json()["output"]["value"]
    assert found == expected(folder, "明月", **sampled) != before
    assert events(service, input="明月", sampling=sampled)[-1]["output"]["value"] == found
    many = ask(service, inputs=["明月", "春风"], sampling=sampled).json()["outputs"]
    assert [one["value"] for one in many] == [found, expected(folder, "春风", **sampled)]
    assert ask(service, input="明月").json()["output"]["value"] == before


def test_a_conversation_is_an_input(service: Served) -> None:
    said = [{"role": "user", "content": "明月"}]
    assert ask(service, input=said).json()["output"] == ask(service, input="明月").json()["output"]


@pytest.mark.parametrize(
    ("body", "told"), [
        ({"input": "x", "sampling": {"temprature": 1}}, "temperature"), ({"input": "x", "sampling": []}, "sampling"),
        ({"input": "x", "sampling": {"temperature": "hot"}}, "temperature"),
        ({"input": "x", "sampling": {"top_p": 0}}, "top_p"), ({"input": "x", "sampling": {"max_new_tokens": 41}}, "40"),
        ({"input": "x", "stream": "yes"}, "stream"), ({"inputs": ["x"], "stream": True}, "streamed"),
        ({"input": "", "stream": True}, "empty"), ({"input": [], "stream": True}, "empty"),
        ({"input": [{"role": "robot", "content": "x"}]}, "role"), ({"input": {"role": "user"}}, "string"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_told(service: Served, body: dict[str, Any], told: str) -> None:
    reply = service.client.post("/predict", json=body)
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert told in error["message"] + error["hint"]


def test_the_api_says_what_may_be_asked_for(service: Served) -> None:
    told = service.client.get("/openapi.json").json()
    one = told["components"]["schemas"]["Request"]["oneOf"][0]["properties"]
    assert one["sampling"]["properties"]["max_new_tokens"]["maximum"] == 40
    assert one["stream"]["type"] == "boolean"
    assert "text/event-stream" in told["paths"]["/predict"]["post"]["responses"]["200"]["content"]


def test_others_get_in_between_two_tokens_and_a_client_that_leaves_ends_its_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = gated(monkeypatch)
    with served(folder, ServeSettings()) as service:
        (gate,) = gates
        gate.close()
        asked = {"input": "春风", "stream": True}
        with httpx.stream("POST", f"{service.url}/predict", json=asked, timeout=30) as reply:
            gate.wait_for_batch()
            other = threading.Thread(target=ask, args=(service,), kwargs={"input": "明月"})
            other.start()
            time.sleep(0.2)
            gate.is_open.set()
            assert next(reply.iter_text()).startswith("data: ")
            other.join(30)
            assert not other.is_alive()
        before = time.monotonic()
        while service.service._loop and "in_flight 0" not in service.client.get("/metrics").text:
            assert time.monotonic() - before < 20
        count = len(gate.sizes)
        time.sleep(0.3)
        assert len(gate.sizes) == count
        assert ask(service, input="明月").status_code == 200


def test_an_engine_that_fails_half_way_says_so_in_the_stream(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(folder, ServeSettings()) as service:
        (gate,) = gates

        def spoil(batch: Any, outputs: Any) -> Any:
            raise MemoryError("no more")

        gate.spoil = spoil
        told = events(service, input="春风")
        assert told[-1]["error"]["code"] == "serve.internal"
        assert "no more" not in json.dumps(told)
        gate.spoil = None
        assert events(service, input="春风")[-1]["output"]["value"]


def test_too_many_at_once_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = gated(monkeypatch)
    with served(folder, ServeSettings(max_queue=1)) as service:
        (gate,) = gates
        gate.close()
        first = threading.Thread(target=events, args=(service,), kwargs={"input": "春风"})
        first.start()
        gate.wait_for_batch()
        assert ask(service, input="明月", stream=True).status_code == 429
        gate.is_open.set()
        first.join(30)
        assert events(service, input="明月")[-1]["output"]["value"]
