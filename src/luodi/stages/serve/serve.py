"""A Bundle as a Service: listen, open, prove the tested answers over HTTP, serve, drain.

starting   listens; /health/live answers, everything else says 503
ready      all golden answers came back over HTTP as they were tested
draining   SIGTERM or Ctrl+C: requests under way are finished, new ones get 503; then exit code 0
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from luodi.backends.uvicorn import HttpServer, run_server
from luodi.core.bundle import Bundle, open_bundle, require_parity
from luodi.core.progress import say
from luodi.core.store import leased
from luodi.errors import ConfigError, ResourceError, UsageError
from luodi.messages import tr
from luodi.stages.serve.app import App, Opened, Phase, longest_body
from luodi.stages.serve.batcher import Batcher, Worker
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.rehearsal import rehearse
from luodi.stages.serve.traffic import Traffic, keeping, require_text

KEY = "LUODI_API_KEY"
# Clients that keep their connection open and send without pause are given this long to learn that it closes.
LINGER_S = 0.5
BACKLOG = 2048


def serve(folder: Path, settings: ServeSettings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serves until SIGTERM or Ctrl+C. `on_ready` is told the URL.

    Raises UsageError for an open address without a key, ResourceError for a port that is taken, BundleError and
    ParityError for a Bundle that is not what was tested.
    """
    Service(folder, settings, on_ready=on_ready).run()


class Service:
    """One service, to be run once. `stop` may be called from any thread."""

    def __init__(self, folder: Path, settings: ServeSettings, *, on_ready: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._on_ready = on_ready
        self._key = os.environ.get(KEY, "")
        self._worker = Worker("luodi-engine")
        self._stranger = Worker("luodi-rehearsal")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._server: HttpServer | None = None

    def run(self) -> None:
        check_settings(self._settings)
        check_host(self._settings.host, has_key=bool(self._key))
        asyncio.run(self._run())

    def stop(self) -> None:
        """Drain and end; a second call does not wait for the answers under way."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = App(self._settings, self._key, self._worker)
        traffic = self._traffic(app)
        with (
            running(self._worker), running(self._stranger), stopped_by_signals(self.stop),
            listening(self._settings.host, self._settings.port) as listener, leased(self._folder),
        ):  # fmt: skip
            during = partial(self._until_stopped, app, listener, traffic)
            await run_server(app.asgi(), listener, self._settings.drain_s, during)

    def _traffic(self, app: App) -> Traffic | None:
        if not self._settings.traffic:
            return None
        made = Traffic(Path(self._settings.traffic), self._settings.max_traffic, app.metrics.traffic)
        made.open()
        return made

    async def _until_stopped(
        self, app: App, listener: socket.socket, traffic: Traffic | None, server: HttpServer
    ) -> None:
        self._server = server
        async with keeping(traffic):
            living = asyncio.create_task(self._live(app, listener, traffic))
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait((living, stopping), return_when=asyncio.FIRST_COMPLETED)
                if living.done():  # it never ends by itself but by an error
                    living.result()
                await self._drain(app, server)
            finally:
                living.cancel()
                stopping.cancel()

    async def _live(self, app: App, listener: socket.socket, traffic: Traffic | None) -> None:
        """Open, rehearse, and feed the engine for ever."""
        bundle = await self._worker.do(partial(open_bundle, self._folder, threads=self._settings.threads))
        batcher: Batcher[Any, Any] = Batcher(
            self._worker, bundle.predict, max_queue=self._settings.max_queue, max_batch=self._settings.max_batch,
            observe=app.metrics.batch,
        )  # fmt: skip
        if traffic:
            require_text(bundle.task.input)
        app.open(Opened(bundle, batcher, traffic))
        feeding = asyncio.create_task(batcher.run())
        try:
            await self._rehearse(app, bundle, listener)
            await feeding
        finally:
            feeding.cancel()

    async def _rehearse(self, app: App, bundle: Bundle[Any, Any], listener: socket.socket) -> None:
        url = url_of(listener)
        most = min(self._settings.max_batch, self._settings.max_inputs, self._settings.max_queue)
        limit = longest_body(self._settings, bundle)
        asking = partial(rehearse, url, bundle, key=self._key, secret=app.secret, most=most, limit=limit)
        require_parity(await self._stranger.do(asking), tr("The service at {url}").format(url=url))
        app.phase = Phase.READY
        say(tr("{n} tested answers came back over HTTP as they were.").format(n=len(bundle.golden)))
        say(tr("Ready: {url} (try it: {url}/docs)").format(url=url))
        if self._on_ready:
            self._on_ready(url)

    async def _drain(self, app: App, server: HttpServer) -> None:
        """Requests under way end; every connection is told that it closes; those just made can still hear it."""
        app.phase = Phase.DRAINING
        say(tr("Stopping: {count} requests are still under way.").format(count=app.in_flight))
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not server.is_hurried:
            passed = loop.time() - began
            if passed > self._settings.drain_s or (passed > LINGER_S and not app.in_flight):
                break
            await asyncio.sleep(0.01)
        await server.stop_listening()
        closed = loop.time()
        while server.num_connections and not server.is_hurried and loop.time() - closed < LINGER_S:
            await asyncio.sleep(0.01)

    def _stop(self) -> None:
        if self._stopping.is_set() and self._server:
            self._server.stop(at_once=True)
        self._stopping.set()


def check_settings(settings: ServeSettings) -> None:
    counts = ("max_queue", "max_batch", "max_inputs", "max_new_tokens", "max_body_bytes", "max_traffic")
    for name in (*counts, "deadline_ms", "progress_ms"):
        told = getattr(settings, name)
        if told is not None and told < 1:
            message = tr("{key} must be at least {least}.").format(key=f"serve.{name}", least=1)
            raise ConfigError(message, code="config.range")
    if not 0 <= settings.port <= 65535:  # the system would take the number modulo 65536
        message = tr("{key} must be from {least} to {most}.").format(key="serve.port", least=0, most=65535)
        raise ConfigError(message, code="config.range")


def check_host(host: str, *, has_key: bool) -> None:
    """Other machines reach the model only with a key."""
    if has_key or host == "localhost":
        return
    try:
        is_own = ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may come to mean any machine
        is_own = False
    if not is_own:
        message = tr("The address {host} is open to other machines, and no key is set.").format(host=host or '""')
        hint = tr("Set the environment variable {name}, or serve on 127.0.0.1.").format(name=KEY)
        raise UsageError(message, code="serve.open_without_key", hint=hint)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Taken before the Bundle is opened: a port that is not free is told at once."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # The protocol is named because asyncio sets TCP_NODELAY only where it is (CPython's _set_nodelay), and without
        # it each answer waits 40 ms for the client's delayed acknowledgement. socket.create_server does not name it.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        _bind(listener, address)
    except OSError as error:
        message = tr("{host}:{port} cannot be listened on: {reason}.")
        message = message.format(host=host, port=port, reason=error.strerror)
        raise ResourceError(message, code="serve.port", hint=tr("Choose another with --port N.")) from error
    with listener:
        yield listener


def _bind(listener: socket.socket, address: Any) -> None:
    """Closes the socket where it cannot be bound."""
    try:
        if os.name == "posix":  # elsewhere it would let two services share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise


@contextmanager
def running(worker: Worker) -> Iterator[None]:
    worker.start()
    try:
        yield
    finally:
        worker.stop()


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl+C call `stop`, where this is the main thread; the old handlers come back after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = (signal.SIGTERM, signal.SIGINT)
    before = {name: signal.signal(name, lambda *_: stop()) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def url_of(listener: socket.socket) -> str:
    """How this machine reaches it: an address that means "all" is reached by the loopback."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
