"""The answers that the page on serving shows have the form of those that a service gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handbook import DOCS, LANGUAGES, blocks_of
from luodi.stages.serve.config import ServeSettings
from serving import served


def shape(value: Any) -> Any:
    """Keys and kinds; scores are of whatever labels there are."""
    if isinstance(value, dict):
        return {key: "of labels" if key == "scores" else shape(inner) for key, inner in sorted(value.items())}
    return type(value).__name__


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_look_so(tiny_bundle: Path, language: str) -> None:
    answer, error = (json.loads(b.body) for b in blocks_of(DOCS / language / "serving.md") if b.kind == "json")
    with served(tiny_bundle, ServeSettings()) as service:
        said = service.ask("好吃 great").json()
        wrong = service.client.post("/predict", json={}, headers={"accept-language": language}).json()
        paths = set(service.client.get("/openapi.json").json()["paths"])
    assert shape(said) == shape(answer)
    assert wrong == error
    page = (DOCS / language / "serving.md").read_text(encoding="utf-8")
    assert [path for path in paths if f"{path}`" not in page] == []
