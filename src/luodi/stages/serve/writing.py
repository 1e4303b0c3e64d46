"""Answers that are written piece by piece: settings of a request, turns at the engine, server-sent events.

Each token is a call of its own to the engine's thread, so that whoever else waits there gets in between two tokens,
and an answer that nobody reads any more ends at the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from luodi.core.bundle import Bundle
from luodi.core.config import typed
from luodi.core.sampling import Sampling, check_sampling
from luodi.core.task import GenerativeTask
from luodi.core.types import Prediction
from luodi.errors import LuodiError
from luodi.messages import tr
from luodi.stages.serve.batcher import Worker
from luodi.stages.serve.body import Refusal

EVENTS = "text/event-stream"
_KEYS = ("sampling", "stream")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How a request wants its answer written."""

    sampling: Sampling
    is_streamed: bool


def split_wish(told: Mapping[str, Any], bundle: Bundle[Any, Any], most: int) -> tuple[Mapping[str, Any], Wish | None]:
    """The rest of the request, and its wish: None where it has none, or where the task does not write. Refusal 422
    where a setting is not taken."""
    task = bundle.task
    if not isinstance(task, GenerativeTask) or not any(key in told for key in _KEYS):
        return told, None
    usual = replace(task.schema.sampling, max_new_tokens=min(task.schema.sampling.max_new_tokens, most))
    wish = Wish(sampling=_sampling(told.get("sampling", {}), usual, most), is_streamed=told.get("stream", False))
    if not isinstance(wish.is_streamed, bool):
        message = tr("{where} must be of the JSON type {kind}.").format(where="stream", kind="boolean")
        raise Refusal(422, "request.type", message)
    if wish.is_streamed and "inputs" in told:
        raise Refusal(422, "request.stream", tr("One input at a time can be streamed."))
    return {key: value for key, value in told.items() if key not in _KEYS}, wish


async def write(
    worker: Worker, bundle: Bundle[Any, Any], sampling: Sampling, value: Any, seconds: float
) -> AsyncIterator[str | Prediction[Any]]:
    """Pieces, then the whole Prediction. TimeoutError where one takes longer than so many seconds."""
    writing: Generator[str, None, Prediction[Any]] | None = None
    while True:
        async with asyncio.timeout(seconds):
            if writing is None:
                writing = await worker.do(partial(_begun, bundle, sampling, value))
            piece = await worker.do(partial(_next, writing))
        yield piece
        if isinstance(piece, Prediction):
            return


def event(told: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(told, enc_hook=str) + b"\n\n"


def _begun(bundle: Bundle[Any, Any], sampling: Sampling, value: Any) -> Generator[str, None, Prediction[Any]]:
    assert isinstance(bundle.task, GenerativeTask)
    task = bundle.task.with_sampling(sampling)
    return task.stream(task.encode([value], bundle.processor)[0], bundle.engine)


def _next(writing: Generator[str, None, Prediction[Any]]) -> str | Prediction[Any]:
    try:
        return next(writing)
    except StopIteration as end:
        whole: Prediction[Any] = end.value
        return whole


def _sampling(told: Any, usual: Sampling, most: int) -> Sampling:
    try:
        if isinstance(told, Mapping):
            told = {**msgspec.to_builtins(usual), **told}
        sampling = typed(Sampling, told, "sampling")
        check_sampling(sampling)
    except LuodiError as error:
        raise Refusal(422, "request.sampling", error.message, error.hint) from error
    if sampling.max_new_tokens > most:
        message = tr("At most {most} tokens are written; {asked} were asked for.")
        raise Refusal(422, "request.sampling", message.format(most=most, asked=sampling.max_new_tokens))
    return sampling
