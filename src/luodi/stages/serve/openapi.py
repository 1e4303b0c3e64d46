"""The service's OpenAPI description, made from the task's own schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from luodi import __version__
from luodi.core.bundle import Bundle
from luodi.core.sampling import Sampling
from luodi.core.task import GenerativeTask
from luodi.messages import tr
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.writing import EVENTS

_WORD = {"type": "string"}


def describe_api(bundle: Bundle[Any, Any], settings: ServeSettings, *, has_key: bool) -> Mapping[str, Any]:
    """OpenAPI 3.1, in the language that is being spoken."""
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": bundle.manifest.name or bundle.manifest.task, "version": bundle.identity[:12] or __version__},
        "paths": {"/predict": {"post": _predict(_writes(bundle))}, **_readings()},
        "components": {"schemas": _schemas(bundle, settings)},
    }
    if has_key:
        told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        told["security"] = [{"key": []}]
    return told


def _predict(writes: bool) -> Mapping[str, Any]:
    refusals = {
        "400": tr("Not JSON, or nested too deep."), "401": tr("The key is missing or wrong."),
        "413": tr("The request is too large."), "415": tr("A compressed request."),
        "422": tr("A key, type or number of inputs that is not taken."),
        "429": tr("Too many inputs are waiting; try again after the seconds in Retry-After."),
        "500": tr("The model failed on this input."), "503": tr("Starting, stopping, or too slow to answer in time."),
    }  # fmt: skip
    answers = {**_json("Response"), **({EVENTS: {"schema": _ref("Event")}} if writes else {})}
    return {
        "summary": tr("Answers for one input or several."),
        "requestBody": {"required": True, "content": _json("Request")},
        "responses": {
            "200": {"description": tr("The answers, in the order of the inputs."), "content": answers},
            **{status: {"description": words, "content": _json("Error")} for status, words in refusals.items()},
        },
    }


def _readings() -> Mapping[str, Any]:
    words = {
        "/health/live": tr("The process runs."),
        "/health/ready": tr("It takes requests: the tested answers have been repeated over HTTP."),
        "/health/progress": tr("A real forward pass has just given the right answer."),
        "/model": tr("Which model this is."),
        "/metrics": tr("Counters, for Prometheus."),
    }
    return {path: {"get": {"summary": w, "responses": {"200": {"description": w}}}} for path, w in words.items()}


def _schemas(bundle: Bundle[Any, Any], settings: ServeSettings) -> Mapping[str, Any]:
    given, answer = dict(bundle.task.input.schema()), dict(bundle.task.output.schema())
    labels = list(bundle.task.schema.labels)
    if labels and answer.get("type") == "string":
        answer["enum"] = labels
    wishes = _wishes(settings) if _writes(bundle) else {}
    streamed = {"stream": {"type": "boolean", "default": False}} if wishes else {}
    one = {
        "type": "object", "required": ["input"], "additionalProperties": False,
        "properties": {"input": given, **wishes, **streamed},
    }  # fmt: skip
    several = {
        "type": "object", "required": ["inputs"], "additionalProperties": False,
        "properties": {
            "inputs": {"type": "array", "minItems": 1, "maxItems": settings.max_inputs, "items": given}, **wishes,
        },
    }  # fmt: skip
    events = {"Event": {"oneOf": [_object({"piece": _WORD}), _ref("Response"), _ref("Error")]}} if wishes else {}
    return {
        **events,
        "Request": {"oneOf": [one, several], "examples": [{"input": wire} for wire in _shortest(bundle)]},
        "Answer": _object(
            {
                "value": answer,
                "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                "scores": {"type": "object", "additionalProperties": {"type": "number"}},
            }
        ),
        "Model": _object({"name": _WORD, "identity": _WORD}),
        "Response": {
            "oneOf": [
                _object({"output": _ref("Answer"), "model": _ref("Model")}),
                _object({"outputs": {"type": "array", "items": _ref("Answer")}, "model": _ref("Model")}),
            ]
        },
        "Error": _object({"error": _object({"code": _WORD, "message": _WORD, "hint": _WORD})}),
    }


def _shortest(bundle: Bundle[Any, Any]) -> list[Any]:
    """The tested input that takes the least room; none where there is none."""
    return sorted((pair.input for pair in bundle.golden), key=lambda wire: len(str(wire)))[:1]


def _writes(bundle: Bundle[Any, Any]) -> bool:
    return isinstance(bundle.task, GenerativeTask)


def _wishes(settings: ServeSettings) -> dict[str, Any]:
    """How an answer may be written; each setting may be left out."""
    told: dict[str, Any] = msgspec.json.schema(Sampling)["$defs"]["Sampling"]
    properties = {**told["properties"]}
    properties["max_new_tokens"] = {**properties["max_new_tokens"], "minimum": 1, "maximum": settings.max_new_tokens}
    return {"sampling": {"type": "object", "properties": properties, "additionalProperties": False}}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """All of them required."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}
