"""The HTTP server, uvicorn, without its signal handling: how a service ends is `stages/serve`'s to decide."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from luodi.backends import need


@dataclass(frozen=True, slots=True)
class HttpServer:
    _server: Any
    _listener: socket.socket

    @property
    def is_hurried(self) -> bool:
        return bool(self._server.force_exit)

    @property
    def num_connections(self) -> int:
        return len(self._server.server_state.connections)

    async def stop_listening(self) -> None:
        """New connections are refused; those that there are go on, and so do those the system made for us.

        A connection stands for its client before it is accepted here: closing the listener over it would cut it.
        """
        waiting = list(_accept_waiting(self._listener))
        for server in self._server.servers:
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        config = self._server.config
        made: asyncio.Protocol = config.http_protocol_class(
            config=config, server_state=self._server.server_state, app_state=self._server.lifespan.state
        )
        return made

    def stop(self, *, at_once: bool = False) -> None:
        """Ends `run_server` after the answers under way are out, or without waiting for them."""
        self._server.should_exit = True
        self._server.force_exit = at_once


async def run_server(
    app: Any, listener: socket.socket, grace_s: float, during: Callable[[HttpServer], Awaitable[None]]
) -> None:
    """Serves until stopped. `during` runs beside it once it listens; an error there ends the server and is raised."""
    uvicorn = need("uvicorn")
    config = uvicorn.Config(
        app, lifespan="off", ws="none", log_config=None, log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=max(int(grace_s), 1), backlog=2048,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # uvicorn's own would end the process by the signal, not with exit code 0
    handle = HttpServer(server, listener)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    try:
        await during(handle)
    finally:
        handle.stop(at_once=handle.is_hurried)
        await serving


def _accept_waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait at a listener that does not block."""
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection
