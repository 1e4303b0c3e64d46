"""What is put to a model that writes: a text to go on from, or a conversation to answer.

On the wire a string, or a list of messages: {"role": "user", "content": "..."}. As plain text, for comparing, slicing
and nudging, a conversation is what was said in it, line by line; a change touches its last message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luodi.core.modality import Modality, Unit
from luodi.core.types import Array, Floats, Prediction
from luodi.errors import DataError
from luodi.messages import tr
from luodi.modalities.text import Text

ROLES = ("system", "user", "assistant")
_TEXT = Text(exact=True)  # spaces and line breaks at the ends count


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    role: str
    content: str


Conversation = tuple[Message, ...]
Put = str | Conversation


def said(value: Put) -> str:
    """As plain text."""
    return value if isinstance(value, str) else "\n".join(message.content for message in value)


def question(text: str) -> Conversation:
    """One message of a user."""
    return (Message(role="user", content=text),)


class Prompt(Modality[Put]):
    def decode(self, wire: Any) -> Put:
        if isinstance(wire, list):
            if not wire:
                raise DataError(tr("A conversation must have a message."), code="data.message")
            return tuple(_message(part, place) for place, part in enumerate(wire, 1))
        return _TEXT.decode(wire)

    def encode(self, value: Put) -> Any:
        if isinstance(value, str):
            return value
        return [{"role": message.role, "content": message.content} for message in value]

    def caption(self, value: Put) -> str:
        return said(value)

    def schema(self) -> Mapping[str, Any]:
        message = {
            "type": "object", "required": ["role", "content"], "additionalProperties": False,
            "properties": {"role": {"type": "string", "enum": list(ROLES)}, "content": {"type": "string"}},
        }  # fmt: skip
        return {"type": ["string", "array"], "minLength": 1, "minItems": 1, "items": message}

    def fingerprint(self, value: Put) -> str:
        return _TEXT.fingerprint(said(value))

    def feature_names(self) -> tuple[str, ...]:
        return _TEXT.feature_names()

    def features(self, value: Put) -> Floats:
        return _TEXT.features(said(value))

    def regions(self, value: Put) -> Sequence[str]:
        return _TEXT.regions(_last(value))

    def units(self, value: Put) -> Sequence[Unit]:
        return _TEXT.units(_last(value))

    def hide(self, value: Put, regions: Sequence[int]) -> Put:
        return _with_last(value, _TEXT.hide(_last(value), regions))

    def traits(self, value: Put) -> frozenset[str]:
        return _TEXT.traits(said(value))

    def perturb(self, value: Put, rng: np.random.Generator) -> Put:
        return _with_last(value, _TEXT.perturb(_last(value), rng))

    def pieces(self, value: Put) -> Array:
        return _TEXT.pieces(said(value))

    def slices(self, value: Put) -> Mapping[str, str]:
        return _TEXT.slices(said(value))

    def baseline(
        self, inputs: Sequence[Put], targets: Sequence[str], *, seed: int
    ) -> tuple[str, Callable[[Sequence[Put]], list[Prediction[str]]]]:
        name, predict = _TEXT.baseline([said(value) for value in inputs], targets, seed=seed)
        return name, lambda values: predict([said(value) for value in values])


def _message(part: Any, place: int) -> Message:
    """Raises DataError with the message's number."""
    if not isinstance(part, dict) or set(part) != {"role", "content"} or part["role"] not in ROLES:
        message = tr("Message {place} must have a role ({roles}) and a content, and nothing else.")
        raise DataError(message.format(place=place, roles=", ".join(ROLES)), code="data.message")
    return Message(role=part["role"], content=_TEXT.decode(part["content"]))


def _last(value: Put) -> str:
    return value if isinstance(value, str) else value[-1].content


def _with_last(value: Put, content: str) -> Put:
    return content if isinstance(value, str) else (*value[:-1], replace(value[-1], content=content))
