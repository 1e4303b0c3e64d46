"""What a terminal shows of a report: the verdict, the numbers that matter, what was found, what to do next."""

from __future__ import annotations

import json
import os
import sys

from luodi.core.progress import clock_time
from luodi.core.report import Report, Verdict
from luodi.messages import one_line, tr
from luodi.screen import aligned, painted


def summary(done: Report) -> str:
    """A few lines."""
    verdicts = {Verdict.ACCEPTED: tr("ACCEPTED"), Verdict.REFUSED: tr("REFUSED"), Verdict.DONE: tr("DONE")}
    took = f" ({clock_time(done.seconds)})" if done.seconds >= 1 else ""
    lines = [f"{done.verb}: {verdicts[done.verdict]}{took}"]
    if done.verb == "explain" and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        lines += [f"  {painted(row['units'])}" for row in done.details.get("explained", ())]
    lines += [f"  {line}" for line in aligned(_table(done))]
    lines += [f"  {one_line(finding)}" for finding in done.findings]
    if done.verb == "schema":
        return json.dumps(done.details, ensure_ascii=False, indent=2)
    for name, value in ((tr("Bundle"), done.bundle), (tr("Report"), done.report), (tr("Next"), done.next)):
        if value:
            lines.append(f"  {name}: {value}")
    return "\n".join(lines)


def _table(done: Report) -> list[tuple[str, ...]]:
    if done.verb == "search":
        from luodi.stages.train.trials import as_rows as trial_rows

        return trial_rows(done.details)
    if done.verb == "explain":
        from luodi.reasons import as_rows as reason_rows

        return reason_rows(done.details)
    if done.verb == "evaluate" and "names" in done.details:
        from luodi.runs import side_by_side

        return side_by_side(done)
    from luodi.runs import as_rows

    return as_rows(done.details) if done.verb == "runs" else []
