"""What the service answers, request by request. It knows no sockets, no signals, and no task."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec

from luodi.backends.starlette import Call, Gone, Reply, Route, build_app
from luodi.core.bundle import Bundle, GoldenPair, answers_on_wire, compare
from luodi.core.types import Prediction
from luodi.messages import language, speaking, tr
from luodi.stages.serve.batcher import Batcher, EngineFailed, QueueFull, Worker
from luodi.stages.serve.body import Asked, Refusal, asked_inputs, parse_body, read_body
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.metrics import Metrics
from luodi.stages.serve.openapi import describe_api
from luodi.stages.serve.page import PAGE_HEADERS, page
from luodi.stages.serve.traffic import Traffic
from luodi.stages.serve.writing import EVENTS, Wish, event, split_wish, write

REHEARSAL = "x-luodi-rehearsal"
"""Header with the secret of this process, by which it may ask itself before it is ready."""
LARGE_BODY = 100_000
"""Bytes; longer requests are read in a thread of their own, so that others need not wait."""
_OPEN = ("/", "/docs")  # a page without data that asks for the key; a browser cannot send one along when it opens it
_CLIENT_LEFT = 499  # as nginx counts them
_log = logging.getLogger("luodi.serve")


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Opened:
    """What there is once the Bundle is open."""

    bundle: Bundle[Any, Any]
    batcher: Batcher[Any, Any]
    traffic: Traffic | None = None
    """Where it is written down what was asked and answered."""


class App:
    """The state of one service and its handlers. All of it lives in the event loop."""

    def __init__(self, settings: ServeSettings, key: str, worker: Worker) -> None:
        self._settings = settings
        self._key = key.encode()
        self._worker = worker
        self._opened: Opened | None = None
        self._probe: asyncio.Task[list[Prediction[Any]]] | None = None
        self._reading = asyncio.Lock()
        self.phase = Phase.STARTING
        self.in_flight = 0
        """Requests to /predict that have been let in and not yet been answered."""
        self.writing = 0
        """Answers that are being written piece by piece."""
        self.secret = secrets.token_urlsafe(24)
        self.metrics = Metrics()

    def open(self, opened: Opened) -> None:
        self._opened = opened

    def asgi(self) -> Any:
        routes = [
            Route(method=method, path=path, handler=self._guard(path, handler))
            for method, path, handler in (
                ("POST", "/predict", self._predict), ("GET", "/health/live", self._live),
                ("GET", "/health/ready", self._ready), ("GET", "/health/progress", self._progress),
                ("GET", "/openapi.json", self._openapi), ("GET", "/model", self._model),
                ("GET", "/metrics", self._metrics), ("GET", "/", self._page), ("GET", "/docs", self._page),
            )
        ]  # fmt: skip
        return build_app(routes, self._elsewhere)

    def _guard(self, path: str, handler: Callable[[Call], Awaitable[Reply]]) -> Callable[[Call], Awaitable[Reply]]:
        """Language, key, counting; and whatever happens, an answer in our form."""

        async def guarded(call: Call) -> Reply:
            started = time.perf_counter()
            with speaking(spoken(call.header("accept-language"))):
                reply = await self._safely(path, handler, call)
                self.metrics.request(path, reply.status, time.perf_counter() - started)
                # A client that keeps its connection must learn that it ends, or its next request is lost.
                return reply if self.phase is not Phase.DRAINING else closing(reply)

        return guarded

    async def _safely(self, path: str, handler: Callable[[Call], Awaitable[Reply]], call: Call) -> Reply:
        try:
            if not path.startswith("/health/") and path not in _OPEN:
                self._require_key(call)
            return await handler(call)
        except Refusal as refusal:
            return refused(refusal)
        except Gone:
            return Reply(status=_CLIENT_LEFT, body=b"")
        except Exception:  # a fault of ours must not look like a broken connection
            _log.exception("%s failed", path)
            return refused(_failed())

    def _require_key(self, call: Call) -> None:
        given = call.header("authorization").encode("latin-1")
        if self._key and not hmac.compare_digest(given, b"Bearer " + self._key):
            hint = tr("Send the header: Authorization: Bearer YOUR_KEY")
            raise Refusal(401, "request.key", tr("The key is missing or wrong."), hint)

    async def _predict(self, call: Call) -> Reply:
        opened = self._let_in(call)
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._settings.deadline_ms / 1000):
                return await self._answer(call, opened)
        except TimeoutError as error:
            raise _too_late(self._settings.deadline_ms) from error
        finally:
            self.in_flight -= 1

    def _let_in(self, call: Call) -> Opened:
        is_rehearsal = hmac.compare_digest(call.header(REHEARSAL).encode("latin-1"), self.secret.encode())
        if self.phase is Phase.READY or (self.phase is Phase.STARTING and is_rehearsal):
            return self._need_opened()
        raise _not_ready(self.phase)

    async def _answer(self, call: Call, opened: Opened) -> Reply:
        if call.header("content-encoding").strip().lower() not in ("", "identity"):
            raise Refusal(415, "request.encoding", tr("Compressed requests are not taken."), tr("Send plain JSON."))
        body = await read_body(call.chunks(), longest_body(self._settings, opened.bundle))
        most = min(self._settings.max_inputs, self._settings.max_queue)
        read = partial(_asked, body, opened.bundle, most, self._settings.max_new_tokens)
        if len(body) > LARGE_BODY:
            async with self._reading:  # one at a time: a picture of 50 million pixels takes 200 MB to read
                asked, wish = await asyncio.to_thread(read)
        else:
            asked, wish = read()
        if wish and wish.is_streamed:
            return self._streamed(opened, wish, asked.inputs[0])
        answering = opened.batcher.ask(asked.inputs) if wish is None else self._written(opened, wish, asked.inputs)
        answers = await self._ask(call, answering)
        told = answers_on_wire(opened.bundle.task, answers)
        self._note(opened, asked.inputs, told)
        wires, model = [_wire(answer) for answer in told], _model_of(opened.bundle)
        return as_json({"output": wires[0], "model": model} if asked.is_single else {"outputs": wires, "model": model})

    async def _written(self, opened: Opened, wish: Wish, inputs: Sequence[Any]) -> list[Prediction[Any]]:
        """Answers to a request with settings of its own, one after the other."""
        self._require_place()
        self.writing += 1
        try:
            answers = [[told async for told in self._write(opened, wish, value)][-1] for value in inputs]
            return [answer for answer in answers if isinstance(answer, Prediction)]
        finally:
            self.writing -= 1

    def _write(self, opened: Opened, wish: Wish, value: Any) -> AsyncIterator[str | Prediction[Any]]:
        return write(self._worker, opened.bundle, wish.sampling, value, self._settings.deadline_ms / 1000)

    def _streamed(self, opened: Opened, wish: Wish, value: Any) -> Reply:
        self._require_place()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Reply(body=b"", media_type=EVENTS, headers=headers, pieces=self._events(opened, wish, value))

    async def _events(self, opened: Opened, wish: Wish, value: Any) -> AsyncIterator[bytes]:
        """A piece an event, then the whole answer as a request without `stream` would get it, or the error."""
        self.in_flight += 1
        self.writing += 1
        try:
            async for told in self._write(opened, wish, value):
                if isinstance(told, Prediction):
                    (answer,) = answers_on_wire(opened.bundle.task, [told])
                    self._note(opened, [value], [answer])
                    yield event({"output": _wire(answer), "model": _model_of(opened.bundle)})
                elif told:
                    yield event({"piece": told})
        except TimeoutError:
            yield event(told_of(_too_late(self._settings.deadline_ms)))
        except Exception:  # the answer is half out: how it ended must be told in its own form
            _log.exception("streaming failed")
            yield event(told_of(_failed()))
        finally:
            self.in_flight -= 1
            self.writing -= 1

    def _note(self, opened: Opened, inputs: Sequence[Any], answers: Sequence[GoldenPair]) -> None:
        """What the service asks itself before it is ready is no traffic."""
        if opened.traffic and self.phase is not Phase.STARTING:
            wires = [opened.bundle.task.input.encode(value) for value in inputs]
            opened.traffic.note(wires, answers, opened.bundle.identity)

    def _require_place(self) -> None:
        """As many answers are written at once as inputs may wait."""
        if self.writing >= self._settings.max_queue:
            raise _busy()

    async def _ask(self, call: Call, answering: Coroutine[Any, Any, list[Prediction[Any]]]) -> list[Prediction[Any]]:
        """Given up when the client leaves: its places in the queue are for others."""
        asking = asyncio.ensure_future(answering)
        leaving = asyncio.ensure_future(call.left())
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Gone
            return asking.result()
        except QueueFull as error:
            raise _busy() from error
        except EngineFailed as error:
            message = tr("The model failed on input {number}.").format(number=error.place + 1)
            raise Refusal(500, "serve.input_failed", message, tr("Send the other inputs without it.")) from error
        finally:
            asking.cancel()
            leaving.cancel()

    async def _live(self, call: Call) -> Reply:
        return as_json({"status": "live"})

    async def _ready(self, call: Call) -> Reply:
        if self.phase is not Phase.READY:
            raise _not_ready(self.phase)
        if self._worker.busy_s * 1000 > self._settings.deadline_ms:
            raise _stuck(self._worker.busy_s)
        return as_json({"status": "ready"})

    async def _progress(self, call: Call) -> Reply:
        """One golden input through queue and engine. Probes share one pass, so that they cannot pile up."""
        opened = self._need_opened()
        pair = opened.bundle.golden[:1]
        if self._probe is None or self._probe.done():
            values = [opened.bundle.task.input.decode(p.input) for p in pair]
            self._probe = asyncio.create_task(opened.batcher.ask(values, is_probe=True))
        started = time.perf_counter()
        try:
            answers = await asyncio.wait_for(asyncio.shield(self._probe), self._settings.progress_ms / 1000)
        except TimeoutError as error:
            raise _stuck(self._worker.busy_s) from error
        except EngineFailed as error:
            raise Refusal(503, "serve.failing", tr("The model fails on an input that it was tested with.")) from error
        told = opened.bundle.manifest
        parity = compare(pair, answers_on_wire(opened.bundle.task, answers), told.tolerance, told.schema.spread)
        if not parity.holds:
            raise Refusal(503, "serve.parity", tr("The model no longer answers as it was tested."))
        return as_json({"status": "working", "seconds": round(time.perf_counter() - started, 4)})

    async def _openapi(self, call: Call) -> Reply:
        return as_json(describe_api(self._need_opened().bundle, self._settings, has_key=bool(self._key)))

    async def _model(self, call: Call) -> Reply:
        bundle = self._need_opened().bundle
        kept = ("name", "task", "schema", "engine", "parents", "made_by", "numbers", "tolerance", "versions")
        told = {name: getattr(bundle.manifest, name) for name in kept}
        return as_json({**told, "identity": bundle.identity, "size_bytes": bundle.size_bytes})

    async def _metrics(self, call: Call) -> Reply:
        waiting = self._opened.batcher.waiting if self._opened else 0
        is_ready = self.phase is Phase.READY
        text = self.metrics.render(waiting=waiting, in_flight=self.in_flight, is_ready=is_ready)
        return Reply(body=text.encode(), media_type="text/plain; version=0.0.4")

    async def _page(self, call: Call) -> Reply:
        chosen = call.query("lang")
        with speaking(chosen if chosen in ("zh", "en") else language()):
            return Reply(body=page(has_key=bool(self._key)).encode(), media_type="text/html", headers=PAGE_HEADERS)

    async def _elsewhere(self, call: Call, status: int) -> Reply:
        with speaking(spoken(call.header("accept-language"))):
            self.metrics.request("other", status, 0.0)
            hint = tr("See /docs.")
            if status == 405:
                return refused(Refusal(405, "request.method", tr("This path takes another method."), hint))
            return refused(Refusal(status, "request.path", tr("There is no such path."), hint))

    def _need_opened(self) -> Opened:
        if self._opened is None:
            raise _not_ready(self.phase)
        return self._opened


def longest_body(settings: ServeSettings, bundle: Bundle[Any, Any]) -> int:
    """Bytes of a request that is still read."""
    return settings.max_body_bytes or bundle.task.input.longest_wire


def _asked(body: bytes, bundle: Bundle[Any, Any], most: int, most_tokens: int) -> tuple[Asked, Wish | None]:
    told, wish = split_wish(parse_body(body), bundle, most_tokens)
    return asked_inputs(told, bundle.task.input, most), wish


def spoken(accepted: str) -> str:
    """zh or en, whichever Accept-Language likes better; the server's own where it names neither."""
    best, chosen = 0.0, language()
    for part in accepted[:200].lower().split(","):
        name, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        short = name.split("-")[0].strip()
        if short in ("zh", "en") and weight > best:
            best, chosen = weight, short
    return chosen


