"""A service that is well: its answers, its pages, its numbers, its languages, its key."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from luodi.core.bundle import Bundle, GoldenPair, open_bundle, read_manifest, seal_bundle
from luodi.errors import ConfigError, ParityError, ResourceError, UsageError
from luodi.stages.serve import rehearsal
from luodi.stages.serve.app import spoken
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.serve import KEY, check_host, listening, serve
from serving import Served, served

GOOD, BAD = "好吃 不错 great", "难吃 太差 terrible"


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    with served(tiny_bundle, ServeSettings()) as running:
        yield running


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle[str, str]:
    return open_bundle(tiny_bundle)


def test_one_input(service: Served, bundle: Bundle[str, str]) -> None:
    told = service.ask(GOOD).json()
    assert told["model"] == {"name": "", "identity": bundle.identity}
    assert told["output"]["value"] == "好评"
    assert told["output"]["confidence"] == max(told["output"]["scores"].values())
    assert sum(told["output"]["scores"].values()) == pytest.approx(1)


def test_several_inputs_in_order(service: Served) -> None:
    told = service.ask(GOOD, BAD, GOOD).json()
    assert [o["value"] for o in told["outputs"]] == ["好评", "差评", "好评"]
    assert "output" not in told


def test_five_hundred_at_once_each_get_their_own_answer(service: Served, bundle: Bundle[str, str]) -> None:
    """Single and several, short and long, tagged: the same as asked alone, none mixed up."""
    texts = [f"{(GOOD, BAD)[i % 2]} {i} {'长' * (i % 40)}" for i in range(500)]
    asked = [texts[i : i + 1 + i % 4] for i in range(500)]
    alone = {text: bundle.predict([bundle.task.input.decode(text)])[0] for text in texts}

    def ask(some: list[str]) -> list[tuple[str, dict[str, float]]]:
        reply = service.client.post("/predict", json={"inputs": some})
        assert reply.status_code == 200, reply.text
        return [(o["value"], o["scores"]) for o in reply.json()["outputs"]]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, asked))
    for some, told in zip(asked, answers, strict=True):
        for text, (value, scores) in zip(some, told, strict=True):
            assert value == alone[text].value
            assert scores == pytest.approx(dict(alone[text].scores), abs=1e-4)


def test_health(service: Served) -> None:
    assert service.client.get("/health/live").json() == {"status": "live"}
    assert service.client.get("/health/ready").json() == {"status": "ready"}
    working = service.client.get("/health/progress")
    assert working.status_code == 200
    assert working.json()["status"] == "working"


def test_model_says_what_it_is(service: Served, bundle: Bundle[str, str]) -> None:
    told = service.client.get("/model").json()
    assert told["identity"] == bundle.identity
    assert told["schema"]["labels"] == ["好评", "差评"]
    assert told["size_bytes"] == bundle.size_bytes
    assert str(bundle.path) not in msgspec.json.encode(told).decode()


def test_openapi_describes_what_is_answered(service: Served) -> None:
    told = service.client.get("/openapi.json").json()
    assert told["openapi"] == "3.1.0"
    assert told["components"]["schemas"]["Answer"]["properties"]["value"]["enum"] == ["好评", "差评"]
    for path, methods in told["paths"].items():
        if "get" in methods:
            assert service.client.get(path).status_code == 200
    example = told["components"]["schemas"]["Request"]["examples"][0]
    assert service.client.post("/predict", json=example).status_code == 200
    names = {ref.rpartition("/")[2] for ref in _references(told)}
    assert names <= set(told["components"]["schemas"])


def _references(told: object) -> Iterator[str]:
    if isinstance(told, dict):
        if isinstance(told.get("$ref"), str):
            yield told["$ref"]
        for value in told.values():
            yield from _references(value)
    elif isinstance(told, list):
        for value in told:
            yield from _references(value)


def test_metrics_count(service: Served) -> None:
    def read() -> dict[str, float]:
        lines = service.client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    before = read()
    service.ask(GOOD, BAD)
    service.client.post("/predict", content=b"{")
    after = read()
    for name, more in (
        ('luodi_requests_total{path="/predict",status="200"}', 1), ("luodi_batch_inputs_sum", 2),
        ("luodi_predict_seconds_count", 2), ('luodi_predict_seconds_bucket{le="+Inf"}', 2),
    ):  # fmt: skip
        assert after[name] - before[name] == more, name
    assert after['luodi_requests_total{path="/predict",status="400"}'] >= 1
    assert after["luodi_queue_inputs"] == 0


def test_page_in_both_languages(service: Served) -> None:
    page = service.client.get("/docs", headers={"Accept-Language": "en"})
    assert '<html lang="en">' in page.text
    assert "Try it" in page.text
    assert "http" not in page.text.split("<script>")[0]  # nothing comes from elsewhere
    assert "default-src 'none'" in page.headers["content-security-policy"]
    chinese = service.client.get("/?lang=zh").text
    assert '<html lang="zh">' in chinese
    assert "Try it" not in chinese


def test_errors_speak_the_language_of_the_request(service: Served) -> None:
    def message(accepted: str) -> str:
        reply = service.client.post("/predict", content=b"[]", headers={"Accept-Language": accepted})
        return str(reply.json()["error"]["message"])

    assert message("en-GB,zh;q=0.3") == "The request must be a JSON object."
    assert any("\u4e00" <= c <= "\u9fff" for c in message("zh-CN,zh;q=0.9,en;q=0.8"))


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh", "zh"),
        ("en;q=0.2, zh-TW;q=0.9", "zh"),
        ("fr, *;q=0.1", "en"),
        ("", "en"),
        ("zh;q=many", "en"),
        ("de", "en"),
    ],
)
def test_accept_language(accepted: str, language: str) -> None:
    assert spoken(accepted) == language


def test_unknown_path_and_method(service: Served) -> None:
    assert service.client.get("/nothing").json()["error"]["code"] == "request.path"
    wrong = service.client.get("/predict")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["code"] == "request.method"


def test_a_key_is_asked_for_everywhere_but_at_health(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "s3cret-密钥")
    with served(tiny_bundle, ServeSettings()) as running:
        right = {"Authorization": b"Bearer " + "s3cret-密钥".encode()}
        for path in ("/model", "/metrics", "/openapi.json"):
            assert running.client.get(path).status_code == 401
            assert running.client.get(path, headers=right).status_code == 200
        for wrong in (
            {},
            {"Authorization": "Bearer s3cret"},
            {"Authorization": "s3cret-"},
            {"Authorization": "Basic eA=="},
        ):
            refused = running.client.post("/predict", json={"input": GOOD}, headers=wrong)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "request.key"
        assert running.client.post("/predict", json={"input": GOOD}, headers=right).status_code == 200
        assert running.client.get("/health/ready").status_code == 200
        assert running.client.get("/health/progress").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "example.org"])
def test_open_addresses_need_a_key(host: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(UsageError, match=KEY):
        serve(tiny_bundle, ServeSettings(host=host, port=0))
    check_host(host, has_key=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_own_addresses_need_none(host: str) -> None:
    check_host(host, has_key=False)


def test_taken_port_is_one_line(service: Served, tiny_bundle: Path) -> None:
    port = int(service.url.rpartition(":")[2])
    with pytest.raises(ResourceError, match=f"{port} cannot be listened on"):
        serve(tiny_bundle, ServeSettings(port=port))


@pytest.mark.parametrize("port", [-5, 70_000])
def test_impossible_port(port: int, tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"serve\.port must be from 0 to 65535"):
        serve(tiny_bundle, ServeSettings(port=port))


def test_host_that_is_none(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "key")
    with pytest.raises(ResourceError, match="256.256.256.256:0 cannot be listened on"):
        serve(tiny_bundle, ServeSettings(host="256.256.256.256", port=0))


def test_answers_are_not_held_back_by_the_network(service: Served) -> None:
    """Without TCP_NODELAY each would take 40 ms more (Nagle's rule and the client's delayed acknowledgement)."""
    with listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
    times = []
    for _ in range(20):
        began = time.perf_counter()
        service.client.get("/health/live")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.03


def test_impossible_setting(tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"serve\.max_batch must be at least 1"):
        serve(tiny_bundle, ServeSettings(port=0, max_batch=0))


def test_bundle_with_other_answers_does_not_start(tiny_copy: Path) -> None:
    """The goldens were altered and the Bundle sealed again: hashes hold, answers do not."""
    reseal_with_wrong_answers(tiny_copy)
    with pytest.raises(ParityError, match="does not answer as it was tested"), served(tiny_copy, ServeSettings()):
        pass


def test_other_answers_over_http_do_not_start(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Bundle opens and agrees; what comes over HTTP is held against goldens of its own."""
    asked = rehearsal.rehearse

    def against_wrong(url: str, bundle: Bundle[str, str], *, key: str, secret: str, most: int, limit: int) -> object:
        wrong = replace(bundle, golden=tuple(flipped(pair) for pair in bundle.golden))
        return asked(url, wrong, key=key, secret=secret, most=most, limit=limit)

    monkeypatch.setattr("luodi.stages.serve.serve.rehearse", against_wrong)
    with (
        pytest.raises(ParityError, match=r"http://127\.0\.0\.1:\d+ does not answer"),
        served(tiny_bundle, ServeSettings()),
    ):
        pass


