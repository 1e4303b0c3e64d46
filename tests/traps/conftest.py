"""Small projects to spoil, and the command line to say so."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import Command
from commands import command as call
from planted import Project, Row, table


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """In this process: a hundred of their own would take minutes."""
    return partial(call, capsys)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with luodi.yaml and one data file, from rows or from bytes."""

    def make(data: list[Row] | bytes, file: str = "reviews.csv", /, **settings: Any) -> Path:
        folder = tmp_path / f"project{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / file).write_bytes(data if isinstance(data, bytes) else table(data))
        page: Mapping[str, Any] = {
            "task": "text_classification", "data": file, "input": "text", "target": "label", "model": "bert:tiny",
            **settings,
        }  # fmt: skip
        (folder / "luodi.yaml").write_text(yaml.safe_dump(dict(page), allow_unicode=True), encoding="utf-8")
        return folder

    return make
