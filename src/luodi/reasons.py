"""Single inputs explained: the reasons, whether they hold, and the training rows that lie beside them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.datasets import load_split
from luodi.core.project import Project
from luodi.core.report import Report, Verdict
from luodi.core.store import Result
from luodi.errors import InputError
from luodi.messages import language, one_line, tr
from luodi.stages.explain.attention import attention
from luodi.stages.explain.config import GRADIENTS, ExplainSettings
from luodi.stages.explain.explain import as_row, explain, reasons_of
from luodi.stages.explain.faithfulness import FEWEST, rank_agreement
from luodi.stages.explain.findings import find
from luodi.stages.explain.nearness import Beside, beside, neighbours
from luodi.steps import made_from, newest_made

MOST_SHOWN = 12
"""Parts in the terminal's table, the strongest; the page shows all."""
NEAREST_SHOWN = 3
SHORT = 40
"""Characters of a cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Who is asked, and what is known beside it."""

    bundle: Bundle[Any, Any]
    trained: Bundle[Any, Any] | None = None
    """What a compressed Bundle was made from."""
    known: Beside[Any, Any] | None = None


def explain_inputs(
    asked: Asked, inputs: Sequence[str], settings: ExplainSettings, page: Path | None = None, *, look: bool = False
) -> Report:
    """Inputs are read as cells of a table are. `page`: a file to write, with the parts in colour; `look`: with what the
    layers look at."""
    began = time.perf_counter()
    if page and not page.parent.is_dir():
        raise InputError(tr("There is no folder {folder}.").format(folder=page.parent), code="explain.folder")
    rows = [_explained(asked, asked.bundle.task.input.load(cell, Path()), settings, look) for cell in inputs]
    if page:
        from luodi.report.single import write_reasons

        write_reasons(page, rows, language())
    return Report(
        verb="explain", verdict=Verdict.DONE, bundle=str(asked.bundle.path), report=str(page or ""),
        findings=tuple(line for row in rows for line in row["findings"]), details={"explained": rows},
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def asked_project(project: Project, settings: ExplainSettings, *, look: bool = False) -> Asked:
    """Its newest Bundle: the compressed one, where there is one and neither gradients nor attention (`look`) are asked
    for. Raises InputError where nothing has been trained."""
    made = newest_made(project)
    is_compressed = made.verb == "compress"
    trained = made_from(project.store, made, "train") if is_compressed else made
    first = open_bundle(trained.path / "bundle")
    known = _known(made_from(project.store, made, "prepare"), first, settings)
    if not is_compressed or look or settings.method in GRADIENTS:
        return Asked(bundle=first, known=known)
    return Asked(bundle=open_bundle(made.path / "bundle"), trained=first, known=known)


def as_rows(details: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table that a terminal shows: of each input its answer, then its strongest parts. Of rows of a project, the
    words that count."""
    if details.get("words"):
        rows = [(str(w["answer"]), ", ".join(word["name"] for word in w["words"]) or "-") for w in details["words"]]
        return [(tr("Answer"), tr("Parts that speak most for it")), *rows]
    if "rows" in details:
        return []
    table: list[tuple[str, ...]] = []
    for row in details.get("explained", ()):
        sure = "" if row["confidence"] is None else f"{row['confidence']:.3f}"
        table.append((one_line(row["answer"], SHORT), sure))
        strongest = sorted(row["units"], key=lambda u: -abs(u["weight"]))[:MOST_SHOWN]
        table += [(f"  {one_line(u['name'], SHORT)}", f"{u['weight']:+.3g} {row['unit']}".strip()) for u in strongest]
        table += [
            (f"  {one_line(n['input'], SHORT)}", tr("training row, {alike:.0%} alike: {target}").format(
                alike=n["alike"], target=one_line(n["target"], SHORT)
            ))
            for n in row["nearest"][:NEAREST_SHOWN]
        ]  # fmt: skip
    return table


def _known(prepared: Result, trained: Bundle[Any, Any], settings: ExplainSettings) -> Beside[Any, Any] | None:
    if not settings.neighbours:
        return None
    return beside(trained, load_split(prepared.path, "train", trained.task))


def _explained(asked: Asked, value: Any, settings: ExplainSettings, look: bool) -> dict[str, Any]:
    explained = explain(asked.bundle, value, settings)
    row = as_row(asked.bundle, explained)
    row["agreement"] = None
    row["attention"] = attention(asked.bundle, explained, settings.orders) if look else None
    if asked.trained and len(explained.units) >= FEWEST:
        row["agreement"] = rank_agreement(explained.weights, reasons_of(asked.trained, explained, settings))
    row["nearest"] = neighbours(asked.known, value, explained.answer, settings.neighbours) if asked.known else []
    row["findings"] = find(row)
    return row
