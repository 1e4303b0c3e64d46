"""The golden pairs, asked over HTTP as a stranger would: what is served is what was tested."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from luodi.core.bundle import Bundle, GoldenPair, Parity
from luodi.errors import ParityError
from luodi.messages import tr
from luodi.stages.serve.app import REHEARSAL

NUM_SINGLE = 8  # asked one by one, the others in batches: both ways are used later
TIMEOUT_S = 120.0
_FRAME = b'{"inputs":[]}'


def rehearse(
    url: str, bundle: Bundle[Any, Any], *, key: str, secret: str, most: int, limit: int
) -> Parity:
    """Blocking. `most` inputs a request, and at most `limit` bytes. Raises ParityError where an answer is none."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=TIMEOUT_S)
    headers = {REHEARSAL: secret, "Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}".encode().decode("latin-1")  # http.client sends latin-1
    try:
        answers = [a for asked in _requests(bundle.golden, most, limit) for a in _ask(connection, headers, asked)]
    except (OSError, http.client.HTTPException) as error:
        message = tr("The service did not answer itself over HTTP: {reason}.").format(reason=error)
        raise ParityError(message, code="serve.rehearsal") from error
    finally:
        connection.close()
    return bundle.held_to(answers)


def _requests(golden: Sequence[GoldenPair], most: int, limit: int) -> Iterator[dict[str, Any]]:
    for pair in golden[:NUM_SINGLE]:
        yield {"input": pair.input}
    inputs: list[Any] = []
    size = 0
    for pair in golden[NUM_SINGLE:]:
        more = len(msgspec.json.encode(pair.input)) + 1  # and a comma
        if inputs and (len(inputs) == most or size + more + len(_FRAME) > limit):
            yield {"inputs": inputs}
            inputs, size = [], 0
        inputs.append(pair.input)
        size += more
    if inputs:
        yield {"inputs": inputs}


def _ask(connection: http.client.HTTPConnection, headers: dict[str, str], asked: dict[str, Any]) -> list[GoldenPair]:
    connection.request("POST", "/predict", body=msgspec.json.encode(asked), headers=headers)
    reply = connection.getresponse()
    told = msgspec.json.decode(reply.read())
    if reply.status != 200:
        message = tr("The service refused an input that it was tested with: {reason}")
        raise ParityError(message.format(reason=told["error"]["message"]), code="serve.rehearsal")
    outputs = [told["output"]] if "input" in asked else told["outputs"]
    return [GoldenPair(input=None, **output) for output in outputs]
