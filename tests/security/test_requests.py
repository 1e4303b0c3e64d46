"""Hostile requests: too large, too deep, not JSON, not HTTP. None may cost more than a refusal."""

from __future__ import annotations

import gzip
import json
import socket
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luodi.stages.serve.config import ServeSettings
from serving import Served, served

LIMIT = 20_000
GOOD = "好吃 不错 great"
FUZZ = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    with served(tiny_bundle, ServeSettings(max_body_bytes=LIMIT, max_inputs=8)) as running:
        yield running


def post(service: Served, body: Any, **headers: str) -> tuple[int, str]:
    """Status and code; the refusal has the one form that all have."""
    reply = service.client.post("/predict", content=body, headers=headers)
    told = reply.json()
    if reply.status_code == 200:
        return 200, ""
    assert set(told) == {"error"}
    assert set(told["error"]) == {"code", "message", "hint"}
    assert "\n" not in told["error"]["message"]
    return reply.status_code, told["error"]["code"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "request.json"),
        (b"{", 400, "request.json"),
        (b'{"input": NaN}', 400, "request.json"),
        (b'{"input": -Infinity}', 400, "request.json"),
        (b'{"input": 1e999}', 400, "request.json"),
        (b'{"input": "\\ud800"}', 400, "request.json"),
        (b'{"input": "\xed\xa0\x80"}', 400, "request.json"),
        ('{"input": "好吃"}'.encode("gbk"), 400, "request.json"),
        (b'{"input": "a"} x', 400, "request.json"),
        (b"[]", 400, "request.object"),
        (b'"input"', 400, "request.object"),
        (b"{}", 422, "request.keys"),
        (b'{"input": "a", "inputs": ["b"]}', 422, "request.keys"),
        (b'{"input": "a", "url": "file:///etc/passwd"}', 422, "request.unknown_key"),
        (b'{"input": 5}', 422, "request.type"),
        (b'{"input": true}', 422, "request.type"),
        (b'{"input": null}', 422, "request.type"),
        (b'{"input": {"url": "http://127.0.0.1/"}}', 422, "request.type"),
        (b'{"input": ["a"]}', 422, "request.type"),
        (b'{"input": ""}', 422, "request.empty"),
        (b'{"input": " \\n\\t "}', 422, "request.empty"),
        (b'{"inputs": []}', 422, "request.inputs"),
        (b'{"inputs": "abc"}', 422, "request.inputs"),
        (b'{"inputs": {"0": "a"}}', 422, "request.inputs"),
        (b'{"inputs": ["a", 5]}', 422, "request.type"),
        (json.dumps({"inputs": ["a"] * 9}).encode(), 422, "request.too_many"),
    ],
)
def test_refusals(service: Served, body: bytes, status: int, code: str) -> None:
    assert post(service, body) == (status, code)
    assert service.ask(GOOD).status_code == 200


def test_the_place_of_a_bad_input_is_told(service: Served) -> None:
    told = service.client.post("/predict", json={"inputs": ["a", "b", 5]}).json()
    assert told["error"]["message"] == "inputs[2] must be of the JSON type string."


@pytest.mark.parametrize(
    "text",
    ["\0", "a\0b", "\U0001f600" * 50, "\u202eabc", "\u200b\ufeff", "\n" * 3000 + "x", "长" * 5000, "e\u0301" * 300],
)
def test_strange_texts_are_answered_or_refused(service: Served, text: str) -> None:
    assert service.ask(text).status_code in (200, 422)


@pytest.mark.parametrize(("depth", "code"), [(49, "request.type"), (51, "request.depth"), (5000, "request.depth")])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_depth(service: Served, depth: int, code: str, brackets: tuple[str, str]) -> None:
    """The object around it is a level too; 50 in all are read."""
    opened, closed = brackets
    depth = min(depth, 3000)
    body = '{"input": ' + opened * depth + ("" if opened == "[" else "1") + closed * depth + "}"
    assert post(service, body.encode())[1] == code


