"""Routing and reading of requests, by Starlette. What the service says and decides stands in `stages/serve`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luodi.backends import need

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class Gone(Exception):
    """The client left before its request was whole."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. The body has not been read yet."""

    _request: Request

    @property
    def path(self) -> str:
        return self._request.url.path

    def header(self, name: str) -> str:
        return self._request.headers.get(name, "")

    def query(self, name: str) -> str:
        return self._request.query_params.get(name, "")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; Gone where it stops short."""
        try:
            async for chunk in self._request.stream():
                yield chunk
        except need("starlette.requests").ClientDisconnect as error:
            raise Gone from error

    async def left(self) -> None:
        """Returns when the client has left. Only after the body was read."""
        while (await self._request.receive())["type"] != "http.disconnect":
            await asyncio.sleep(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: AsyncIterator[bytes] | None = None
    """In place of the body: what is sent as it comes. Given up where the client leaves."""


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler


def build_app(routes: Sequence[Route], elsewhere: Callable[[Call, int], Awaitable[Reply]]) -> Any:
    """The ASGI application. `elsewhere` answers unknown paths (404) and methods (405)."""
    starlette = need("starlette.applications").Starlette
    route = need("starlette.routing").Route
    http_error = need("starlette.exceptions").HTTPException

    async def missed(request: Request, error: Exception) -> Response:
        told = _response(await elsewhere(Call(request), error.status_code))  # type: ignore[attr-defined]
        told.headers.update(error.headers or {})  # type: ignore[attr-defined]
        return told

    table = [route(r.path, _endpoint(r.handler), methods=[r.method]) for r in routes]
    app = starlette(routes=table, exception_handlers={http_error: missed})
    app.router.redirect_slashes = False  # a redirect would repeat the Host that the client claims
    return app


def _endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _response(await handler(Call(request)))

    return endpoint


def _response(reply: Reply) -> Response:
    if reply.pieces is not None:
        streamed: Response = need("starlette.responses").StreamingResponse(
            reply.pieces, status_code=reply.status, media_type=reply.media_type, headers=dict(reply.headers)
        )
        return streamed
    made: Response = need("starlette.responses").Response(
        reply.body, status_code=reply.status, media_type=reply.media_type, headers=dict(reply.headers)
    )
    return made
