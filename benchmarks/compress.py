"""A trained project's network made smaller in every way at once, by hand:

    python benchmarks/compress.py examples/reviews --layers 4 --width 0.75 --minutes 8

The project must have been trained and evaluated. Candidates and a student of so many layers, of which so much is kept,
are timed and scored side by side on the same validation rows; the winner is confirmed on the test rows. Prints one
table. The result is left in --out; the project is not changed, but for the count of its test set's openings.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luodi.core.bundle import open_bundle
from luodi.core.datasets import load_split
from luodi.core.project import Project, open_project
from luodi.stages.compress.compress import Compressed, TestSet, compress
from luodi.stages.evaluate.baselines import load_baselines
from luodi.steps import made_from

COLUMNS = (
    "candidate", "p50 / p95 ms", "batch of 8, ms", "a second", "speed", "MB", "memory MB", "score", "difference",
    "refused",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=float, default=0.75)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("compressed"))
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    made = compressed(open_project(told.project), told.layers, told.width, told.minutes, told.out)
    for line in made.findings:
        print(line)
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for row in (made.details["reference"], *made.details["candidates"]):
        print(as_line(row))


def compressed(project: Project, layers: int, width: float, minutes: float, out: Path) -> Compressed:
    """The loss that is allowed is 1.5 points, as for any student of a third of the layers."""
    store = project.store
    trained, evaluated = store.latest("train"), store.latest("evaluate")
    if trained is None or evaluated is None:
        raise SystemExit(f"first: luodi evaluate {project.folder}")
    prepared = made_from(store, trained, "prepare")
    parent = open_bundle(trained.path / "bundle")
    rows, held_back = (load_split(prepared.path, name, parent.task) for name in ("train", "validation"))

    def open_test() -> TestSet[Any, Any]:
        store.count_test_opening(prepared.key, "compress", out.name)
        examples = load_split(prepared.path, "test", parent.task)
        return TestSet(examples=examples, baselines=load_baselines(parent.task, evaluated.path, "test"))

    settings = replace(
        project.settings["compress"], distill=layers, prune=width, distill_minutes=minutes, max_loss=0.015
    )
    return compress(parent, held_back, (*rows, *held_back), open_test, project.contract, settings, out)


def as_line(row: Mapping[str, Any]) -> str:
    gap = row["difference"]
    memory = "-" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}"
    cells = (
        row["name"], f"{row['p50_ms']:.1f} / {row['p95_ms']:.1f}", f"{row['batch_p50_ms']:.0f}",
        f"{row['throughput_per_s']:.0f}", f"{row['speedup']:.1f} [{row['speedup_low']:.1f}, {row['speedup_high']:.1f}]",
        f"{row['size_mb']:.1f}", memory, f"{row['score']['value']:.4f}",
        f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]", row["refused"] or "",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