def test_wide_is_not_deep(service: Served) -> None:
    assert post(service, json.dumps({"inputs": [[[]] for _ in range(100)]}).encode()) == (422, "request.too_many")


def test_too_large_with_its_length_told(service: Served) -> None:
    body = json.dumps({"input": "a" * LIMIT}).encode()
    assert post(service, body) == (413, "request.too_large")
    fits = json.dumps({"input": "a" * (LIMIT - 13)}).encode()
    assert len(fits) == LIMIT
    assert post(service, fits) == (200, "")


def test_too_large_in_chunks_without_a_length(service: Served) -> None:
    chunks = (b"a" * 1000 for _ in range(50))
    assert post(service, chunks) == (413, "request.too_large")


def test_a_length_that_lies(service: Served) -> None:
    """It promises ten megabytes and sends a hundred bytes: nobody waits for the rest but its own connection."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as liar:
        liar.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"a" * 100)
        assert service.ask(GOOD).status_code == 200


def test_endless_body_is_cut_off(service: Served) -> None:
    """A client that never stops sending is answered long before it stops."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=20) as sender:
        sender.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
        for _ in range(LIMIT * 9 // 4096):
            sender.sendall(chunk)
        assert sender.recv(100).startswith(b"HTTP/1.1 413")


def test_many_tiny_chunks(service: Served) -> None:
    body = json.dumps({"input": GOOD}, ensure_ascii=False).encode()
    assert post(service, (bytes([b]) for b in body)) == (200, "")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, identity"])
def test_compressed_bodies_are_not_unpacked(service: Served, encoding: str) -> None:
    bomb = gzip.compress(b'{"input": "' + b"a" * 5_000_000 + b'"}')
    assert len(bomb) < LIMIT
    assert post(service, bomb, **{"content-encoding": encoding}) == (415, "request.encoding")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "é", "/"])
def test_only_the_body_says_what_it_is(service: Served, kind: str) -> None:
    """`curl -d` claims to send a form."""
    body = json.dumps({"input": GOOD}).encode()
    reply = service.client.post("/predict", content=body, headers={"content-type": kind.encode()})  # type: ignore[dict-item]
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/docs/../../x", "/%2e%2e/%2e%2e/etc/passwd", "/predict/", "//predict"]
)
def test_no_path_leads_to_a_file(service: Served, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 500, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http(service: Served, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=20) as sender:
        try:
            sender.sendall(raw)
            sender.shutdown(socket.SHUT_WR)
            answer = sender.recv(100)
        except TimeoutError:  # a hang is the one thing that may not happen
            raise
        except OSError:  # cut off: reset, or no longer connected, as the moment has it
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 5")
    assert service.ask(GOOD).status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@FUZZ
@given(body=st.dictionaries(st.sampled_from(["input", "inputs", "model"]), JSON) | JSON)
def test_any_json_is_answered_or_refused(service: Served, body: Any) -> None:
    status, _ = post(service, json.dumps(body).encode())
    assert status in (200, 400, 422)


@FUZZ
@given(body=st.binary(max_size=200) | st.text().map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_answered_or_refused(service: Served, body: bytes) -> None:
    assert post(service, body)[0] in (200, 400, 422)


@FUZZ
@given(text=st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_text_gets_probabilities(service: Served, text: str) -> None:
    reply = service.ask(text)
    if reply.status_code == 422:
        assert not unicodedata.normalize("NFC", text).strip()
    else:
        assert sum(reply.json()["output"]["scores"].values()) == pytest.approx(1)


@FUZZ
@given(
    name=st.sampled_from(["accept-language", "authorization", "content-encoding", "x-luodi-rehearsal", "cookie"]),
    value=st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=60),
)
def test_any_header_is_borne(service: Served, name: str, value: str) -> None:
    reply = service.client.post("/predict", json={"input": GOOD}, headers={name: value.encode("latin-1")})  # type: ignore[dict-item]
    assert reply.status_code in (200, 400, 415)