def flipped(pair: GoldenPair) -> GoldenPair:
    other = {"好评": "差评", "差评": "好评"}
    return replace(pair, value=other[pair.value], scores={other[k]: p for k, p in pair.scores.items()})


def reseal_with_wrong_answers(folder: Path) -> None:
    pairs = msgspec.json.decode((folder / "golden.json").read_bytes(), type=tuple[GoldenPair, ...])
    seal_bundle(folder, read_manifest(folder), [flipped(pair) for pair in pairs])


@pytest.fixture
def tiny_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.mark.parametrize(("limit", "most"), [(60, 1), (240, 6), (10_000, 16)])
def test_rehearsals_keep_to_the_size_of_a_request(limit: int, most: int) -> None:
    """Goldens of large inputs are asked in more requests, and all are asked once, in order."""
    golden = [GoldenPair(input="x" * (20 + i), value="", confidence=None, scores={}) for i in range(40)]
    asked = list(rehearsal._requests(golden, 16, limit))
    assert [wire for told in asked for wire in told.get("inputs", [told.get("input")])] == [p.input for p in golden]
    several = [told for told in asked if "inputs" in told]
    assert all(len(msgspec.json.encode(told)) <= limit or len(told["inputs"]) == 1 for told in several)
    assert max(len(told["inputs"]) for told in several) == most
