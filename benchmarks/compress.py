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
from luodi.stages.compress.config import CompressSettings
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
    parser.add_argument("--rank", type=float, default=1.0, help="share of the weights in layers of lower rank; 1: none")
    parser.add_argument("--only", nargs="*", default=[], help="candidates, all where none are named")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--scored", type=int, help="validation rows; as the project says where not said")
    parser.add_argument("--out", type=Path, default=Path("compressed"))
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    project = open_project(told.project)
    settings: CompressSettings = project.settings["compress"]
    settings = replace(
        settings, distill=told.layers, prune=told.width, low_rank=told.rank, candidates=told.only,
        scored=told.scored or settings.scored, distill_minutes=told.minutes,
        max_loss=0.015,  # as for any student of a third of the layers
    )  # fmt: skip
    made = compressed(project, settings, told.out)
    for line in made.findings:
        print(line)
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for row in (made.details["reference"], *made.details["candidates"]):
        print(as_line(row))


def compressed(project: Project, settings: CompressSettings, out: Path) -> Compressed:
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

    return compress(parent, rows, held_back, open_test, project.contract, settings, out)


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
