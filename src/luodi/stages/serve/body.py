"""A request's body, from bytes to typed inputs. Everything in it is taken for hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from luodi.core.modality import Codec
from luodi.core.types import X
from luodi.errors import DataError
from luodi.messages import tr

MAX_DEPTH = 50
# A client that sends too much reads the refusal only once it has been let finish; up to here it is.
_PATIENCE = 8
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "number": (int, float), "integer": int, "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


class Refusal(Exception):
    """An answer that is not the one asked for: HTTP status, a stable code, one line, what to do."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the client sent, decoded. `is_single` where it was one `input`."""

    inputs: Sequence[Any] = field(default_factory=tuple)
    is_single: bool = False


async def read_body(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """At most `limit` bytes, counted as they come: a length told in advance proves nothing."""
    body = bytearray()
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total <= limit:
            body += chunk
        elif total > _PATIENCE * limit:
            break
    if total > limit:
        message = tr("The request is larger than {limit} bytes.").format(limit=limit)
        raise Refusal(413, "request.too_large", message, tr("Send fewer or shorter inputs."))
    return bytes(body)


def parse_body(body: bytes) -> Mapping[str, Any]:
    """JSON of bounded depth, an object at the top."""
    try:
        told = msgspec.json.decode(body)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # malformed, not UTF-8, half a surrogate pair, a number beyond all bounds
        message = tr("The request is not valid JSON: {reason}.").format(reason=str(error).splitlines()[0])
        raise Refusal(400, "request.json", message, _example()) from error
    # The depth is at most the number of brackets: most requests need no walk.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deeper(told, MAX_DEPTH):
        raise _too_deep()
    if not isinstance(told, dict):
        raise Refusal(400, "request.object", tr("The request must be a JSON object."), _example())
    return told


def asked_inputs(told: Mapping[str, Any], codec: Codec[X], most: int) -> Asked:
    """The typed inputs of {"input": ...} or {"inputs": [...]}. Refusal 422 names the place of a bad one."""
    unknown = sorted(set(told) - {"input", "inputs"})
    if unknown:
        message = tr("The request has an unknown key: {key}.").format(key=_short(unknown[0]))
        raise Refusal(422, "request.unknown_key", message, _example())
    if len(told) != 1:
        raise Refusal(422, "request.keys", tr("The request must have either input or inputs."), _example())
    if "input" in told:
        return Asked(inputs=[_decode(told["input"], codec, "input")], is_single=True)
    wires = told["inputs"]
    if not isinstance(wires, list) or not wires:
        raise Refusal(422, "request.inputs", tr("inputs must be a list with something in it."), _example())
    if len(wires) > most:
        message = tr("The request has {count} inputs; at most {most} are taken.").format(count=len(wires), most=most)
        raise Refusal(422, "request.too_many", message, tr("Send them in several requests."))
    return Asked(inputs=[_decode(wire, codec, f"inputs[{place}]") for place, wire in enumerate(wires)])


def _decode(wire: Any, codec: Codec[X], where: str) -> X:
    schema = codec.schema()
    _check(wire, schema, where)
    try:
        value = codec.decode(wire)
    except DataError as error:
        raise Refusal(422, error.code, f"{where}: {error.message}", error.hint) from error
    _check(codec.encode(value), schema, where)  # decoding trims: what is left may be empty
    return value


def _check(wire: Any, schema: Mapping[str, Any], where: str) -> None:
    """The top of the JSON schema; what lies deeper is the codec's to judge."""
    told = schema.get("type", ())
    kinds = [told] if isinstance(told, str) else told
    if kinds and not any(_is_kind(wire, kind) for kind in kinds):
        message = tr("{where} must be of the JSON type {kind}.").format(where=where, kind=" | ".join(kinds))
        raise Refusal(422, "request.type", message, _example())
    least = schema.get("minItems" if isinstance(wire, list) else "minLength", 0)
    if isinstance(wire, (str, list)) and len(wire) < least:
        raise Refusal(422, "request.empty", tr("{where} is empty.").format(where=where))


def _is_kind(wire: Any, kind: str) -> bool:
    if isinstance(wire, bool):  # Python counts it among the numbers
        return kind == "boolean"
    return isinstance(wire, _KINDS.get(kind, object))


def _is_deeper(value: Any, most: int) -> bool:
    """Level by level, so that the walk itself needs no depth."""
    level = [value]
    for _ in range(most + 1):
        level = [box for box in level if isinstance(box, (list, dict))]
        if not level:
            return False
        level = [v for box in level for v in (box.values() if isinstance(box, dict) else box)]
    return True


def _too_deep() -> Refusal:
    message = tr("The request is nested deeper than {depth} levels.").format(depth=MAX_DEPTH)
    return Refusal(400, "request.depth", message)


def _example() -> str:
    return tr('Send {{"input": …}} or {{"inputs": […]}}.').format()


def _short(text: str) -> str:
    """Of a stranger's word, what fits on a line."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