def as_json(told: Any) -> Reply:
    return Reply(body=msgspec.json.encode(told, enc_hook=str))


def told_of(refusal: Refusal) -> dict[str, Any]:
    return {"error": {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}}


def refused(refusal: Refusal) -> Reply:
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}
    body = msgspec.json.encode(told_of(refusal), enc_hook=str)
    return Reply(status=refusal.status, body=body, headers=headers.get(refusal.status, {}))


def closing(reply: Reply) -> Reply:
    return replace(reply, headers={**reply.headers, "connection": "close"})


def _wire(answer: GoldenPair) -> dict[str, Any]:
    return {"value": answer.value, "confidence": answer.confidence, "scores": answer.scores}


def _model_of(bundle: Bundle[Any, Any]) -> dict[str, str]:
    return {"name": bundle.manifest.name, "identity": bundle.identity}


def _busy() -> Refusal:
    hint = tr("Try again after the seconds in Retry-After.")
    return Refusal(429, "serve.busy", tr("Too many inputs are waiting."), hint)


def _too_late(ms: int) -> Refusal:
    message = tr("There was no answer within {ms} ms.").format(ms=ms)
    return Refusal(503, "serve.deadline", message, tr("Try again later."))


def _failed() -> Refusal:
    return Refusal(500, "serve.internal", tr("The service failed; its log says why."))


def _not_ready(phase: Phase) -> Refusal:
    if phase is Phase.DRAINING:
        return Refusal(503, "serve.draining", tr("The service is being stopped."), tr("Try again later."))
    return Refusal(503, "serve.starting", tr("The service is not ready yet."), tr("Try again later."))


def _stuck(seconds: float) -> Refusal:
    message = tr("The model has been at one forward pass for {seconds:.1f} s.").format(seconds=seconds)
    return Refusal(503, "serve.stuck", message, tr("Restart the service where this lasts."))
