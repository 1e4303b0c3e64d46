"""A page of explained answers, with their parts in colour. Like the report: one file, no script, all of it escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luodi.backends.jinja2 import render
from luodi.core.store import write_atomically
from luodi.messages import speaking, tr
from luodi.report.page import templates_of_pages
from luodi.report.words import FORMATS


def write_reasons(path: Path, rows: Sequence[Mapping[str, Any]], language: str) -> None:
    """`rows`: as `stages/explain` tells them. Raises ResourceError where Jinja is not installed."""
    with speaking(language):
        page = render(templates_of_pages(), "reasons.html", {"tr": tr, "language": language, "rows": rows, **FORMATS})
    write_atomically(path, page)
