"""Pages of one thing: explained answers, or two Bundles side by side. Like the report: one file, no script, all of it
escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luodi.backends.jinja2 import render
from luodi.core.report import Report
from luodi.core.store import write_atomically
from luodi.messages import speaking, tr
from luodi.report import charts, needs_charts
from luodi.report.page import templates_of_pages
from luodi.report.words import FORMATS


def write_reasons(path: Path, rows: Sequence[Mapping[str, Any]], language: str) -> None:
    """`rows`: as `stages/explain` tells them. Raises ResourceError where Jinja is not installed."""
    _write(path, "reasons.html", language, {"rows": rows})


def write_comparison(path: Path, report: Report, language: str) -> None:
    """`report`: as `stages/evaluate/compare.py` tells it."""
    _write(path, "comparison.html", language, {"report": report, "details": report.details, "charts": charts})


def write_needs(path: Path, report: Report, language: str) -> None:
    """`report`: as `stages/understand` tells it. Raises ResourceError where Jinja is not installed."""
    told = {"report": report, "details": report.details, "charts": charts, "pictures": needs_charts}
    _write(path, "needs.html", language, told)


def _write(path: Path, template: str, language: str, told: Mapping[str, Any]) -> None:
    with speaking(language):
        page = render(templates_of_pages(), template, {"tr": tr, "language": language, **told, **FORMATS})
    write_atomically(path, page)
